"""Requests leave nothing for the garbage collector, whose runs would stop the event loop for milliseconds."""

from __future__ import annotations

import asyncio
import gc
import json
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from tests.rest_proxy.conftest import Proxy

REQUESTS = 30
ROUNDS = 3  # what is not of the requests comes by chance: in one of them


async def post(port: int, path: str, fields: dict[str, Any]) -> bytes:
    """By hand, because a client may leave cycles of its own."""
    body = json.dumps(fields).encode()
    head = f"POST {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Type: application/json\r\n"
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body)
    answer = await reader.read()
    writer.close()
    return answer


@pytest.mark.parametrize(
    ("path", "fields"),
    [
        ("/predict", {"doc": "a"}),
        ("/embed", {"texts": ["a", "b"]}),
        ("/generate", {"prompt": "a"}),
        ("/generate", {"prompt": "a", "stream": True}),
        ("/v1/embeddings", {"model": "minilm", "input": "a"}),
        ("/v1/completions", {"model": "gpt2", "prompt": ["a", "b"]}),
        ("/v1/completions", {"model": "gpt2", "prompt": ["a", "b"], "stream": True}),
    ],
)
async def test_requests_make_no_reference_cycles(new_proxy: Any, server: Any, path: str, fields: Any) -> None:
    proxy: Proxy = await new_proxy(server, stream_interval_ms=0)
    assert b" 200 OK" in await post(proxy.port, path, fields)
    gc.collect()
    gc.disable()
    found = []
    try:
        for _ in range(ROUNDS):
            for _ in range(REQUESTS):
                await post(proxy.port, path, fields)
            found.append(gc.collect())
    finally:
        gc.enable()
    assert min(found) < REQUESTS, found
