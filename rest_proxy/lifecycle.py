"""The proxy's life: connect, listen, tell, serve, drain, stop."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from typing import TYPE_CHECKING

import structlog
from aiohttp import web

from process.listening import Listener, tcp_sockets
from process.signals import on_signals
from process.supervision import at_end_of_stdin
from rest_proxy.application import Application
from rest_proxy.backend.thrift_pool import ThriftPool
from rest_proxy.http.server.listener import HttpServer

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from rest_proxy.backend.pool import Pool
    from rest_proxy.config import Settings

_BACKLOG = 1024

log = structlog.get_logger(__name__)


class Serving:
    """The proxy, from start to stop. Belongs to the event loop that runs when it is made.

    `pool` answers its calls; without it the Thrift servers of the settings do.
    """

    def __init__(self, settings: Settings, pool: Pool | None = None) -> None:
        self._settings = settings
        self._pool = ThriftPool(settings) if pool is None else pool
        self._application = Application(settings, self._pool)
        self._http_server = HttpServer(self._application, settings)
        self._runner = web.ServerRunner(self._http_server, shutdown_timeout=settings.drain_timeout_ms / 1000)
        self._listener: Listener | None = None

    async def start(self) -> int:
        """Listen; the port. Raises OSError when it cannot be had."""
        settings = self._settings
        await self._pool.start()
        await self._runner.setup()
        assert self._runner.server is not None
        sockets = tcp_sockets(settings.host, settings.port, _BACKLOG)
        listener = self._listener = Listener(sockets, self._runner.server, _BACKLOG)
        await listener.start()
        return listener.port

    def leave(self) -> None:
        """Serve on, but close connections after their answers, and tell whoever asks that nothing is ready here."""
        self._application.leave()
        self._http_server.is_open = False  # to the short way, whose answers close no connection

    async def stop(self) -> None:
        """Accept no more connections, and finish the requests in progress within drain_timeout_ms."""
        self.leave()
        if self._listener is not None:
            await self._listener.stop()
        for _ in range(3):  # what has come by now is read, and begun
            await asyncio.sleep(0)
        self._application.drain()
        await self._runner.cleanup()
        await self._pool.close()


@contextlib.asynccontextmanager
async def listening(settings: Settings, pool: Pool | None = None) -> AsyncIterator[int]:
    """The proxy while it listens, as its port. Raises OSError when the port cannot be had."""
    serving = Serving(settings, pool)
    try:
        yield await serving.start()
    finally:
        await serving.stop()


async def serve(settings: Settings, *, ends_with_stdin: bool) -> None:
    """Serve until SIGTERM, SIGINT or, if so, the end of stdin, then drain. A second signal ends the process with 0."""
    stopped: asyncio.Future[int] = asyncio.get_running_loop().create_future()
    on_signals(stopped.set_result, lambda _: os._exit(0))
    if ends_with_stdin:
        _stop_with_parent(stopped)
    serving = Serving(settings)
    try:
        port = await serving.start()
        log.info("listening", host=settings.host, port=port, servers=[str(address) for address in settings.thrift])
        if settings.ready_fd is not None:
            with os.fdopen(settings.ready_fd, "w") as ready:
                ready.write(f"{port}\n")
        by = await stopped
        delay_ms = settings.drain_delay_ms if by == signal.SIGTERM else 0
        log.info("draining", after_ms=delay_ms, at_most_ms=settings.drain_timeout_ms)
        if delay_ms:
            serving.leave()
            await asyncio.sleep(delay_ms / 1000)
    finally:
        await serving.stop()
    log.info("stopped")


def _stop_with_parent(stopped: asyncio.Future[int]) -> None:
    """The parent holds the other end of stdin for as long as it lives."""
    loop = asyncio.get_running_loop()

    def on_end() -> None:
        log.warning("the parent process is gone")
        if not stopped.done():
            stopped.set_result(0)

    def tell() -> None:
        with contextlib.suppress(RuntimeError):  # the loop is closed: the proxy has just stopped by itself
            loop.call_soon_threadsafe(on_end)

    at_end_of_stdin(tell)
