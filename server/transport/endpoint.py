"""What all connections of a server share."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Protocol

from process.security.addresses import ConnectionCounts
from server.transport.counters import Counters
from server.transport.decoder import Decoder
from server.transport.held import Held
from server.transport.turn_away import MOST

if TYPE_CHECKING:
    from collections.abc import Mapping

    from process.security.addresses import RequestRates
    from server.security.gate import Gate
    from server.transport.limits import Limits
    from server.transport.methods import Method
    from server.transport.plain import PlainMessages

_REFUSAL_LOG_S = 10.0
"""Seconds between two log lines about refused connections."""


class OpenConnection(Protocol):
    """What a connection is to the endpoint that it belongs to."""

    address: str | None
    """What counts of its client's address; None where it does not."""

    def peer(self) -> str:
        """The client's address, for the log."""

    def flush(self) -> None:
        """Send the answers gathered."""

    def drain(self) -> None:
        """Close once the messages that have come are answered."""

    def sweep(self, now: float) -> None:
        """Close when silent for too long."""

    def abort(self) -> None:
        """Close at once."""


class Endpoint:
    """Methods, limits, log, counters and the connections that are open."""

    def __init__(
        self,
        methods: dict[bytes, Method],
        limits: Limits,
        log: Any,
        gate: Gate | None = None,
        rates: RequestRates | None = None,
        plain: Mapping[int, tuple[PlainMessages, ...]] | None = None,
    ) -> None:
        self.gate = gate
        self.rates = rates
        self._of_address = ConnectionCounts(limits.connections_per_address)
        self.methods = methods
        self.plain = plain or {}
        """First byte -> messages that are read at once, see plain.py."""
        self.limits = limits
        self.log = log
        self.counters = Counters()
        self.held = Held(limits.held_bytes)
        self.decoder = Decoder(limits)
        self.connections: set[OpenConnection] = set()
        self.turned_away: set[OpenConnection] = set()
        self._unflushed: list[OpenConnection] = []
        self._all_closed: asyncio.Event = asyncio.Event()
        self._next_refusal_log = 0.0

    def admit(self, connection: OpenConnection) -> bool:
        """Count a connection in; False when there are as many as allowed."""
        limit, setting = self.limits.connections, "connections"
        if not self._of_address.enter(connection.address):
            limit, setting = self.limits.connections_per_address, "connections_per_address"
        elif len(self.connections) >= limit:
            self._of_address.leave(connection.address)
        else:
            self.counters.accepted_connections += 1
            self.connections.add(connection)
            return True
        self.counters.refused_connections += 1
        now = asyncio.get_running_loop().time()
        if now >= self._next_refusal_log:
            self._next_refusal_log = now + _REFUSAL_LOG_S
            self.log.warning(
                f"connection refused: {limit} are open (setting {setting})",
                peer=connection.peer(),
                refused=self.counters.refused_connections,
            )
        return False

    def turn_away(self, connection: OpenConnection) -> bool:
        """Note one that was not admitted; False when it is to be closed at once."""
        if len(self.turned_away) >= MOST:
            return False
        self.turned_away.add(connection)
        return True

    def dismiss(self, connection: OpenConnection) -> None:
        """Count a connection out; one that was not admitted has not been counted in."""
        self.turned_away.discard(connection)
        if connection in self.connections:
            self.connections.discard(connection)
            self._of_address.leave(connection.address)
        if not self.connections:
            self._all_closed.set()

    def flush_soon(self, connection: OpenConnection) -> None:
        """Flush a connection at the end of this pass of the event loop, with all that have answers by then.

        One write for the answers that got ready together saves system calls, and writing only when all calls are read
        saves the processor from going back and forth between this process and its clients.
        """
        if not self._unflushed:
            asyncio.get_running_loop().call_soon(self._flush)
        self._unflushed.append(connection)

    def _flush(self) -> None:
        unflushed, self._unflushed = self._unflushed, []
        for connection in unflushed:
            try:
                connection.flush()
            except Exception:  # one connection's trouble is not the others'
                self.log.error("connection failed", peer=connection.peer(), exc_info=True)
                connection.abort()

    async def all_closed(self) -> None:
        """Wait until no connection is open."""
        while self.connections:
            self._all_closed.clear()
            await self._all_closed.wait()
