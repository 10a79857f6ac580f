"""A client's connection to one of the ports."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
from typing import NamedTuple, Self

from tests.server.transport.thrift_clients import HOST

_MOST_BYTES = 64 << 20


class HttpAnswer(NamedTuple):
    """An answer, read to its end; names of headers are in small letters."""

    status: int
    headers: dict[str, str]
    body: bytes


class Line:
    """A connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self._writer = writer

    @classmethod
    async def to(cls, port: int) -> Self:
        """A new one. Raises OSError."""
        return cls(*await asyncio.open_connection(HOST, port, limit=1 << 20))

    def send(self, data: bytes) -> None:
        """Write it, soon."""
        self._writer.write(data)

    async def sent(self) -> None:
        """Returns when the system has taken what was written. Raises ConnectionError."""
        await self._writer.drain()

    def end(self) -> None:
        """Say that no more comes."""
        with contextlib.suppress(OSError):  # the other side has closed it already
            self._writer.write_eof()

    def close(self) -> None:
        """Close it, as a client does that has what it wanted."""
        self._writer.close()

    def reset(self) -> None:
        """Vanish: what is under way is thrown away on both sides."""
        opened = self._writer.get_extra_info("socket")
        with contextlib.suppress(OSError):  # it is closed already
            opened.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._writer.transport.abort()

    async def framed_answer(self) -> bytes:
        """The next frame's content. Raises EOFError, ConnectionError."""
        size = int.from_bytes(await self.reader.readexactly(4), "big")
        assert size <= _MOST_BYTES, f"the answer has {size} bytes"
        return await self.reader.readexactly(size)

    async def http_answer(self) -> HttpAnswer:
        """The next answer. Raises EOFError, ConnectionError."""
        head = await self.reader.readuntil(b"\r\n\r\n")
        first, *lines = head.decode("latin-1").split("\r\n")[:-2]
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
        if headers.get("transfer-encoding") == "chunked":
            body = await self._chunks()
        else:
            body = await self.reader.readexactly(int(headers.get("content-length", "0")))
        return HttpAnswer(int(first.split(" ")[1]), headers, body)

    async def _chunks(self) -> bytes:
        pieces = []
        while size := int(await self.reader.readuntil(b"\r\n"), 16):
            pieces.append(await self.reader.readexactly(size))
            await self.reader.readexactly(2)
        await self.reader.readexactly(2)
        return b"".join(pieces)

    async def until_closed(self) -> int:
        """How many bytes came until the other side closed."""
        count = 0
        while data := await self.reader.read(1 << 16):
            count += len(data)
        return count
