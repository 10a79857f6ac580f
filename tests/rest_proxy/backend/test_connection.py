"""One Thrift connection, against servers that answer late, wrongly, or not at all."""

from __future__ import annotations

import asyncio
import contextlib
import struct
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import TYPE_CHECKING, Any

import pytest
from predictor import Predictor
from thrift.protocol.TBinaryProtocol import TBinaryProtocol
from thrift.Thrift import TMessageType
from thrift.transport.TTransport import TMemoryBuffer

from rest_proxy.backend.connection import Connection, ConnectionLost, DeadlinePassed
from rest_proxy.backend.contract import PREDICT
from tests.support.service import eventually

if TYPE_CHECKING:
    from tests.rest_proxy.thrift_server import ThriftServer

Script = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


class Watched:
    """A connection, and how often it said that it is idle or lost."""

    def __init__(self, max_reply_bytes: int = 1 << 20) -> None:
        self.idle = self.lost = 0
        self.loop = asyncio.get_running_loop()
        self.connection = Connection(self.loop, max_reply_bytes, self._on_idle, self._on_lost)

    def _on_idle(self, _connection: Connection) -> None:
        self.idle += 1

    def _on_lost(self, _connection: Connection) -> None:
        self.lost += 1

    async def connect(self, port: int) -> None:
        await self.loop.create_connection(lambda: self.connection, "127.0.0.1", port)

    def call(self, doc: str, seconds: float = 60.0) -> asyncio.Task[Any]:
        call = self.connection.call(PREDICT, (doc, None), self.loop.time() + seconds)
        return asyncio.ensure_future(call)


@contextlib.asynccontextmanager
async def serving(script: Script) -> AsyncIterator[int]:
    """A server that runs the script for every connection, as its port."""
    running: dict[asyncio.StreamWriter, asyncio.Task[None] | None] = {}

    async def run(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        running[writer] = asyncio.current_task()
        with contextlib.suppress(ConnectionError):
            await script(reader, writer)
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()

    server = await asyncio.start_server(run, "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        for writer in running:
            writer.close()
        await asyncio.wait_for(asyncio.gather(*filter(None, running.values())), 60)


def reply(doc: str, seqid: int) -> bytes:
    """A frame with the scores {doc: 1.0}."""
    buffer = TMemoryBuffer()
    protocol = TBinaryProtocol(buffer)
    protocol.writeMessageBegin("predict", TMessageType.REPLY, seqid)
    Predictor.predict_result({doc: 1.0}).write(protocol)
    return struct.pack("!i", len(buffer.getvalue())) + buffer.getvalue()


async def test_1000_pipelined_calls_are_answered_in_order(server: ThriftServer) -> None:
    server.answer = lambda doc, _options: {doc: float(len(doc))}
    watched = Watched()
    calls = [watched.call(f"document {number} {'x' * (number % 50)}") for number in range(1000)]
    await asyncio.sleep(0)
    assert watched.connection.calls == 1000, "they wait for the connection"
    await watched.connect(server.address.port)
    for number, scores in enumerate(await asyncio.gather(*calls)):
        [(doc, score)] = scores.items()
        assert doc.startswith(f"document {number} ")
        assert score == len(doc)
    assert len(server.connections) == 1
    assert (watched.idle, watched.connection.calls) == (1, 0)
    watched.connection.close()


async def test_replies_may_come_in_any_pieces() -> None:
    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1)
        answers = b"".join(reply(f"{seqid}", seqid) for seqid in (1, 2, 3))
        for index in range(len(answers) // 2):
            writer.write(answers[index : index + 1])
            await writer.drain()
            await asyncio.sleep(0)
        writer.write(answers[len(answers) // 2 :])
        await reader.read()

    async with serving(script) as port:
        watched = Watched()
        calls = [watched.call("x") for _ in range(3)]
        await watched.connect(port)
        assert await asyncio.gather(*calls) == [{"1": 1.0}, {"2": 1.0}, {"3": 1.0}]
        watched.connection.close()


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (reply("x", 2), "bad answer to predict: the answer to another call"),
        (struct.pack("!i", 5) + b"hello", "bad answer to predict"),
        (b"HTTP/1.1 400 Bad Request\r\n\r\n", "an answer of 1213486160 bytes is over max_reply_bytes = 1048576"),
        (b"\xff\xff\xff\xff", "an answer of 4294967295 bytes is over max_reply_bytes = 1048576"),
        (b"\x00\x00", "the server closed the connection"),
    ],
)
async def test_an_answer_that_is_none_loses_the_connection_and_every_call(answer: bytes, reason: str) -> None:
    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1)
        writer.write(answer)
        await writer.drain()
        writer.write_eof()

    async with serving(script) as port:
        watched = Watched()
        calls = [watched.call("x"), watched.call("y")]
        await watched.connect(port)
        outcomes = await asyncio.gather(*calls, return_exceptions=True)
        assert all(isinstance(outcome, ConnectionLost) and outcome.sent for outcome in outcomes), outcomes
        assert str(outcomes[0]).startswith(reason)
        assert (watched.lost, watched.connection.usable) == (1, False)


async def test_an_answer_that_nobody_asked_for_loses_the_connection() -> None:
    async def script(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(reply("x", 1))
        await writer.drain()
        await _reader.read()

    async with serving(script) as port:
        watched = Watched()
        await watched.connect(port)
        await asyncio.to_thread(eventually, lambda: watched.lost == 1)


async def test_calls_that_were_never_sent_say_so() -> None:
    watched = Watched()
    call = watched.call("x")
    await asyncio.sleep(0)
    watched.connection.close("connection refused")
    with pytest.raises(ConnectionLost, match="connection refused") as lost:
        await call
    assert not lost.value.sent


async def test_a_connection_with_nothing_but_abandoned_calls_is_closed(server: ThriftServer) -> None:
    server.answer = server.hold
    watched = Watched()
    await watched.connect(server.address.port)
    first, second = watched.call("1"), watched.call("2", seconds=0.2)
    assert await asyncio.to_thread(server.held.acquire, timeout=60)
    first.cancel()
    await asyncio.sleep(0.01)
    wanted = (watched.lost, watched.connection.usable) == (0, False)
    assert wanted or second.done(), "the second call still wants its answer, as long as its time is not over"
    with pytest.raises(DeadlinePassed):
        await second
    assert watched.lost == 1
    [accepted] = server.connections
    rest = await asyncio.to_thread(lambda: list(iter(lambda: accepted.recv(4096), b"")))
    assert len(rest) <= 1, "the second call, then the end: the server sees it while it still computes"


async def test_the_answer_to_an_abandoned_call_is_dropped(server: ThriftServer) -> None:
    server.answer = server.hold
    watched = Watched()
    await watched.connect(server.address.port)
    first, second = watched.call("1"), watched.call("2")
    assert await asyncio.to_thread(server.held.acquire, timeout=60)
    first.cancel()
    await asyncio.sleep(0.01)
    server.release.set()
    assert await second == {"2": 1.0}
    assert first.cancelled()
    assert (watched.lost, watched.connection.usable, watched.connection.calls) == (0, True, 0)
    watched.connection.close()


async def test_a_connection_that_cannot_write_is_not_usable() -> None:
    async def script(reader: asyncio.StreamReader, _writer: asyncio.StreamWriter) -> None:
        await go.wait()
        while await reader.read(1 << 20):
            pass

    go = asyncio.Event()
    async with serving(script) as port:
        watched = Watched()
        await watched.connect(port)
        call = watched.call("x" * (64 << 20), seconds=60)
        await asyncio.sleep(0.05)
        assert not watched.connection.usable
        go.set()
        await asyncio.to_thread(eventually, lambda: watched.connection.usable)
        watched.connection.close()
        with pytest.raises(ConnectionLost):
            await call
