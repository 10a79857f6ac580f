"""Every limit of what comes from outside: the answer names it, and the next good request is answered."""

from __future__ import annotations

import asyncio
import gc
import gzip
import io
import time
from typing import TYPE_CHECKING, Any

import pytest
from aiohttp import FormData
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from rest_proxy.application import Application
from rest_proxy.backend.thrift_pool import ThriftPool
from rest_proxy.config import Settings
from rest_proxy.http.errors import HttpError
from rest_proxy.http.responses import prefers_json
from rest_proxy.lifecycle import listening

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from tests.rest_proxy.conftest import Proxy
    from tests.rest_proxy.thrift_server import ThriftServer

JSON = {"Content-Type": "application/json"}
PATHS = ["/predict", "/reply", "/embed", "/generate", "/api/inference"]


async def exchange(port: int, data: bytes) -> bytes:
    """Send bytes, and read until the proxy closes the connection."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(data)
    answer = await asyncio.wait_for(reader.read(), 60)
    writer.close()
    return answer


async def still_answers(proxy: Proxy) -> None:
    assert (await proxy.ask("GET", "/?doc=x")).status == 200


@pytest.mark.parametrize("path", PATHS)
async def test_a_body_over_the_limit_is_413(new_proxy: Any, server: ThriftServer, path: str) -> None:
    proxy = await new_proxy(server, max_body_bytes=2048)
    answer = await proxy.ask("POST", path, data=b" " * 2049, headers=JSON)
    assert (answer.status, answer.json["error"]["code"]) == (413, "TOO_LARGE")
    assert answer.json["error"]["message"] == "the body is over 2048 bytes (setting max_body_bytes)"
    await still_answers(proxy)


async def test_a_body_over_the_limit_in_chunks_packed_or_in_parts_is_413(new_proxy: Any, server: ThriftServer) -> None:
    proxy = await new_proxy(server, max_body_bytes=2048)

    async def chunks() -> AsyncIterator[bytes]:
        for _ in range(3):
            yield b" " * 1024

    bomb = gzip.compress(b" " * 1_000_000)
    assert len(bomb) < 2048
    part = b'--x\r\nContent-Disposition: form-data; name="doc"\r\n\r\n'
    requests = [
        (JSON, chunks()),
        ({**JSON, "Content-Encoding": "gzip"}, bomb),
        (
            {"Content-Type": "multipart/form-data; boundary=x", "Content-Encoding": "gzip"},
            gzip.compress(part + bomb * 9),
        ),
    ]
    for headers, data in requests:
        answer = await proxy.ask("POST", "/predict", data=data, headers=headers)
        assert (answer.status, answer.json["error"]["code"]) == (413, "TOO_LARGE"), headers
    await still_answers(proxy)


async def test_a_claimed_length_is_refused_before_the_body_comes(proxy: Proxy) -> None:
    head = b"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 99999999999\r\n"
    reader, writer = await asyncio.open_connection("127.0.0.1", proxy.port)
    writer.write(head + b"Expect: 100-continue\r\n\r\n")
    assert (await asyncio.wait_for(reader.readline(), 60)).startswith(b"HTTP/1.1 413 ")
    writer.close()


async def test_a_client_that_expects_100_continue_gets_it(proxy: Proxy) -> None:
    """It would send its body after ten minutes without, and is not waited for so long."""
    out = await proxy.curl("-H", "Expect: 100-continue", "--expect100-timeout", "600", "-d", "doc=x", "URL/predict")
    assert out.startswith('{"scores":')


async def test_too_many_documents_are_413(new_proxy: Any, server: ThriftServer) -> None:
    proxy = await new_proxy(server, max_docs=3)
    message = "docs: 4 items are over the limit of 3 (setting max_docs)"
    answer = await proxy.ask("POST", "/predict", json={"docs": ["a"] * 4})
    assert (answer.status, answer.json["error"]["message"]) == (413, message)
    answer = await proxy.ask("GET", "/predict?" + "&".join(["docs=a"] * 4))
    assert (answer.status, answer.json["error"]["message"]) == (413, message)
    answer = await proxy.ask("POST", "/predict", data=[("docs", "a")] * 100)
    assert answer.status == 413
    assert "setting max_docs" in answer.json["error"]["message"]
    parts = FormData([("docs", "a")] * 100, default_to_multipart=True)
    answer = await proxy.ask("POST", "/predict", data=parts)
    message = "the form has over 3 documents (setting max_docs)"
    assert (answer.status, answer.json["error"]["message"]) == (413, message)
    parts = FormData([*[("docs", "a")] * 3, ("timeout_ms", "9000")], default_to_multipart=True)
    assert (await proxy.ask("POST", "/predict", data=parts)).status == 200
    assert (await proxy.ask("POST", "/predict", json={"docs": ["a"] * 3})).status == 200


@pytest.mark.parametrize("packing", ["gzip", "deflate"])
async def test_a_body_that_cannot_be_unpacked_is_400_and_no_fault(
    proxy: Proxy, caplog: pytest.LogCaptureFixture, packing: str
) -> None:
    answer = await proxy.ask("POST", "/predict", data=b"xxxx", headers={**JSON, "Content-Encoding": packing})
    assert (answer.status, answer.json["error"]["code"]) == (400, "INVALID_ARGUMENT")
    await still_answers(proxy)
    assert not caplog.records


@pytest.mark.parametrize(
    "request_line", [b"GET /?doc=%b HTTP/1.1\r\nHost: x", b"GET /?doc=x HTTP/1.1\r\nHost: x\r\nX-Y: %b"]
)
async def test_a_long_url_or_header_is_413(new_proxy: Any, server: ThriftServer, request_line: bytes) -> None:
    proxy = await new_proxy(server, max_line_bytes=2000)
    answer = await exchange(proxy.port, request_line.replace(b"%b", b"x" * 3000) + b"\r\n\r\n")
    assert answer.startswith(b"HTTP/1.0 413 ")
    assert b"the URL or a header is over 2000 bytes (setting max_line_bytes)" in answer
    await still_answers(proxy)


@pytest.mark.parametrize(
    "data", [b"\x80\x01\x00\x01\x00\x00\x00\x07predict\r\n\r\n", b"hello\r\n\r\n", b"GET\r\n\r\n", b"\0" * 99]
)
async def test_bytes_that_are_not_http_get_400(proxy: Proxy, data: bytes) -> None:
    answer = await exchange(proxy.port, data)
    assert answer.startswith(b"HTTP/1.0 400 ")
    assert b'"code":"INVALID_ARGUMENT"' in answer
    await still_answers(proxy)


async def test_a_body_that_does_not_come_is_408(new_proxy: Any, server: ThriftServer) -> None:
    proxy = await new_proxy(server, body_timeout_ms=50)
    head = b"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 100\r\n\r\n{"
    answer = await exchange(proxy.port, head)
    assert answer.startswith(b"HTTP/1.1 408 ")
    assert b"the body took over 50 ms: its header Content-Length says 100 bytes, and 1 came (setting" in answer


async def test_silence_is_closed(new_proxy: Any, server: ThriftServer) -> None:
    proxy = await new_proxy(server, keep_alive_ms=100)
    assert await exchange(proxy.port, b"") == b""
    assert await exchange(proxy.port, b"GET /?doc=half HTTP/1.1\r\nHo") == b""


async def test_too_many_connections_are_turned_away(new_proxy: Any, server: ThriftServer) -> None:
    proxy = await new_proxy(server, max_connections=2)
    held = [await asyncio.open_connection("127.0.0.1", proxy.port) for _ in range(2)]
    answer = await exchange(proxy.port, b"")
    assert answer.startswith(b"HTTP/1.1 503 ")
    assert answer.endswith(b"\r\n\r\nover 2 connections are open (setting max_connections)\n")
    for _, writer in held:
        writer.close()
        await writer.wait_closed()
    await asyncio.sleep(0.05)
    await still_answers(proxy)


async def test_too_many_requests_are_429(new_proxy: Any, server: ThriftServer) -> None:
    proxy = await new_proxy(server, max_requests=2)
    server.answer = server.hold
    held = [asyncio.create_task(proxy.ask("GET", f"/predict?doc={n}")) for n in range(2)]
    for _ in held:
        assert await asyncio.to_thread(server.held.acquire, timeout=60)
    answer = await proxy.ask("GET", "/predict?doc=x")
    assert (answer.status, answer.headers["Retry-After"]) == (429, "1")
    error = answer.json["error"]
    assert (error["code"], error["setting"]) == ("OVERLOADED", "max_requests")
    assert error["message"] == "over 2 requests are in progress (setting max_requests)"
    assert (await proxy.ask("GET", "/healthz")).status == 200
    server.release.set()
    assert [(await task).status for task in held] == [200, 200]
    await still_answers(proxy)


CONTENT_TYPES = ["application/json", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x", "a/b", ""]


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    path=st.sampled_from(PATHS),
    content_type=st.sampled_from(CONTENT_TYPES),
    body=st.binary(max_size=200)
    | st.sampled_from([b"--x\r\n", b"--x\r\nA: b\r\n\r\n", b'{"doc":', b"doc=", b'{"input":[', b"docs=%&"]).flatmap(
        lambda begin: st.binary(max_size=50).map(lambda rest: begin + rest)
    ),
)
def test_no_bytes_of_a_body_are_a_fault_of_the_proxy(
    path: str, content_type: str, body: bytes, server: ThriftServer
) -> None:
    async def run() -> None:
        async with listening(Settings(thrift=(server.address,), port=0)) as port:
            head = f"POST {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Type: {content_type}\r\n"
            answer = await exchange(port, f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body)
            assert int(answer.split()[1]) in (200, 400, 413, 415), answer

    asyncio.run(run())


@pytest.mark.parametrize("kind", ["application/json", "text/plain", "multipart/form-data"])
async def test_a_content_type_of_many_semicolons_costs_nothing(proxy: Proxy, kind: str) -> None:
    """A general reader of such headers takes seconds."""
    headers = {"Content-Type": kind + ";" * 60_000}
    started = time.process_time()
    answer = await proxy.ask("POST", "/predict", data=b'{"doc": "x"}', headers=headers)
    assert time.process_time() - started < 0.5
    assert answer.status == {"application/json": 200, "text/plain": 415}.get(kind, 400)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("Accept", "a;q=0.5," * 7_000),
        ("Accept-Encoding", "a;q=0.5," * 7_000),
        ("Authorization", "Bearer " * 8_000),
        ("X-Api-Key", "a" * 60_000),
        ("Cookie", "a=b;" * 15_000),
        ("Origin", "null" * 15_000),
        ("Referer", "://" * 20_000),
        ("Content-Encoding", "gzip, " * 10_000),
        ("Expect", "100-continue," * 4_000),
        ("X-Request-Id", "a-" * 30_000),
        ("If-None-Match", '"a",' * 15_000),
        ("Range", "bytes=" + "0-1," * 15_000),
        ("Forwarded", "for=a;" * 10_000),
        ("X-Custom", ",;= " * 15_000),
    ],
)
async def test_a_long_header_costs_nothing(proxy: Proxy, name: str, value: str) -> None:
    """Twenty of them, each another, with what the client needs to send them."""
    started = time.process_time()
    for number in range(20):
        headers = {**JSON, name: f"{value}{number}"}
        assert (await proxy.ask("GET", "/?doc=x", headers=headers)).status in (200, 403)
        assert (await proxy.ask("POST", "/predict", data=b'{"doc": "x"}', headers=headers)).status in (200, 403, 415)
    assert time.process_time() - started < 1


def test_of_a_long_header_the_beginning_counts() -> None:
    assert prefers_json("text/html, application/json")
    assert not prefers_json("a," * 1_000 + "application/json")


def many(open_: bytes, item: bytes, close: bytes) -> bytes:
    return open_ + b",".join([item] * 1_000_000) + close


@pytest.mark.parametrize(
    ("body", "setting"),
    [
        (many(b'{"docs": [', b"1", b"]}"), "max_json_values"),
        (many(b'{"docs": [', b"[]", b"]}"), "max_json_values"),
        (many(b'{"docs": [', b'"\\"\\\\"', b"]}"), "max_json_values"),
        (b"{" + b",".join(b'"a%d":1' % number for number in range(50_000)) + b"}", "max_json_fields"),
    ],
)
@pytest.mark.parametrize("path", PATHS)
async def test_json_of_many_values_is_413(proxy: Proxy, path: str, body: bytes, setting: str) -> None:
    started = time.process_time()
    answer = await proxy.ask("POST", path, data=io.BytesIO(body), headers=JSON)
    assert time.process_time() - started < 1  # to tell what is wrong with each takes minutes
    assert (answer.status, answer.json["error"]["setting"]) == (413, setting)


async def test_a_refused_body_is_let_go_of_at_once(proxy: Proxy) -> None:
    """Not when garbage is collected next, which may be thousands of bodies later."""
    was_on = gc.isenabled()
    gc.collect()
    gc.disable()
    try:
        for body in (many(b'{"docs": [', b"1", b"]}"), b'{"other": "' + b"a" * 1_000_000 + b'"}'):
            assert (await proxy.ask("POST", "/predict", data=io.BytesIO(body), headers=JSON)).status in (400, 413)
        async with asyncio.timeout(30):
            while held := [one for one in gc.get_objects() if type(one) in (HttpError, ValidationError)]:
                assert all(one.__traceback__ is None for one in held)
                del held
                await asyncio.sleep(0.01)
    finally:
        if was_on:
            gc.enable()


@pytest.mark.parametrize("number", [b"9" * 1_000_000, b"0." + b"1" * 1_000_000, b"1" + b"0" * 70_000 + b"e5"])
async def test_an_endless_number_is_400(proxy: Proxy, number: bytes) -> None:
    body = b'{"doc": "' + b"7" * 100_000 + b'", "timeout_ms": ' + number + b"}"
    answer = await proxy.ask("POST", "/predict", data=io.BytesIO(body), headers=JSON)
    message = "the body has a number of over 400 digits"
    assert (answer.status, answer.json["error"]["message"]) == (400, message)


async def test_commas_of_texts_do_not_count(proxy: Proxy) -> None:
    doc = ', "[{:\\' * 40_000
    assert (await proxy.ask("POST", "/predict", json={"doc": doc})).status == 200


async def test_one_wrong_item_of_many_is_told(proxy: Proxy) -> None:
    answer = await proxy.ask("POST", "/predict", json={"docs": ["a", *[1] * 90_000]})
    assert (answer.status, answer.json["error"]["field"]) == (400, "docs[1]")


async def test_every_list_of_a_request_is_read_up_to_its_first_wrong_item() -> None:
    found = 0
    settings = Settings()
    for route in Application(settings, ThriftPool(settings)).routes:
        for kind in (route.request, *route.further_requests):
            if isinstance(kind, type):
                lists = [*lists_in(kind.__pydantic_core_schema__)]
                assert all(one.get("fail_fast") for one in lists), kind
                found += len(lists)
    assert found > 10


def lists_in(schema: Any) -> Iterator[dict[str, Any]]:
    """Every schema of a list in pydantic's description of a model."""
    if isinstance(schema, dict) and schema.get("type") == "list":
        yield schema
    for part in schema.values() if isinstance(schema, dict) else schema if isinstance(schema, list) else ():
        yield from lists_in(part)
