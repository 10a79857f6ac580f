"""The end: by drain, which answers what is in progress, or at once."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from typing import TYPE_CHECKING

import pytest

from server.transport import drain
from server.transport.limits import Limits
from tests.server.transport.service import (
    Peer,
    frame,
    message,
    running,
    stands_still,
    until,
)
from tests.server.transport.thrift_clients import HOST

if TYPE_CHECKING:
    from collections.abc import Callable


def predict(doc: str, seqid: int, wrap: Callable[[bytes], bytes] = frame) -> bytes:
    return wrap(message("predict", doc, seqid=seqid))


def connect_refused(port: int) -> bool:
    try:
        socket.create_connection((HOST, port), 1).close()
    except ConnectionRefusedError:
        return True
    return False


def test_drain_answers_what_is_in_progress_and_what_waits_behind_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """In flight, pipelined behind a full connection, and still in the system's buffers: all of it has come."""
    monkeypatch.setattr(drain, "LAST_LOOKS_S", 20)  # however long it takes here
    with running(Limits(pipelined_calls=2)) as server, Peer(server.port) as peer, Peer(server.port) as idle:
        behind = 20_000  # over a megabyte: more than the server reads while the connection is full
        peer.send(predict("wait:first", 0))
        until(lambda: "first" in server.handler.waiting)
        idle.send(predict("idle", 1))
        idle.answer(framed=True)
        half = predict("never complete", 1)[:-3]
        peer.socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 22)
        peer.send(b"".join(predict(f"doc {seqid}", seqid) for seqid in range(1, behind)) + half)
        drained = server.later(server.server.drain(20))
        assert idle.is_closed()
        until(lambda: connect_refused(server.port))
        assert not drained.done()
        server.release("first")
        assert peer.answer(framed=True) == (0, {"wait:first": 10.0})
        for seqid in range(1, behind):
            assert peer.answer(framed=True) == (seqid, {f"doc {seqid}": float(len(f"doc {seqid}"))})
        assert peer.is_closed()
        assert drained.result(10) is True
        assert server.server.connections == 0


def test_drain_gives_up_in_time() -> None:
    with running() as server, Peer(server.port) as peer:
        peer.send(predict("wait:forever", 0))
        until(lambda: "forever" in server.handler.waiting)
        assert server.run(server.server.drain(0.2)) is False
        assert peer.is_closed()
        until(lambda: server.handler.abandoned == ["forever"])


def test_drain_of_a_peer_that_does_not_read() -> None:
    with running() as server, Peer(server.port) as peer:
        sent = frame(message("embed", "x" * 100_000))  # the answers, of 800 kB each, are more than the system keeps
        peer.socket.settimeout(1)
        with contextlib.suppress(TimeoutError):  # nor is it read, then
            for _ in range(60):
                peer.send(sent)
        until(lambda: stands_still(lambda: server.server.counters.calls))
        assert server.run(server.server.drain(0.2)) is False


def test_drain_with_nothing_to_do() -> None:
    with running() as server:
        assert server.run(server.server.drain(3600)) is True


@pytest.mark.parametrize("depth", [1, 8])
def test_drain_under_load_loses_nothing(depth: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """As many answers as calls, though each answer makes its client send another message."""
    monkeypatch.setattr(drain, "GRACE_S", 20)  # until the clients close, however late they read
    with running() as server:

        async def load() -> int:
            return sum(await asyncio.gather(*(ask_until_closed(server.port) for _ in range(16))))

        async def ask_until_closed(port: int) -> int:
            reader, writer = await asyncio.open_connection(HOST, port)
            answered = 0
            writer.write(predict("future:0.001", 1) * (depth - 1))
            try:
                while True:
                    writer.write(predict("future:0.001", 1))
                    size = int.from_bytes(await reader.readexactly(4), "big")
                    await reader.readexactly(size)
                    answered += 1
            except (asyncio.IncompleteReadError, ConnectionError):
                return answered
            finally:
                writer.close()

        async def both() -> tuple[int, bool]:
            loading = asyncio.create_task(load())
            while server.server.counters.calls < 500:  # noqa: ASYNC110 - of another thread
                await asyncio.sleep(0.01)
            drained = await asyncio.wrap_future(server.later(server.server.drain(30)))
            return await loading, drained

        answered, drained = asyncio.run(both())
        assert drained
        assert answered == server.server.counters.calls
        assert server.server.counters.abandoned_calls == 0


def test_close_ends_everything_at_once() -> None:
    with running() as server, Peer(server.port) as peer:
        peer.send(predict("wait:long", 0))
        until(lambda: "long" in server.handler.waiting)

        async def close() -> None:
            server.server.close()

        server.run(close())
        assert peer.is_closed()
        assert connect_refused(server.port)
        until(lambda: server.handler.abandoned == ["long"])
