"""HTTP connections that nothing comes from, and those whose answers are not read."""

from __future__ import annotations

import contextlib
import socket
import struct
from typing import TYPE_CHECKING, Any

import structlog

if TYPE_CHECKING:
    import asyncio

    from rest_proxy.config import Settings

_PERIOD_S = 1.0
_LEAST_READ = 1024
"""Bytes that a client must take within write_timeout_ms, where an answer waits for it."""

# Of struct tcp_info in linux/tcp.h: 64-bit counters that never go back.
_TCP_INFO = struct.Struct("=120xQQ").unpack_from
_TCP_INFO_BYTES = 136

log = structlog.get_logger(__name__)


class Watched:
    """A connection, as it was when it was last looked at. Times are the loop's."""

    __slots__ = (
        "acknowledged",
        "handler",
        "looks",
        "made",
        "part_since",
        "received",
        "transport",
        "unread_since",
        "unused",
    )

    def __init__(self, handler: Any, transport: asyncio.Transport, now: float) -> None:
        self.handler = handler
        self.transport = transport
        self.made = now
        self.looks = 0
        self.received, self.acknowledged = _counters(transport)
        """Bytes that had come when the connection began to wait for a request, and those of answers that had gone."""
        self.unused = self.acknowledged
        """Bytes that go before the first answer."""
        self.part_since: float | None = None
        self.unread_since: float | None = None


class Sweep:
    """One timer for all connections, which cost nothing in between."""

    def __init__(self, settings: Settings, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._first_byte_s = settings.first_byte_timeout_ms / 1000
        self._head_s = settings.head_timeout_ms / 1000
        self._write_s = settings.write_timeout_ms / 1000
        self._period_s = min(_PERIOD_S, self._first_byte_s / 4, self._head_s / 4, self._write_s / 4)
        self._watched: dict[Any, Watched] = {}
        self._timer: asyncio.TimerHandle | None = None

    def add(self, handler: Any, transport: asyncio.Transport) -> None:
        """Look at it from now on."""
        self._watched[handler] = Watched(handler, transport, self._loop.time())
        if self._timer is None:
            self._timer = self._loop.call_later(self._period_s, self._look)

    def remove(self, handler: Any) -> None:
        """It is gone."""
        self._watched.pop(handler, None)

    def _look(self) -> None:
        self._timer = self._loop.call_later(self._period_s, self._look) if self._watched else None
        now = self._loop.time()
        for watched in tuple(self._watched.values()):
            try:
                why = self._overdue(watched, now)
            except OSError:  # it is being closed
                continue
            if why is not None:
                log.debug("connection closed", why=why, peer=watched.transport.get_extra_info("peername"))
                watched.transport.abort()

    def _overdue(self, watched: Watched, now: float) -> str | None:
        """Why the connection is to be closed; None: it is not."""
        if watched.transport.get_write_buffer_size():
            return self._not_read(watched, now)
        watched.unread_since = None
        received, acknowledged = _counters(watched.transport)
        if watched.looks == 0 and received == watched.received:
            watched.unused = watched.acknowledged = acknowledged  # what was sent by now is TLS's
        watched.looks += 1
        in_progress = watched.handler._request_in_progress
        if in_progress or acknowledged != watched.acknowledged:  # another request is waited for than at the last look
            watched.acknowledged, watched.received, watched.part_since = acknowledged, received, None
        if in_progress:
            return None
        if received > watched.received:
            watched.part_since = now if watched.part_since is None else watched.part_since
            if now - watched.part_since >= self._head_s:
                return "the head of a request did not come in time (setting head_timeout_ms)"
        elif acknowledged == watched.unused and now - watched.made >= self._first_byte_s:
            return "nothing came (setting first_byte_timeout_ms)"
        return None

    def _not_read(self, watched: Watched, now: float) -> str | None:
        _, acknowledged = _counters(watched.transport)
        if watched.unread_since is None or acknowledged - watched.acknowledged >= _LEAST_READ:
            watched.looks += 1
            watched.unread_since, watched.acknowledged = now, acknowledged
        elif now - watched.unread_since >= self._write_s:
            return "its client does not read the answer (setting write_timeout_ms)"
        return None


def _counters(transport: asyncio.Transport) -> tuple[int, int]:
    """Bytes received, and bytes that the other end has acknowledged; 0 of what is not TCP. Raises OSError."""
    opened = transport.get_extra_info("socket")
    if opened is None or opened.family == socket.AF_UNIX:
        return 0, 0
    with contextlib.suppress(ValueError):  # closed
        info = opened.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _TCP_INFO_BYTES)
        acknowledged, received = _TCP_INFO(info)
        return received, acknowledged
    raise OSError("closed")
