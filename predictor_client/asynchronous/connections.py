"""Connections of asyncio, and the pool that they wait in."""

from __future__ import annotations

import asyncio
import socket
import time
from asyncio import sleep
from typing import TYPE_CHECKING, TypeVar

from predictor_client.errors import CallError, CallTimeout, ConnectFailed, ConnectionLost, ProtocolError
from predictor_client.policy import GRACE_S, left
from predictor_client.wire import LENGTH

if TYPE_CHECKING:
    from predictor_client.calls import Call
    from predictor_client.policy import Policy

__all__ = ["AsyncConnection", "AsyncPool", "sleep"]

T = TypeVar("T")
_MAX_SEQID = 0x7FFFFFFF


class AsyncConnection:
    """One call at a time. After a call that did not get its answer it is of no use, and says so."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, max_answer_bytes: int) -> None:
        self._reader = reader
        self._writer = writer
        self._max_answer_bytes = max_answer_bytes
        self._seqid = 0
        self._waits = False

    @property
    def is_usable(self) -> bool:
        """Whether a call can be made, as far as is known here."""
        return not (self._waits or self._reader.at_eof() or self._writer.is_closing())

    async def call(self, call: Call[T], deadline: float | None) -> T:
        """Raises CallError, CallTimeout, ConnectionLost and ProtocolError."""
        self._seqid = self._seqid % _MAX_SEQID + 1
        message = call.encode(self._seqid, deadline)
        self._waits = True
        try:
            async with asyncio.timeout(left(None if deadline is None else deadline + GRACE_S)):
                self._writer.write(message)
                await self._writer.drain()
                answer = await self._read()
        except TimeoutError:
            raise CallTimeout(f"{call.method.name}: no answer in time") from None
        except (OSError, asyncio.IncompleteReadError) as error:
            raise ConnectionLost(f"{call.method.name}: the connection ended before the answer: {error}") from error
        try:
            result = call.decode(answer, self._seqid)
        except CallError:  # after a ProtocolError what comes next is not to be trusted either
            self._waits = False
            raise
        self._waits = False
        return result

    async def _read(self) -> bytes:
        (size,) = LENGTH.unpack(await self._reader.readexactly(LENGTH.size))
        if size > self._max_answer_bytes:
            raise ProtocolError(f"an answer of {size} bytes is over max_answer_bytes = {self._max_answer_bytes}")
        return await self._reader.readexactly(size)

    def close(self) -> None:
        """At once: the server then stops what nobody waits for."""
        self._writer.transport.abort()


class AsyncPool:
    """At most `connections` at a time; who wants one more waits for one of them."""

    def __init__(self, policy: Policy) -> None:
        self._policy = policy
        self._room = asyncio.Semaphore(policy.connections)
        self._idle: list[AsyncConnection] = []  # the last is used next
        self._is_closed = False

    async def take(self, deadline: float | None) -> AsyncConnection:
        """A connection that is to be given back. Raises ConnectFailed and CallTimeout."""
        try:
            async with asyncio.timeout(left(deadline)):
                await self._room.acquire()
        except TimeoutError:
            count = self._policy.connections
            raise CallTimeout(f"all {count} connections were in use until the deadline (connections)") from None
        try:
            if self._is_closed:
                raise RuntimeError("the client is closed")
            return self._idle_one() or await self._connect(deadline)
        except BaseException:
            self._room.release()
            raise

    def give_back(self, connection: AsyncConnection) -> None:
        """One that cannot be used again is closed."""
        if connection.is_usable and not self._is_closed:
            self._idle.append(connection)
        else:
            connection.close()
        self._room.release()

    def _idle_one(self) -> AsyncConnection | None:
        while self._idle:
            connection = self._idle.pop()
            if connection.is_usable:
                return connection
            connection.close()
        return None

    async def _connect(self, deadline: float | None) -> AsyncConnection:
        address, seconds = self._policy.address, self._policy.connect_timeout
        end = time.monotonic() + seconds
        try:
            async with asyncio.timeout(left(end if deadline is None else min(end, deadline))):
                if address.path is not None:
                    reader, writer = await asyncio.open_unix_connection(address.path)
                else:
                    reader, writer = await asyncio.open_connection(address.host, address.port, ssl=self._policy.tls)
        except TimeoutError:
            raise ConnectFailed(f"{address}: no connection in time") from None
        except OSError as error:
            raise ConnectFailed(f"{address}: {error}") from error
        writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        writer.write(self._policy.first_bytes)
        return AsyncConnection(reader, writer, self._policy.max_answer_bytes)

    async def aclose(self) -> None:
        """Close what nobody uses; connections in use are closed when they are given back."""
        self._is_closed = True
        while self._idle:
            self._idle.pop().close()
        await asyncio.sleep(0)  # the transports see it
