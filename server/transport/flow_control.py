"""Backpressure in both directions, for one connection."""

from __future__ import annotations

import select
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import asyncio


class FlowControl:
    """Whether a connection is read, and whether its peer reads.

    While too many calls are in progress, or the peer does not read its answers, the connection is not read, and what
    had been read by then is held.
    """

    __slots__ = ("_transport", "held", "peer_reads", "reading_paused")

    def __init__(self, transport: asyncio.Transport) -> None:
        self._transport = transport
        self.held: tuple[bytes, int] | None = None
        """Bytes that were read, and the position from which on they wait."""
        self.peer_reads = True
        self.reading_paused = False

    def hold(self, data: bytes, position: int) -> None:
        """Keep what stands in `data` from `position` on, and read no more."""
        self.held = data, position
        if not self.reading_paused:
            self.reading_paused = True
            self._transport.pause_reading()

    def hold_more(self, data: bytes) -> None:
        """Keep what came after what is held: the system had read it before it was told to pause."""
        if self.held is not None:
            held, position = self.held
            self.held = held[position:] + data, 0

    def take_held(self) -> tuple[bytes, int] | None:
        """What is held, to go on with; None when there is nothing, or the peer does not read."""
        if not self.peer_reads:
            return None
        held, self.held = self.held, None
        return held

    def resume_reading(self) -> bool:
        """Read on, unless something is still held; whether reading was paused until now."""
        if self.held is not None or not self.reading_paused:
            return False
        self.reading_paused = False
        self._transport.resume_reading()
        return True

    def drop_held(self) -> None:
        """Forget what is held: it will not be answered."""
        self.held = None

    def peer_has_gone(self) -> bool:
        """Whether the peer has closed its side, of which only reading would tell otherwise."""
        poll = select.poll()
        poll.register(self._transport.get_extra_info("socket").fileno(), select.POLLRDHUP)
        return bool(poll.poll(0))
