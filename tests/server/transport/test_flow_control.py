"""server/transport/flow_control.py alone: what pauses a connection, what is held meanwhile, and what goes on."""

from __future__ import annotations

import socket
from typing import Any

import pytest

from server.transport.flow_control import FlowControl


class Transport:
    """Notes what it is told, and has a real socket."""

    def __init__(self, own: socket.socket) -> None:
        self.told: list[str] = []
        self._socket = own

    def pause_reading(self) -> None:
        self.told.append("pause")

    def resume_reading(self) -> None:
        self.told.append("resume")

    def get_extra_info(self, name: str) -> Any:
        return {"socket": self._socket}[name]


@pytest.fixture
def pair() -> Any:
    """The two ends of a connection."""
    own, peer = socket.socketpair()
    with own, peer:
        yield own, peer


def test_what_cannot_be_started_is_held_and_the_connection_is_not_read(pair: Any) -> None:
    transport: Any = Transport(pair[0])
    flow = FlowControl(transport)
    flow.hold(b"startedwaits", 7)
    flow.hold_more(b" and more")
    assert flow.reading_paused
    assert flow.take_held() == (b"waits and more", 0)
    assert flow.held is None
    assert transport.told == ["pause"]


def test_reading_goes_on_once_nothing_is_held(pair: Any) -> None:
    transport: Any = Transport(pair[0])
    flow = FlowControl(transport)
    assert not flow.resume_reading(), "it was not paused"
    flow.hold(b"a", 0)
    assert not flow.resume_reading(), "something is held"
    flow.take_held()
    flow.hold(b"a", 0)
    flow.drop_held()
    assert flow.resume_reading()
    assert not flow.resume_reading()
    assert transport.told == ["pause", "resume"]


def test_a_peer_that_does_not_read_gets_nothing_started(pair: Any) -> None:
    transport: Any = Transport(pair[0])
    flow = FlowControl(transport)
    flow.peer_reads = False
    flow.hold(b"a", 0)
    assert flow.take_held() is None
    flow.peer_reads = True
    assert flow.take_held() == (b"a", 0)


def test_nothing_is_held_by_more_alone(pair: Any) -> None:
    transport: Any = Transport(pair[0])
    flow = FlowControl(transport)
    flow.hold_more(b"more")
    assert flow.take_held() is None


def test_a_peer_that_has_gone_is_seen_without_reading(pair: Any) -> None:
    own, peer = pair
    transport: Any = Transport(own)
    flow = FlowControl(transport)
    peer.send(b"unread")
    assert not flow.peer_has_gone()
    peer.close()
    assert flow.peer_has_gone()
