"""The header with which a load balancer says whose connection it passes on: PROXY protocol, versions 1 and 2.

With the setting proxy_protocol every connection must begin with one; without it none may, so that nobody can claim to
be another.

Format: https://www.haproxy.org/download/2.9/doc/proxy-protocol.txt
"""

from __future__ import annotations

import asyncio
import socket
import struct
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from server.transport.connection import Connection
    from server.transport.endpoint import Endpoint

_LINE = b"PROXY "
_LONGEST_LINE = 107
_SIGNATURE = b"\r\n\r\n\x00\r\nQUIT\n"
_FIXED = 16  # bytes before those of the addresses
_MOST_BYTES = 4096  # of a header of version 2, whose addresses may be followed by anything
_LOCAL, _PROXY = 0x20, 0x21
_TCP_4, _TCP_6 = 0x11, 0x21

Peer = tuple[str, int] | None
"""The client's address and port; None: the balancer speaks for itself, as when it looks whether the server is alive."""


class HeaderError(Exception):
    """What a connection begins with is no header of the PROXY protocol."""


def read_header(data: bytes) -> tuple[int, Peer] | None:
    """Where the header ends with which `data` begins, and what it says; None as long as more bytes are needed.

    Raises HeaderError.
    """
    if data.startswith(_SIGNATURE):
        return _binary(data)
    if data.startswith(_LINE):
        return _text(data)
    if _SIGNATURE.startswith(data) or _LINE.startswith(data):
        return None
    raise HeaderError("no header of the PROXY protocol")


def _text(data: bytes) -> tuple[int, Peer] | None:
    end = data.find(b"\r\n", 0, _LONGEST_LINE)
    if end < 0:
        if len(data) >= _LONGEST_LINE:
            raise HeaderError("a header of the PROXY protocol without an end")
        return None
    words = data[:end].decode("ascii", "replace").split(" ")
    if words[1] == "UNKNOWN":
        return end + 2, None
    if len(words) != 6 or words[1] not in ("TCP4", "TCP6") or not (words[4].isascii() and words[4].isdigit()):
        raise HeaderError("a header of the PROXY protocol that cannot be read")
    return end + 2, (_address(socket.AF_INET if words[1] == "TCP4" else socket.AF_INET6, words[2]), int(words[4]))


def _address(family: int, text: str) -> str:
    try:
        return socket.inet_ntop(family, socket.inet_pton(family, text))
    except (OSError, ValueError):
        raise HeaderError("a header of the PROXY protocol with a wrong address") from None


def _binary(data: bytes) -> tuple[int, Peer] | None:
    if len(data) < _FIXED:
        return None
    command, family, size = struct.unpack_from("!BBH", data, len(_SIGNATURE))
    if command not in (_LOCAL, _PROXY) or size > _MOST_BYTES:
        raise HeaderError("a header of the PROXY protocol that cannot be read")
    end = _FIXED + size
    if len(data) < end:
        return None
    if command == _LOCAL or family not in (_TCP_4, _TCP_6):
        return end, None
    width, kind = (4, socket.AF_INET) if family == _TCP_4 else (16, socket.AF_INET6)
    if size < 2 * width + 4:
        raise HeaderError("a header of the PROXY protocol that is too short")
    (port,) = struct.unpack_from("!H", data, _FIXED + 2 * width)
    return end, (socket.inet_ntop(kind, data[_FIXED : _FIXED + width]), port)


class ProxiedConnection(asyncio.Protocol):
    """Reads the header, and then lets the connection that it is given go on. It counts as that connection does."""

    _transport: asyncio.Transport

    def __init__(self, endpoint: Endpoint, connection: Connection) -> None:
        self._endpoint = endpoint
        self._connection = connection
        self._received = b""
        self._timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Wait for the header, but not for long."""
        self._transport = transport  # type: ignore[assignment]  # of TCP: asyncio.Transport
        self._connection.connection_made(transport)
        limit_s = self._endpoint.limits.message_s
        self._timer = asyncio.get_running_loop().call_later(limit_s, self._transport.abort)

    def data_received(self, data: bytes) -> None:
        """Add to the header."""
        self._received += data
        try:
            found = read_header(self._received)
        except HeaderError as error:
            self._endpoint.counters.bad_messages += 1
            first_bytes = self._received[:16].hex(" ")
            peer = self._connection.peer()
            self._endpoint.log.warning(f"{error} (setting proxy_protocol)", peer=peer, first_bytes=first_bytes)
            self._transport.abort()
            return
        if found is None:
            return
        self._stop_timer()
        end, client = found
        if client is not None:
            self._connection.came_from(client)
        self._transport.set_protocol(self._connection)
        if len(self._received) > end:
            self._connection.data_received(self._received[end:])

    def connection_lost(self, error: Exception | None) -> None:
        """It ended before its header did."""
        self._stop_timer()
        self._connection.connection_lost(error)

    def pause_writing(self) -> None:
        """Nothing was written yet."""

    def resume_writing(self) -> None:
        """See pause_writing."""

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
