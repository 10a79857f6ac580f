"""The proxy's life: connect, listen, tell, serve, drain, stop."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from typing import TYPE_CHECKING

import structlog
from aiohttp import web

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


@contextlib.asynccontextmanager
async def listening(settings: Settings, pool: Pool | None = None) -> AsyncIterator[int]:
    """The proxy while it listens, as its port; at the end requests in progress are finished within drain_timeout_ms.

    `pool` answers its calls; without it the Thrift servers of the settings do. Raises OSError when the port cannot be
    had.
    """
    pool = ThriftPool(settings) if pool is None else pool
    application = Application(settings, pool)
    runner = web.ServerRunner(HttpServer(application, settings), shutdown_timeout=settings.drain_timeout_ms / 1000)
    try:
        await pool.start()
        await runner.setup()
        await web.TCPSite(runner, settings.host, settings.port, backlog=_BACKLOG).start()
        yield runner.addresses[0][1]
    finally:
        application.drain()
        await runner.cleanup()
        await pool.close()


async def serve(settings: Settings, *, ends_with_stdin: bool) -> None:
    """Serve until SIGTERM, SIGINT or, if so, the end of stdin, then drain. A second signal ends the process with 0."""
    stop = _stop_signals()
    if ends_with_stdin:
        _stop_with_parent(stop)
    async with listening(settings) as port:
        log.info("listening", host=settings.host, port=port, servers=[str(address) for address in settings.thrift])
        if settings.ready_fd is not None:
            with os.fdopen(settings.ready_fd, "w") as ready:
                ready.write(f"{port}\n")
        await stop.wait()
        log.info("draining", at_most_ms=settings.drain_timeout_ms)
    log.info("stopped")


def _stop_signals() -> asyncio.Event:
    stop = asyncio.Event()

    def on_signal() -> None:
        if stop.is_set():
            os._exit(0)
        stop.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, on_signal)
    return stop


def _stop_with_parent(stop: asyncio.Event) -> None:
    """The parent holds the other end of stdin for as long as it lives."""
    loop = asyncio.get_running_loop()

    def on_end() -> None:
        log.warning("the parent process is gone")
        stop.set()

    def tell() -> None:
        with contextlib.suppress(RuntimeError):  # the loop is closed: the proxy has just stopped by itself
            loop.call_soon_threadsafe(on_end)

    at_end_of_stdin(tell)
