"""The proxy's life: connect, listen, tell, serve, drain, stop."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from typing import TYPE_CHECKING

import structlog
from aiohttp import web
from predictor import Predictor

from process.listening import Listener, tcp_sockets
from process.security.access import Access, method_names
from process.security.openness import is_open
from process.security.tls import TlsListener, tls_of
from process.security.watch import FileWatch
from process.signals import on_signals
from process.supervision import at_end_of_stdin
from rest_proxy.application import Application
from rest_proxy.backend.thrift_pool import ThriftPool
from rest_proxy.http.server.door import Door
from rest_proxy.http.server.listener import HttpServer

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from process.security.tls import Tls
    from rest_proxy.backend.pool import Pool
    from rest_proxy.config import Settings

_BACKLOG = 1024

log = structlog.get_logger(__name__)


class Serving:
    """The proxy, from start to stop. Belongs to the event loop that runs when it is made.

    `pool` answers its calls, `access` knows the callers, and `tls` is what the port speaks; without `pool` the Thrift
    servers of the settings answer, and their files say the rest. Raises TokenFileError and TlsError.
    """

    def __init__(
        self, settings: Settings, pool: Pool | None = None, access: Access | None = None, tls: Tls | None = None
    ) -> None:
        self._settings = settings
        self._files = FileWatch()
        door = None if access is None else Door(access, hands_on=False)
        if pool is None:
            pool = servers = ThriftPool(settings)
            if servers.tls is not None:
                self._files.add(servers.tls.files, servers.tls.reload)
            door = Door(_access(settings, self._files), hands_on=True)
            tls = tls_of(settings, self._files)
        self._pool = pool
        self._tls = tls
        self._application = Application(settings, pool, door)
        self._http_server = HttpServer(self._application, settings)
        self._runner = web.ServerRunner(self._http_server, shutdown_timeout=settings.drain_timeout_ms / 1000)
        self._listener: Listener | TlsListener | None = None

    async def start(self) -> int:
        """Listen; the port. Raises OSError when it cannot be had."""
        settings = self._settings
        await self._pool.start()
        await self._runner.setup()
        assert self._runner.server is not None
        sockets = tcp_sockets(settings.host, settings.port, _BACKLOG)
        self._files.start()
        listener: Listener | TlsListener
        if self._tls is None:
            listener = Listener(sockets, self._runner.server, _BACKLOG)
        else:
            most = (settings.max_connections, settings.max_connections_per_address)
            listener = TlsListener(sockets, self._runner.server, self._tls, *most)
        self._listener = listener
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
        self._files.stop()


@contextlib.asynccontextmanager
async def listening(settings: Settings, pool: Pool | None = None) -> AsyncIterator[int]:
    """The proxy while it listens, as its port. Raises OSError when the port cannot be had."""
    serving = Serving(settings, pool)
    try:
        yield await serving.start()
    finally:
        await serving.stop()


def _access(settings: Settings, files: FileWatch) -> Access | None:
    """The callers, where a file says who may call: else tokens are handed on to the servers, which know them."""
    if settings.token_file is None:
        return None
    access = Access(settings.token_file, method_names(Predictor.Iface))
    files.add([settings.token_file], access.reload)
    return access


async def serve(settings: Settings, *, ends_with_stdin: bool) -> None:
    """Serve until SIGTERM, SIGINT or, if so, the end of stdin, then drain. A second signal ends the process with 0."""
    is_closed = settings.token_file is not None or settings.tls_client_ca is not None
    if settings.ready_fd is None and not is_closed and is_open([settings.host], insecure=settings.insecure):
        log.warning("open to everybody who reaches the port (setting insecure)", host=settings.host)
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
