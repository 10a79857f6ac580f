"""A header Content-Length that is wrong: the answer says so."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.rest_proxy.conftest import Proxy
    from tests.rest_proxy.thrift_server import ThriftServer

BODY = b'{"doc": "a"}'


async def messages(proxy: Proxy, *headers: str, path: str = "/predict", body: bytes = BODY) -> list[str]:
    """The messages of the errors that come back until the connection is closed."""
    reader, writer = await asyncio.open_connection("127.0.0.1", proxy.port)
    head = "\r\n".join([f"POST {path} HTTP/1.1", "Host: x", "Content-Type: application/json", *headers, "", ""])
    writer.write(head.encode() + body)
    answer = await asyncio.wait_for(reader.read(), 30)
    writer.close()
    objects = [part[: part.index(b"\n")] for part in answer.split(b"\r\n\r\n")[1:]]
    return [json.loads(one)["error"]["message"] for one in objects]


REST = "; if it is the rest of a body, its Content-Length is too small"


async def test_too_small(proxy: Proxy) -> None:
    """The body is cut, and its rest is no request. On the short way both are said, on the usual one the latter."""
    cut, rest = await messages(proxy, "Content-Length: 6")
    assert cut.endswith("the JSON ends too early: the header Content-Length says 6 bytes")
    assert rest.startswith("not an HTTP request: ")
    assert rest.endswith(REST)
    [rest] = await messages(proxy, "Content-Length: 6", path="/generate")
    assert rest.endswith(REST)


async def test_too_large(new_proxy: Callable[..., Any], server: ThriftServer) -> None:
    proxy = await new_proxy(server, body_timeout_ms=50)
    [message] = await messages(proxy, "Content-Length: 100")
    text = "the body took over 50 ms: its header Content-Length says 100 bytes, and 12 came (setting body_timeout_ms)"
    assert message == text


@pytest.mark.parametrize(
    "headers",
    [
        ("Content-Length: abc",),
        ("Content-Length: -1",),
        ("Content-Length: 99999999999999999999999",),
        ("Content-Length: 12", "Content-Length: 13"),
        ("Content-Length: 12", "Transfer-Encoding: chunked"),
    ],
)
async def test_no_number_or_two(proxy: Proxy, headers: tuple[str, ...]) -> None:
    [message] = await messages(proxy, *headers)
    assert message.startswith("the header Content-Length must be one number, that of the body's bytes, or ")


async def test_over_the_limit(new_proxy: Callable[..., Any], server: ThriftServer) -> None:
    proxy = await new_proxy(server, max_body_bytes=1024, body_timeout_ms=50)
    message, *_ = await messages(proxy, "Content-Length: 5000")
    assert message == "the body is over 1024 bytes (setting max_body_bytes)"
