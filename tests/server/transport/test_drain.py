"""server/transport/drain.py alone: which bytes still count, and how a connection says goodbye."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING, Any

import pytest

from server.transport import drain as module
from server.transport.drain import Drain

if TYPE_CHECKING:
    from collections.abc import Iterator


class Transport:
    """Notes what it is told, and has a real socket."""

    def __init__(self) -> None:
        self.told: list[str] = []
        self.socket, self.peer = socket.socketpair()

    def abort(self) -> None:
        self.told.append("abort")

    def close(self) -> None:
        self.told.append("close")

    def write_eof(self) -> None:
        self.told.append("eof")

    def get_extra_info(self, name: str) -> Any:
        return {"socket": self.socket, "ssl_object": None}[name]

    def can_write_eof(self) -> bool:
        return True


@pytest.fixture
def transport() -> Iterator[Any]:
    """A transport whose peer can send."""
    transport = Transport()
    yield transport
    transport.socket.close()
    transport.peer.close()


async def test_only_what_had_come_counts(transport: Any) -> None:
    drain = Drain(transport, discard_bytes=100)
    assert not drain.active
    transport.peer.send(b"in time")
    drain.begin()
    assert drain.active
    assert drain.waits_for_bytes
    assert drain.in_time(transport.socket.recv(3)) == b"in "
    assert drain.in_time(b"time, and late") == b"time"
    assert not drain.waits_for_bytes
    assert drain.in_time(b"late") == b""
    assert transport.told == []


async def test_after_the_end_nothing_counts_and_a_peer_that_sends_on_is_cut_off(transport: Any) -> None:
    transport.peer.send(b"in time")
    drain = Drain(transport, discard_bytes=10)
    drain.begin()
    drain.end()
    assert not drain.waits_for_bytes
    assert drain.in_time(b"in time") == b""
    assert transport.told == []
    assert drain.in_time(b"late") == b""
    assert transport.told == ["abort"]


async def test_what_came_while_it_was_not_read_counts_but_not_without_end(
    transport: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "LAST_LOOKS_S", 3600)
    drain = Drain(transport, discard_bytes=100)
    transport.peer.send(b"before")
    drain.look_again()
    assert not drain.waits_for_bytes, "it does not drain"
    transport.socket.recv(10)
    drain.begin()
    assert not drain.waits_for_bytes
    transport.peer.send(b"meanwhile")
    drain.look_again()
    assert drain.in_time(transport.socket.recv(100)) == b"meanwhile"
    monkeypatch.setattr(drain, "_last_look", 0.0)
    transport.peer.send(b"later")
    drain.look_again()
    assert drain.in_time(transport.socket.recv(100)) == b""


@pytest.mark.parametrize("draining", [True, False])
async def test_the_end_is_announced_and_only_a_drained_connection_is_closed_by_us(
    transport: Any, draining: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where the peer's bytes were refused, it is up to the peer, and to the idle watch."""
    drain = Drain(transport, discard_bytes=100)
    calls: list[Any] = []

    class Loop:
        def call_later(self, delay_s: float, callback: Any) -> None:
            calls.append((delay_s, callback))

    if draining:
        drain.begin()
    monkeypatch.setattr(drain, "_loop", Loop())
    drain.announce_end()
    assert drain.ended
    assert transport.told == ["eof"]
    assert calls == ([(module.GRACE_S, transport.close)] if draining else [])
