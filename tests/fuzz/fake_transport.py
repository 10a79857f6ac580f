"""A transport that brings a fuzzer's bytes to a protocol, and keeps what that writes."""

from __future__ import annotations

import asyncio
import socket
from typing import Any


class FakeTransport(asyncio.Transport):
    """Connected to nobody. `written` is what was sent."""

    def __init__(self, protocol: Any) -> None:
        super().__init__()
        self._protocol = protocol
        self._closing = False
        self._socket, self._other = socket.socketpair()
        self._extra = {"socket": self._socket, "peername": ("127.0.0.1", 1), "sockname": ("127.0.0.1", 2)}
        self.reads = True
        self.lost = False
        self.written = bytearray()

    @property
    def protocol(self) -> Any:
        """Who gets the bytes now."""
        return self._protocol

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return self._extra.get(name, default)

    def set_protocol(self, protocol: Any) -> None:
        self._protocol = protocol

    def get_protocol(self) -> Any:
        return self._protocol

    def is_closing(self) -> bool:
        return self._closing

    def close(self) -> None:
        if not self._closing:
            self._closing = True
            asyncio.get_running_loop().call_soon(self.lose)

    abort = close

    def lose(self) -> None:
        """The connection is lost."""
        self._closing = True
        if not self.lost:
            self.lost = True
            protocol, self._protocol = self._protocol, None
            protocol.connection_lost(None)
            self._socket.close()
            self._other.close()

    def write(self, data: Any) -> None:
        self.written += data

    def writelines(self, list_of_data: Any) -> None:
        for data in list_of_data:
            self.written += data

    def can_write_eof(self) -> bool:
        return True

    def write_eof(self) -> None:
        """What is written is not looked at any more."""

    def get_write_buffer_size(self) -> int:
        return 0

    def pause_reading(self) -> None:
        self.reads = False

    def resume_reading(self) -> None:
        self.reads = True

    def is_reading(self) -> bool:
        return self.reads


_MOST_PIECES = 1000
"""A piece costs the loop a pass, which is not what a unit's time is limited for."""


def pieces(data: bytes, size: int) -> list[bytes]:
    """The bytes as they may come: in pieces of `size`, and what is left after many of them at once; 0: all at once."""
    end = min(len(data), _MOST_PIECES * size)
    rest = [data[end:]] if end < len(data) else []
    return [data[at : at + size] for at in range(0, end, size or 1)] + rest
