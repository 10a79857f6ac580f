"""Whole Thrift messages to a server, and their answers, as they are: a connection for each while it is on its way."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from process.security.visits import VISIT
from rest_proxy.backend.connection import ConnectionLost

if TYPE_CHECKING:
    from process.security.tls import ClientTls
    from rest_proxy.config import Address, Settings

_LENGTH_BYTES = 4

_Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]


class Messages:
    """Connections to one server, kept for the next message while there are at most `settings.connections`."""

    def __init__(self, address: Address, settings: Settings, tls: ClientTls | None = None) -> None:
        self._tls = tls
        self._address = address
        self._settings = settings
        self._idle: list[_Streams] = []

    async def answer(self, message: bytes, *, is_oneway: bool) -> bytes:
        """The answer to a message without its frame; empty to one that wants none. Raises ConnectionLost."""
        visit = VISIT.get()
        token = visit.token if visit is not None else None
        streams = await self._connection(new=token is not None)
        if token is not None:  # the connection is this caller's, from its first line to its end
            streams[1].write(b"Bearer " + token.encode("utf-8", "surrogateescape") + b"\n")
        try:
            answer = await self._exchange(streams, message, is_oneway=is_oneway)
        except BaseException as error:
            streams[1].transport.abort()
            if isinstance(error, OSError | EOFError):
                raise ConnectionLost("the server closed the connection", sent=True) from None
            raise
        if token is None and len(self._idle) < self._settings.connections:
            self._idle.append(streams)
        else:
            streams[1].close()
        return answer

    def close(self) -> None:
        """Close the connections that are kept."""
        for _, writer in self._idle:
            writer.transport.abort()
        self._idle.clear()

    async def _connection(self, *, new: bool) -> _Streams:
        while self._idle and not new:
            reader, writer = self._idle.pop()
            if not (reader.at_eof() or writer.is_closing()):
                return reader, writer
            writer.transport.abort()
        timeout_ms = self._settings.connect_timeout_ms
        path = self._address.path
        try:
            async with asyncio.timeout(timeout_ms / 1000):
                if path is not None:
                    return await asyncio.open_unix_connection(path)
                tls = None if self._tls is None else self._tls.context
                return await asyncio.open_connection(self._address.host, self._address.port, ssl=tls)
        except TimeoutError:
            reason = f"connecting took over {timeout_ms} ms (setting connect_timeout_ms)"
            raise ConnectionLost(reason, sent=False) from None
        except OSError as error:
            raise ConnectionLost(str(error), sent=False) from None

    async def _exchange(self, streams: _Streams, message: bytes, *, is_oneway: bool) -> bytes:
        reader, writer = streams
        writer.write(len(message).to_bytes(_LENGTH_BYTES, "big") + message)
        await writer.drain()
        if is_oneway:
            return b""
        size = int.from_bytes(await reader.readexactly(_LENGTH_BYTES), "big")
        most = self._settings.max_reply_bytes
        if size > most:
            raise ConnectionLost(f"an answer of {size} bytes is over max_reply_bytes = {most}", sent=True)
        return await reader.readexactly(size)
