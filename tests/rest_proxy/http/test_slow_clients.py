"""Clients that send nothing, or slowly, or do not read; and many of one address."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from pathlib import Path
from typing import TYPE_CHECKING, Any

from predictor.ttypes import BatchState

from tests.support.service import eventually

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.rest_proxy.thrift_server import ThriftServer

HEAD = b"GET /predict?doc=a HTTP/1.1\r\nHost: localhost\r\n\r\n"
ANSWERS = 40


async def test_nothing_comes(new_proxy: Callable[..., Any], server: ThriftServer) -> None:
    proxy = await new_proxy(server, first_byte_timeout_ms=100)
    reader, writer = await asyncio.open_connection("127.0.0.1", proxy.port)
    assert await _end(reader) == b""
    writer.close()


async def test_a_connection_that_was_used_may_be_silent(new_proxy: Callable[..., Any], server: ThriftServer) -> None:
    proxy = await new_proxy(server, first_byte_timeout_ms=50, head_timeout_ms=50)
    reader, writer = await asyncio.open_connection("127.0.0.1", proxy.port)
    for path in (HEAD, HEAD.replace(b"/predict?doc=a", b"/healthz")):
        writer.write(path)
        assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 200 ")
        await reader.readuntil(b"\n")
        await asyncio.sleep(0.3)  # several looks
    writer.close()


async def test_the_first_answer_may_take_its_time(new_proxy: Callable[..., Any], server: ThriftServer) -> None:
    proxy = await new_proxy(server, first_byte_timeout_ms=50, head_timeout_ms=50)
    asked = asyncio.create_task(proxy.ask("GET", "/?model=gs://m&input=gs://i&output=gs://o"))
    await asyncio.sleep(0.4)  # several looks
    server.end_job(BatchState.COMPLETED)
    assert (await asked).status == 200


async def test_a_head_that_comes_byte_by_byte(new_proxy: Callable[..., Any], server: ThriftServer) -> None:
    proxy = await new_proxy(server, head_timeout_ms=200)
    for before in (b"", HEAD):
        reader, writer = await asyncio.open_connection("127.0.0.1", proxy.port)
        if before:
            writer.write(before)
            await reader.readuntil(b"}\n")
            await asyncio.sleep(0.3)
        ended = asyncio.create_task(_end(reader))
        with contextlib.suppress(ConnectionError):
            for byte in HEAD[:5] + b"x" * 10_000:
                writer.write(bytes([byte]))
                await asyncio.sleep(0.01)
                if ended.done():
                    break
        assert ended.done(), "it went on for a hundred seconds"
        writer.close()


async def test_who_does_not_read(new_proxy: Callable[..., Any], server: ThriftServer) -> None:
    proxy = await new_proxy(server, write_timeout_ms=300)
    opened = _small_buffer(proxy.port)
    opened.sendall(HEAD.replace(b"/predict?doc=a", b"/openapi.json") * ANSWERS)
    await asyncio.sleep(0.5)
    await asyncio.to_thread(eventually, lambda: not has_connections(proxy.port), "it is closed")
    opened.close()


async def test_who_reads_slowly_but_reads(new_proxy: Callable[..., Any], server: ThriftServer) -> None:
    proxy = await new_proxy(server, write_timeout_ms=300)
    one = len((await proxy.ask("GET", "/openapi.json")).body)
    opened = _small_buffer(proxy.port)
    opened.setblocking(False)
    loop = asyncio.get_running_loop()
    await loop.sock_sendall(opened, HEAD.replace(b"/predict?doc=a", b"/openapi.json") * ANSWERS)
    size, started = 0, loop.time()
    while size < one * ANSWERS:
        part = await loop.sock_recv(opened, 1 << 20)
        assert part, "closed"
        size += len(part)
        if loop.time() - started < 1.5:
            await asyncio.sleep(0.1)
    opened.close()


async def test_connections_of_an_address(new_proxy: Callable[..., Any], server: ThriftServer) -> None:
    proxy = await new_proxy(server, max_connections_per_address=2)
    kept = [await asyncio.open_connection("127.0.0.1", proxy.port) for _ in range(2)]
    for reader, writer in kept:
        writer.write(HEAD)
        await reader.readuntil(b"}\n")
    reader, writer = await asyncio.open_connection("127.0.0.1", proxy.port)
    answer = await _end(reader)
    assert answer.startswith(b"HTTP/1.1 429 ")
    assert b"(setting max_connections_per_address)" in answer
    kept[0][1].close()
    writer.close()
    await asyncio.sleep(0.1)
    reader, writer = await asyncio.open_connection("127.0.0.1", proxy.port)
    writer.write(HEAD)
    assert (await reader.readuntil(b"}\n")).startswith(b"HTTP/1.1 200 ")
    for _, opened in (*kept, (reader, writer)):
        opened.close()


async def test_requests_of_an_address(new_proxy: Callable[..., Any], server: ThriftServer) -> None:
    proxy = await new_proxy(server, requests_per_address=0.01)
    assert (await proxy.ask("GET", "/predict?doc=a")).status == 200
    answer = await proxy.ask("GET", "/predict?doc=a")
    assert (answer.status, answer.json["error"]["setting"]) == (429, "requests_per_address")
    assert 90 <= int(answer.headers["Retry-After"]) <= 101


def has_connections(port: int) -> bool:
    """Whether a connection to the port is established, as the system sees it (proc_net_tcp)."""
    connections = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    return any(fields[1].endswith(f":{port:04X}") and fields[3] == "01" for fields in connections)


def _small_buffer(port: int) -> socket.socket:
    opened = socket.socket()
    opened.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    opened.connect(("127.0.0.1", port))
    return opened


async def _end(reader: asyncio.StreamReader) -> bytes:
    """What comes until the connection is closed, or reset."""
    try:
        return await reader.read()
    except ConnectionError:
        return b""
