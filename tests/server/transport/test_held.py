"""Memory of messages: of calls in progress on one connection, and of all that is there of any."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from predictor.ttypes import ErrorCode

from server.transport.held import Held
from server.transport.limits import Limits
from tests.server.transport.service import Peer, RunningServer, envelope, frame, message, refused, running, until

if TYPE_CHECKING:
    from collections.abc import Iterator

MIB = 1 << 20
MOST = Limits(held_bytes=MIB)


@pytest.fixture(scope="module")
def small_server() -> Iterator[RunningServer]:
    with running(MOST) as server:
        yield server


@pytest.fixture
def server(small_server: RunningServer) -> Iterator[RunningServer]:
    """One that holds nothing at the end."""
    yield small_server
    until(lambda: held_by(small_server) == 0)
    small_server.answers()


def held_by(server: RunningServer) -> int:
    return server.server._endpoint.held._bytes


def predict(doc: str, seqid: int = 1) -> bytes:
    return frame(message("predict", doc, seqid=seqid))


def waiting(name: str, size: int) -> str:
    return f"wait:{name.ljust(size, '.')}"


def test_a_connection_with_many_bytes_in_progress_is_not_read() -> None:
    with running(Limits(call_bytes=5000)) as server, Peer(server.port) as peer:
        docs = [waiting(name, 3000) for name in "abc"]
        peer.send(b"".join(predict(doc, seqid) for seqid, doc in enumerate(docs)))
        until(lambda: len(server.handler.waiting) == 2)
        server.answers()
        assert server.handler.started == 3, "the third call has begun"
        for doc in docs[:2]:
            server.release(doc.removeprefix("wait:"))
        until(lambda: len(server.handler.waiting) == 1)
        server.release(docs[2].removeprefix("wait:"))
        assert [peer.answer(framed=True)[0] for _ in docs] == [0, 1, 2]
        assert held_by(server) == 0


def test_the_largest_part_of_a_message_is_refused_when_there_is_too_much(server: RunningServer) -> None:
    large, small = predict("l" * (800 << 10), 1), predict("s" * (600 << 10), 2)
    with Peer(server.port) as greedy, Peer(server.port) as polite:
        greedy.send(large[: 700 << 10])
        until(lambda: held_by(server) == 700 << 10)
        polite.send(small[: 500 << 10])
        refused(greedy.answer(framed=True)[1], ErrorCode.OVERLOADED, "(setting held_bytes)")
        polite.send(small[500 << 10 :])
        assert polite.answer(framed=True)[0] == 2
        greedy.send(large[700 << 10 :] + predict("next", 3))  # what is left of the message is passed over
        assert greedy.answer(framed=True) == (3, {"next": 4.0})


def test_of_a_message_without_a_frame_the_connection_ends_then(server: RunningServer) -> None:
    with Peer(server.port) as greedy, Peer(server.port) as polite:
        greedy.send(message("predict", "l" * (800 << 10))[: 700 << 10])
        until(lambda: held_by(server) == 700 << 10)
        polite.send(predict("s" * (600 << 10))[: 500 << 10])
        refused(greedy.answer(framed=False)[1], ErrorCode.OVERLOADED, "(setting held_bytes)")
        assert greedy.socket.recv(1) == b""


def test_bytes_of_no_message_are_dropped_too(server: RunningServer) -> None:
    """A frame with a long name: whom to answer is not known yet."""
    name = envelope("x" * (800 << 10))
    with Peer(server.port) as greedy, Peer(server.port) as polite:
        greedy.send(frame(name)[: 700 << 10])
        until(lambda: held_by(server) == 700 << 10)
        polite.send(predict("s" * (600 << 10))[: 500 << 10])
        until(lambda: held_by(server) == 500 << 10)


def test_large_messages_are_refused_while_large_calls_wait_and_small_ones_are_not(server: RunningServer) -> None:
    docs = [waiting(f"{number}-", 60_000) for number in range(18)]  # parts of such messages are not dropped
    with Peer(server.port) as greedy, Peer(server.port) as polite:
        for doc in docs:
            greedy.send(predict(doc))
        until(lambda: len(server.handler.waiting) == len(docs))
        polite.send(predict("p" * (100 << 10)))
        refused(polite.answer(framed=True)[1], ErrorCode.OVERLOADED, "wait for their answers (setting held_bytes)")
        polite.send(predict("small"))
        assert polite.answer(framed=True) == (1, {"small": 5.0})
        for doc in docs:
            server.release(doc.removeprefix("wait:"))
            greedy.answer(framed=True)
        polite.send(predict("p" * (100 << 10)))
        assert polite.answer(framed=True)[0] == 1


def test_what_a_connection_held_is_gone_with_it(server: RunningServer) -> None:
    with Peer(server.port) as greedy:
        greedy.send(predict(waiting("f", 300 << 10)) + predict("l" * (400 << 10))[:-1])
        until(lambda: held_by(server) > 600 << 10)
    until(lambda: held_by(server) == 0)


class Part:
    """A connection with a part of a message."""

    def __init__(self, held: Held) -> None:
        self._held = held
        self.size = 0

    def grow(self, size: int) -> None:
        before, self.size = self.size, size
        self._held.part(self, before, size)

    def drop_part(self) -> None:
        self.grow(0)


def test_small_parts_are_never_dropped() -> None:
    held = Held(MIB)
    small = [Part(held) for _ in range(30)]
    for part in small:
        part.grow(60_000)
    assert held.is_full
    assert all(part.size for part in small)
    large = Part(held)
    large.grow(70_000)
    assert large.size == 0
