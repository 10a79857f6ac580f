"""The proxy's life: connect, listen, tell, serve, drain, stop."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from typing import TYPE_CHECKING

import structlog
from aiohttp import web

from rest_proxy.application import Application
from rest_proxy.backend.pool import Pool
from rest_proxy.http.server import HttpServer

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from rest_proxy.config import Settings

_BACKLOG = 1024
_PARENT_CHECK_S = 0.5

log = structlog.get_logger(__name__)


@contextlib.asynccontextmanager
async def listening(settings: Settings) -> AsyncIterator[int]:
    """The proxy while it listens, as its port; at the end requests in progress are finished within drain_timeout_ms.

    Raises OSError when the port cannot be had.
    """
    pool = Pool(settings)
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


async def serve(settings: Settings) -> None:
    """Serve until SIGTERM, SIGINT or the parent's end, then drain. A second signal ends the process at once, with 0."""
    stop = _stop_signals()
    watch = asyncio.create_task(_watch_parent(settings.parent_pid, stop)) if settings.parent_pid else None
    async with listening(settings) as port:
        log.info("listening", host=settings.host, port=port, servers=[str(address) for address in settings.thrift])
        if settings.ready_fd is not None:
            with os.fdopen(settings.ready_fd, "w") as ready:
                ready.write(f"{port}\n")
        await stop.wait()
        log.info("draining", at_most_ms=settings.drain_timeout_ms)
    if watch is not None:
        watch.cancel()
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


async def _watch_parent(parent_pid: int, stop: asyncio.Event) -> None:
    while os.getppid() == parent_pid:  # noqa: ASYNC110 - no event tells of it
        await asyncio.sleep(_PARENT_CHECK_S)
    log.warning("the parent process is gone", parent_pid=parent_pid)
    stop.set()
