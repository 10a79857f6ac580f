"""One Thrift server as the proxy sees it: its connections, and whether it takes calls now."""

from __future__ import annotations

import asyncio
import contextlib
import random
from typing import TYPE_CHECKING, Any

import structlog
from predictor.ttypes import ErrorCode, PredictionError
from thrift.Thrift import TApplicationException

from process.security.visits import VISIT
from process.supervision import kept_up
from rest_proxy.backend.connection import Connection, ConnectionLost, DeadlinePassed
from rest_proxy.backend.contract import STATUS
from rest_proxy.backend.messages import Messages

if TYPE_CHECKING:
    from collections.abc import Callable

    from process.security.tls import ClientTls
    from rest_proxy.backend.contract import Method
    from rest_proxy.config import Address, Settings

_MIN_INTERVAL_S = 0.05  # between two questions for status
_MAX_COOLDOWN_MS = 60_000
_STATUS_TIMEOUT_S = 2.0  # for the answer, once connected

log = structlog.get_logger(__name__)


class Upstream:
    """A server and up to `settings.connections` connections to it.

    A call takes an idle connection, else a new one, and shares one only when there may be no more: replies on one
    connection come in order, so a slow call holds up those behind it. Calls that are slow by nature, as those that
    generate text, are made `alone`: each on a connection that no other call shares, beside those that
    `settings.connections` counts. A connection of its own asks for `status` at intervals; that is how the proxy learns
    that the server is down, drains, or is back.
    """

    def __init__(
        self, address: Address, settings: Settings, loop: asyncio.AbstractEventLoop, tls: ClientTls | None = None
    ) -> None:
        self._tls = tls
        self.address = address
        self.calls = 0  # in flight
        self.status: Any = None  # the contract's ServerStatus, of the last answer
        self.reachable = False
        self.reason: str | None = "not asked yet"  # why it takes no calls; None when it does
        self._settings = settings
        self._loop = loop
        self._connections: set[Connection] = set()
        self._idle: list[Connection] = []  # the last is used next
        self._unneeded = 0  # the first so many of them have not been used since the last question for status
        self._alone: set[Connection] = set()  # those with a call that shares with no other
        self._cooldown_ends = 0.0
        self._monitor: Connection | None = None
        self._probe: asyncio.Task[None] | None = None
        self._watch: asyncio.Task[None] | None = None
        self._doubted = asyncio.Event()
        self._connecting: set[asyncio.Task[None]] = set()
        self._messages = Messages(address, settings, tls)

    @property
    def connections(self) -> int:
        """Connections open or being opened, the monitor's aside."""
        return len(self._connections)

    @property
    def ready(self) -> bool:
        """Whether it is up, says that it is ready, and has not just answered UNAVAILABLE."""
        return self.reason is None and self._loop.time() >= self._cooldown_ends

    async def start(self) -> None:
        """Ask for its status, once before this returns, then at intervals until closed."""
        await self.probe()
        self._watch = self._loop.create_task(kept_up("the look at a server's status", self._watch_status))

    async def close(self) -> None:
        """Close every connection; calls in flight are lost."""
        tasks = [task for task in (self._watch, self._probe, *self._connecting) if task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for connection in (*self._connections, *([self._monitor] if self._monitor else ())):
            connection.close()
        self._messages.close()

    async def call(self, method: Method, arguments: tuple[Any, ...], deadline: float, *, alone: bool = False) -> Any:
        """As Connection.call; raises PredictionError OVERLOADED when every connection is full.

        A call that is made `alone` always gets a connection; who makes such calls bounds their number.
        """
        if alone:
            connection = self._idle_one() or self._new_one()
            self._alone.add(connection)
        else:
            connection = self._choose()
        self.calls += 1
        try:
            return await connection.call(method, arguments, deadline)
        except ConnectionLost:
            self._doubted.set()
            raise
        finally:
            self.calls -= 1

    async def message(self, message: bytes, *, is_oneway: bool) -> bytes:
        """See Messages.answer. Each has a connection of its own."""
        self.calls += 1
        try:
            return await self._messages.answer(message, is_oneway=is_oneway)
        except ConnectionLost:
            self._doubted.set()
            raise
        finally:
            self.calls -= 1

    def cool_down(self, retry_after_ms: int | None) -> None:
        """Prefer other servers for a while: it answered UNAVAILABLE."""
        cooldown_ms = self._settings.cooldown_ms if retry_after_ms is None else min(retry_after_ms, _MAX_COOLDOWN_MS)
        self._cooldown_ends = self._loop.time() + cooldown_ms / 1000
        self._doubted.set()

    async def probe(self) -> None:
        """Ask for its status and note the answer; those who ask at the same time share one question."""
        if self._probe is None:
            self._probe = self._loop.create_task(self._ask_status())
            self._probe.add_done_callback(self._probe_done)
        await asyncio.shield(self._probe)

    def _probe_done(self, _task: asyncio.Task[None]) -> None:
        self._probe = None

    def _choose(self) -> Connection:
        connection = self._idle_one()
        if connection is not None:
            return connection
        if len(self._connections) - len(self._alone) < self._settings.connections:
            return self._new_one()
        usable = [connection for connection in self._connections - self._alone if connection.usable]
        freest = min(usable, key=lambda connection: connection.calls, default=None)
        if freest is None or freest.calls >= self._settings.calls_per_connection:
            message = (
                f"all connections to {self.address} are full (settings connections = {self._settings.connections}, "
                f"calls_per_connection = {self._settings.calls_per_connection})"
            )
            raise PredictionError(ErrorCode.OVERLOADED, message, 1000, setting="connections")
        return freest

    def _idle_one(self) -> Connection | None:
        while self._idle:
            connection = self._idle.pop()
            self._unneeded = min(self._unneeded, len(self._idle))
            if connection.usable:
                return connection
        return None

    def _new_one(self) -> Connection:
        connection = self._open(self._release)
        self._connections.add(connection)
        return connection

    def _release(self, connection: Connection) -> None:
        self._alone.discard(connection)
        self._idle.append(connection)

    def _open(self, on_idle: Callable[[Connection], None]) -> Connection:
        connection = Connection(self._loop, self._settings.max_reply_bytes, on_idle, self._forget)
        task = self._loop.create_task(self._connect(connection))
        self._connecting.add(task)
        task.add_done_callback(self._connecting.discard)
        return connection

    async def _connect(self, connection: Connection) -> None:
        host, port = self.address
        path = self.address.path
        try:
            async with asyncio.timeout(self._settings.connect_timeout_ms / 1000):
                if path is not None:
                    await self._loop.create_unix_connection(lambda: connection, path)
                else:
                    tls = None if self._tls is None else self._tls.context
                    await self._loop.create_connection(lambda: connection, host, port, ssl=tls)
        except (OSError, TimeoutError) as error:
            reason = f"connecting took over {self._settings.connect_timeout_ms} ms (setting connect_timeout_ms)"
            connection.close(reason if isinstance(error, TimeoutError) else str(error))

    def _forget(self, connection: Connection) -> None:
        self._connections.discard(connection)
        self._alone.discard(connection)
        if connection in self._idle:
            self._idle.remove(connection)
            self._unneeded = min(self._unneeded, len(self._idle))
        if connection is self._monitor:
            self._monitor = None
            self._doubted.set()

    async def _watch_status(self) -> None:
        interval_s = self._settings.status_interval_ms / 1000
        backoff_s = _MIN_INTERVAL_S
        while True:
            await asyncio.sleep(_MIN_INTERVAL_S)
            if self.reachable:
                backoff_s = _MIN_INTERVAL_S
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(interval_s):
                        await self._doubted.wait()
            else:
                backoff_s = min(2 * backoff_s, interval_s)
                await asyncio.sleep(backoff_s * random.uniform(0.8, 1.2))  # so that many proxies do not come at once
            self._doubted.clear()
            await self.probe()
            self._close_surplus()

    def _close_surplus(self) -> None:
        """Those over the setting that no call has needed for a while: many were alone at a time once."""
        surplus = min(self._unneeded, len(self._connections) - self._settings.connections)
        for connection in self._idle[: max(surplus, 0)]:
            connection.close()
        self._unneeded = len(self._idle)

    async def _ask_status(self) -> None:
        VISIT.set(None)  # it is nobody's request, even where somebody's has begun it
        if self._monitor is None or not self._monitor.usable:
            self._monitor = self._open(_ignore)
        wait_s = self._settings.connect_timeout_ms / 1000 + _STATUS_TIMEOUT_S
        try:
            status = await self._monitor.call(STATUS, (), self._loop.time() + wait_s)
        except ConnectionLost as error:
            self._note(False, f"not reachable: {error}")
        except DeadlinePassed:
            self._note(self.reachable, f"no answer to status in {wait_s:g} s")
        except TApplicationException:  # a server without this method, and as it answers, one that works
            self._note(True, None)
        except PredictionError as error:
            self._note(True, error.message)
        else:
            self.status = status
            self._note(True, None if status.ready else "; ".join(status.reasons) or "not ready")

    def _note(self, reachable: bool, reason: str | None) -> None:
        if reason != self.reason:
            # A server that has started this proxy logs by itself that it loads, is ready or drains.
            say = log.info if self._settings.ready_fd is None else log.debug
            say("server is ready" if reason is None else "server is not ready", server=str(self.address), why=reason)
        self.reachable = reachable
        self.reason = reason


def _ignore(_connection: Connection) -> None:
    """The monitor's connection is not one of those that calls may take."""
