"""What operators ask: is it alive, is it ready, what does it serve, how is it doing."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from aiohttp import web
from prometheus_client import CONTENT_TYPE_LATEST

from rest_proxy.backend.contract import LIST_MODELS, plain
from rest_proxy.http.responses import REQUEST_ID, json_response

if TYPE_CHECKING:
    from rest_proxy.backend.pool import Pool
    from rest_proxy.config import Settings
    from rest_proxy.metrics import Metrics


class Operations:
    """/models, /healthz, /readyz, /status and /metrics."""

    def __init__(self, settings: Settings, pool: Pool, metrics: Metrics) -> None:
        self._timeout_ms = settings.timeout_ms
        self._pool = pool
        self._metrics = metrics
        self._started = time.monotonic()

    async def models(self, _request: web.BaseRequest, request_id: str) -> web.Response:
        """The models of one of the servers."""
        models = await self._pool.call(LIST_MODELS, timeout_ms=self._timeout_ms)
        return json_response({"models": plain(models)}, request_id)

    async def alive(self, _request: web.BaseRequest, request_id: str) -> web.Response:
        """200 as long as the proxy answers at all."""
        return json_response({"alive": True}, request_id)

    async def ready(self, _request: web.BaseRequest, request_id: str) -> web.Response:
        """200 if a server is ready, asked now; else 503 with every server's reasons."""
        await self._pool.probe()
        if any(backend.reason is None for backend in self._pool.backends):
            return json_response({"ready": True}, request_id)
        reasons = [f"{backend.address}: {backend.reason}" for backend in self._pool.backends]
        return json_response({"ready": False, "reasons": reasons}, request_id, 503)

    async def status(self, _request: web.BaseRequest, request_id: str) -> web.Response:
        """The proxy's state and each server's own, asked now."""
        await self._pool.probe()
        servers: list[dict[str, Any]] = [
            {
                "address": str(backend.address),
                "reachable": backend.reachable,
                "ready": backend.ready,
                "reason": backend.reason,
                "connections": backend.connections,
                "calls": backend.calls,
                "status": plain(backend.status) if backend.reachable else None,
            }
            for backend in self._pool.backends
        ]
        return json_response({"uptime_s": time.monotonic() - self._started, "servers": servers}, request_id)

    async def metrics(self, _request: web.BaseRequest, request_id: str) -> web.Response:
        """Prometheus' text format."""
        return web.Response(
            body=self._metrics.text(), headers={"Content-Type": CONTENT_TYPE_LATEST, REQUEST_ID: request_id}
        )
