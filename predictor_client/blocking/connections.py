"""Connections of threads, and the pool that they wait in."""

from __future__ import annotations

import os
import select
import socket
import threading
import time
from time import sleep
from typing import TYPE_CHECKING, TypeVar

from predictor_client.errors import CallError, CallTimeout, ConnectFailed, ConnectionLost, ProtocolError
from predictor_client.policy import GRACE_S, left
from predictor_client.wire import LENGTH

if TYPE_CHECKING:
    from predictor_client.calls import Call
    from predictor_client.policy import Policy

__all__ = ["Connection", "Pool", "sleep"]

T = TypeVar("T")
_MAX_SEQID = 0x7FFFFFFF


class Connection:
    """One call at a time. After a call that did not get its answer it is of no use, and says so."""

    def __init__(self, connected: socket.socket, max_answer_bytes: int) -> None:
        self._socket = connected
        self._max_answer_bytes = max_answer_bytes
        self._seqid = 0
        self._waits = False

    @property
    def is_usable(self) -> bool:
        """Whether a call can be made: the server has not closed it, nor said what nobody asked for."""
        if self._waits or self._socket.fileno() < 0:
            return False
        poll = select.poll()
        poll.register(self._socket, select.POLLIN)
        return not poll.poll(0)

    def call(self, call: Call[T], deadline: float | None) -> T:
        """Raises CallError, CallTimeout, ConnectionLost and ProtocolError."""
        self._seqid = self._seqid % _MAX_SEQID + 1
        message = call.encode(self._seqid, deadline)
        self._waits = True
        end = None if deadline is None else deadline + GRACE_S
        try:
            self._limit(end)
            self._socket.sendall(message)
            answer = self._read(end)
        except TimeoutError:
            raise CallTimeout(f"{call.method.name}: no answer in time") from None
        except (OSError, EOFError) as error:
            raise ConnectionLost(f"{call.method.name}: the connection ended before the answer: {error}") from error
        try:
            result = call.decode(answer, self._seqid)
        except CallError:  # after a ProtocolError what comes next is not to be trusted either
            self._waits = False
            raise
        self._waits = False
        return result

    def _read(self, end: float | None) -> bytes:
        (size,) = LENGTH.unpack(self._read_exactly(LENGTH.size, end))
        if size > self._max_answer_bytes:
            raise ProtocolError(f"an answer of {size} bytes is over max_answer_bytes = {self._max_answer_bytes}")
        return bytes(self._read_exactly(size, end))

    def _read_exactly(self, size: int, end: float | None) -> bytearray:
        received = bytearray(size)
        view, position = memoryview(received), 0
        while position < size:
            self._limit(end)
            count = self._socket.recv_into(view[position:])
            if count == 0:
                raise EOFError("the server closed it")
            position += count
        return received

    def _limit(self, end: float | None) -> None:
        seconds = left(end)
        if seconds == 0:
            raise TimeoutError
        self._socket.settimeout(seconds)

    def close(self) -> None:
        """At once: the server then stops what nobody waits for."""
        self._socket.close()


class Pool:
    """At most `connections` at a time; who wants one more waits for one of them. A forked child makes its own."""

    def __init__(self, policy: Policy) -> None:
        self._policy = policy
        self._is_closed = False
        self._begin()

    def _begin(self) -> None:
        self._pid = os.getpid()
        self._room = threading.Semaphore(self._policy.connections)
        self._lock = threading.Lock()
        self._idle: list[Connection] = []  # the last is used next

    def take(self, deadline: float | None) -> Connection:
        """A connection that is to be given back. Raises ConnectFailed and CallTimeout."""
        if self._pid != os.getpid():
            self._begin()
        if not self._room.acquire(timeout=left(deadline)):
            count = self._policy.connections
            raise CallTimeout(f"all {count} connections were in use until the deadline (connections)")
        try:
            if self._is_closed:
                raise RuntimeError("the client is closed")
            return self._idle_one() or self._connect(deadline)
        except BaseException:
            self._room.release()
            raise

    def give_back(self, connection: Connection) -> None:
        """One that cannot be used again is closed."""
        is_usable = connection.is_usable
        with self._lock:
            is_kept = is_usable and not self._is_closed
            if is_kept:
                self._idle.append(connection)
        if not is_kept:
            connection.close()
        self._room.release()

    def _idle_one(self) -> Connection | None:
        while True:
            with self._lock:
                if not self._idle:
                    return None
                connection = self._idle.pop()
            if connection.is_usable:
                return connection
            connection.close()

    def _connect(self, deadline: float | None) -> Connection:
        address, end = self._policy.address, time.monotonic() + self._policy.connect_timeout
        seconds = left(end if deadline is None else min(end, deadline))
        if seconds == 0:
            raise ConnectFailed(f"{address}: no connection in time")
        try:
            connected = self._opened(seconds)
        except TimeoutError:
            raise ConnectFailed(f"{address}: no connection in time") from None
        except OSError as error:
            raise ConnectFailed(f"{address}: {error}") from error
        return Connection(connected, self._policy.max_answer_bytes)

    def _opened(self, seconds: float | None) -> socket.socket:
        """Raises OSError."""
        host, port, path = self._policy.address
        if path is not None:
            connected = socket.socket(socket.AF_UNIX)
        else:
            connected = socket.create_connection((host, port), seconds)
        try:
            if path is not None:
                connected.settimeout(seconds)
                connected.connect(path)
            else:
                connected.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                connected.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
            if self._policy.tls is not None:
                connected = self._policy.tls.wrap_socket(connected, server_hostname=host)
            connected.sendall(self._policy.first_bytes)
        except BaseException:
            connected.close()
            raise
        return connected

    def close(self) -> None:
        """Close what nobody uses; connections in use are closed when they are given back."""
        with self._lock:
            self._is_closed = True
            idle, self._idle = self._idle, []
        for connection in idle:
            connection.close()
