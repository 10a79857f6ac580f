"""The Thrift server: one port, any Thrift dialect."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from predictor import Predictor

from process.listening import Listener, tcp_sockets, unix_socket
from process.security.tls import TlsListener
from process.supervision import kept_up
from server.transport.connection import Connection
from server.transport.endpoint import Endpoint
from server.transport.methods import method_table
from server.transport.one_message import OneMessage
from server.transport.plain import plain_messages
from server.transport.proxy_header import ProxiedConnection

if TYPE_CHECKING:
    from pathlib import Path

    from process.security.access import Visit
    from process.security.addresses import RequestRates
    from process.security.tls import Tls
    from server.security.gate import Gate
    from server.transport.counters import Counters
    from server.transport.limits import Limits

_BACKLOG = 1024
"""Connections that the system keeps until they are accepted."""

_SWEEP_S = 1.0
"""Seconds between two looks at silent connections, at most."""


class ThriftServer:
    """Serves a handler's methods on a TCP port.

    `handler` has a coroutine method for each method of predictor.thrift, its arguments in the order of their fields.
    What it raises is the answer: a PredictionError as it is, anything else as INTERNAL, with details only in the log.
    `log` is a structlog logger.
    """

    def __init__(
        self,
        handler: object,
        limits: Limits,
        log: Any,
        gate: Gate | None = None,
        tls: Tls | None = None,
        rates: RequestRates | None = None,
    ) -> None:
        """`gate` says who may call what; without one everybody may call everything. Without `tls` it is plain TCP.
        `rates` says how many calls may come from an address.

        Raises TypeError when the handler lacks a method of the contract."""
        self.port = 0
        methods = method_table(Predictor, handler, limits)
        plain = plain_messages(set(methods.values()), handler, limits)
        self._endpoint = Endpoint(methods, limits, log, gate, rates, plain)
        self._tls = tls
        self._listeners: list[Listener | TlsListener] = []
        self._sweeper: asyncio.Task[None] | None = None

    @property
    def connections(self) -> int:
        """Connections open now."""
        return len(self._endpoint.connections)

    @property
    def counters(self) -> Counters:
        """What happened so far."""
        return self._endpoint.counters

    async def start(self, host: str, port: int, *, proxy_protocol: bool = False) -> None:
        """Listen. Port 0 means a free one; `port` says which. Raises OSError when it cannot be had.

        `proxy_protocol`: every connection begins with such a header; not with TLS.
        """
        sockets = tcp_sockets(host, port, _BACKLOG)
        listener: Listener | TlsListener
        if self._tls is None:
            listener = Listener(sockets, self._proxied if proxy_protocol else self._connection, _BACKLOG)
        else:
            limits = self._endpoint.limits
            most = (limits.connections, limits.connections_per_address)
            listener = TlsListener(sockets, self._connection, self._tls, *most)
        await listener.start()
        self._listeners.append(listener)
        self.port = listener.port
        self._sweeper = asyncio.get_running_loop().create_task(kept_up("the look for silent connections", self._sweep))

    async def start_unix(self, path: Path) -> None:
        """Listen at `path` as well. Raises OSError."""
        listener = Listener([unix_socket(path, _BACKLOG)], self._connection, _BACKLOG)
        await listener.start()
        self._listeners.append(listener)

    async def answer(self, message: bytes, visit: Visit) -> bytes:
        """The answer to a message of `visit` that came by another way: see OneMessage."""
        return await OneMessage(self._endpoint, visit).answer(message)

    def _connection(self) -> Connection:
        return Connection(self._endpoint)

    def _proxied(self) -> ProxiedConnection:
        return ProxiedConnection(self._endpoint, self._connection())

    async def drain(self, timeout_s: float) -> bool:
        """Stop accepting, answer every message that has come completely, and close.

        True if all was answered within `timeout_s` seconds; what is left after them is closed as it is.
        """
        for listener in self._listeners:
            await listener.stop()
        for _ in range(3):  # two whole passes of the event loop: what has come is read
            await asyncio.sleep(0)
        for connection in tuple(self._endpoint.connections):
            connection.drain()
        try:
            async with asyncio.timeout(timeout_s):
                await self._endpoint.all_closed()
        except TimeoutError:
            return False
        finally:
            self.close()
        return True

    def close(self) -> None:
        """Close everything at once; calls in progress are cancelled."""
        for listener in self._listeners:
            listener.close()
        if self._sweeper is not None:
            self._sweeper.cancel()
        for connection in (*self._endpoint.connections, *self._endpoint.turned_away):
            connection.abort()

    async def _sweep(self) -> None:
        """Look for silent connections, forever: one timer for all."""
        loop = asyncio.get_running_loop()
        limits = self._endpoint.limits
        period_s = min(_SWEEP_S, limits.idle_s / 4, limits.message_s / 4, limits.first_byte_s / 4)
        while True:
            await asyncio.sleep(period_s)
            now = loop.time()
            for connection in tuple(self._endpoint.connections):
                connection.sweep(now)
