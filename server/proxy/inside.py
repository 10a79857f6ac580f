"""HTTP in the server's own process and event loop."""

from __future__ import annotations

import asyncio
import warnings
from typing import TYPE_CHECKING

import structlog

from rest_proxy.config import parse_address
from rest_proxy.lifecycle import Serving
from server.proxy.child import loopback
from server.proxy.handlers import HandlerPool

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from predictor.ttypes import ServerStatus

    from process.security.access import Visit
    from process.security.tls import Tls
    from server.config import Settings
    from server.security.gate import Gate

log = structlog.get_logger()


class Inside:
    """The HTTP application beside the Thrift server at `thrift_port`, with the same handlers."""

    def __init__(
        self,
        settings: Settings,
        thrift_port: int,
        handler: object,
        server_status: Callable[[], ServerStatus],
        answer: Callable[[bytes, Visit], Awaitable[bytes]],
        gate: Gate | None = None,
        tls: Tls | None = None,
    ) -> None:
        """`answer`: of the Thrift server, to a whole message."""
        self._tls = tls
        self._gate = gate
        self._thrift = parse_address(f"{loopback(settings.host)}:{thrift_port}")
        self._settings = settings.of_proxy(self._thrift)
        self._handler = handler
        self._server_status = server_status
        self._answer = answer
        self._serving: Serving | None = None
        self.port = self._settings.port

    async def start(self) -> None:
        """Returns when it listens; `port` is the real one then. Raises OSError."""
        # Of forms that are badly made: Python would print and keep every one that differs.
        warnings.filterwarnings("ignore", module=r"aiohttp\.multipart")
        gate = self._gate
        pool = HandlerPool(self._handler, self._server_status, self._settings, self._thrift, log, self._answer, gate)
        self._serving = Serving(self._settings, pool, gate.access if gate is not None else None, self._tls)
        self.port = await self._serving.start()

    @property
    def url(self) -> str:
        """Where this machine finds it."""
        scheme = "http" if self._tls is None else "https"
        return f"{scheme}://{loopback(self._settings.host)}:{self.port}/"

    def leave(self) -> None:
        """See Serving.leave."""
        if self._serving is not None:
            self._serving.leave()

    async def stop(self, timeout_s: float) -> None:
        """Let it finish its requests, for `timeout_s` seconds at most."""
        if self._serving is None:
            return
        try:
            await asyncio.wait_for(self._serving.stop(), timeout_s)
        except TimeoutError:
            log.warning("HTTP requests were not finished in time")

    def kill(self) -> None:
        """It ends with the process."""
