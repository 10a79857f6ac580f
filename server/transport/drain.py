"""The end of a connection: what it still reads, what it throws away, and how it says goodbye."""

from __future__ import annotations

import asyncio
import fcntl
import struct
import termios

LAST_LOOKS_S = 2.0
"""Seconds for which a draining connection, when it is read again after a pause, also answers what came meanwhile.

What a peer sent while it was not read lies partly in the peer's own buffers. It comes when there is room for it.
"""

TLS_LAST_LOOK_S = 0.2
"""Seconds for which a draining connection of TLS answers what comes: how much has come, nobody can tell there."""

GRACE_S = 0.1
"""Seconds for which a drained connection is kept after its end was announced, so that its last answers arrive."""


class Drain:
    """When it drains, a connection answers what had come by then; when it has ended, what comes is thrown away.

    A client that sends on as long as it gets answers would never be done otherwise.
    """

    __slots__ = (
        "_discard_bytes",
        "_discarded",
        "_draining",
        "_due",
        "_is_tls",
        "_last_look",
        "_loop",
        "_open_until",
        "_transport",
        "active",
        "ended",
    )

    def __init__(self, transport: asyncio.Transport, discard_bytes: int) -> None:
        """`discard_bytes`: so many are thrown away before the connection is cut off."""
        self._transport = transport
        self._discard_bytes = discard_bytes
        self._loop = asyncio.get_running_loop()
        self._is_tls = transport.get_extra_info("ssl_object") is not None
        self._open_until = 0.0
        self._discarded = 0
        self._draining = False
        self._due = 0  # bytes that had come in time, but were not read yet, when it was last looked at
        self._last_look: float | None = None
        self.active = False
        """It drains, or has ended."""
        self.ended = False
        """No more messages are read."""

    def begin(self) -> None:
        """From now on only what has come by now counts."""
        self.active = self._draining = True
        if self._is_tls:
            self._open_until = self._loop.time() + TLS_LAST_LOOK_S
        self._due = self._unread()

    def end(self) -> None:
        """From now on nothing counts."""
        self.active = self.ended = True

    @property
    def waits_for_bytes(self) -> bool:
        """Whether bytes that came in time are still to be read."""
        return not self.ended and (bool(self._due) or self._loop.time() < self._open_until)

    def in_time(self, data: bytes) -> bytes:
        """What of `data` counts. The rest is thrown away, within limits."""
        if self.ended:
            in_time = b""
        elif self._loop.time() < self._open_until:
            in_time = data
        else:
            in_time = data[: self._due]
            self._due -= len(in_time)
        self._discarded += len(data) - len(in_time)
        if self._discarded > self._discard_bytes:
            self._transport.abort()
        return in_time

    def look_again(self) -> None:
        """Count what came while the draining connection was not read as in time, but not without end."""
        if not self._draining:
            return
        now = self._loop.time()
        if self._last_look is None:
            self._last_look = now + LAST_LOOKS_S
        if now < self._last_look:
            self._due = self._unread()

    def announce_end(self) -> None:
        """Tell the peer that this is the end.

        Closing with bytes unread would make the system reset the connection, and answers could be lost. So what the
        peer still sends is thrown away, until it closes too or its time is over.
        """
        self.end()
        if not self._transport.can_write_eof():  # TLS closes in a way of its own
            self._transport.close()
            return
        self._transport.write_eof()
        if self._draining:
            self._loop.call_later(GRACE_S, self._transport.close)

    def _unread(self) -> int:
        """Bytes that have come and were not read; those of TLS say nothing about what is in them."""
        if self._is_tls:
            return 0
        socket_fd = self._transport.get_extra_info("socket").fileno()
        (size,) = struct.unpack("i", fcntl.ioctl(socket_fd, termios.FIONREAD, bytes(4)))
        return int(size)
