"""What operators ask: is it alive, is it ready, what does it serve, how is it doing."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from aiohttp import web
from predictor.ttypes import ModelInfo, ServerStatus
from prometheus_client import CONTENT_TYPE_LATEST

from process.security.visits import VISIT
from process.version import VERSION
from rest_proxy.backend.contract import LIST_MODELS, STATUS, plain, schema
from rest_proxy.http.content import BOOLEAN, INTEGER, JSON, STRING, TEXT, array_of, object_of
from rest_proxy.http.responses import REQUEST_ID, json_response
from rest_proxy.http.route import GET, SERVER_ERRORS, Answer, Entrance, Route

if TYPE_CHECKING:
    from collections.abc import Callable

    from rest_proxy.backend.pool import Pool, Server
    from rest_proxy.config import Settings
    from rest_proxy.http.content import Schema
    from rest_proxy.metrics import Metrics

_TAG = "operations"
_NOT_READY = "No server is ready; the reasons say why."


class Operations:
    """/models, /healthz, /readyz, /status and /metrics."""

    def __init__(self, settings: Settings, pool: Pool, metrics: Metrics, is_leaving: Callable[[], bool]) -> None:
        self._is_leaving = is_leaving
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
        """200 if a server is ready, asked now; else 503 with every server's reasons. 503 before the end, too."""
        if self._is_leaving():
            return json_response({"ready": False, "reasons": ["the HTTP server is draining"]}, request_id, 503)
        await self._pool.probe()
        if any(upstream.reason is None for upstream in self._pool.upstreams):
            return json_response({"ready": True}, request_id)
        reasons = [f"{upstream.address}: {upstream.reason}" for upstream in self._pool.upstreams]
        if (visit := VISIT.get()) is not None and visit.caller is not None and visit.caller.grant.refusal:
            reasons = ["not ready"]  # the names of models are not for everybody
        return json_response({"ready": False, "reasons": reasons}, request_id, 503)

    async def version(self, _request: web.BaseRequest, request_id: str) -> web.Response:
        """Of this process."""
        return json_response({"version": VERSION}, request_id)

    async def status(self, _request: web.BaseRequest, request_id: str) -> web.Response:
        """The proxy's state and each server's own, asked now."""
        await self._pool.probe()
        servers: list[dict[str, Any]] = [
            {
                "address": str(upstream.address),
                "reachable": upstream.reachable,
                "ready": upstream.ready,
                "reason": upstream.reason,
                "connections": upstream.connections,
                "calls": upstream.calls,
                "status": plain(await self._status_of(upstream)) if upstream.reachable else None,
            }
            for upstream in self._pool.upstreams
        ]
        return json_response({"uptime_s": time.monotonic() - self._started, "servers": servers}, request_id)

    async def _status_of(self, server: Server) -> Any:
        """What the server says to the caller; without tokens it has just said it."""
        if (visit := VISIT.get()) is None or visit.token is None:
            return server.status
        return await self._pool.call_at(server, STATUS, timeout_ms=self._timeout_ms)

    async def metrics(self, _request: web.BaseRequest, request_id: str) -> web.Response:
        """Prometheus' text format."""
        return web.Response(
            body=self._metrics.text(), headers={"Content-Type": CONTENT_TYPE_LATEST, REQUEST_ID: request_id}
        )


def routes(settings: Settings, pool: Pool, metrics: Metrics, is_leaving: Callable[[], bool]) -> list[Route]:
    """/models, /healthz, /readyz, /status and /metrics."""
    operations = Operations(settings, pool, metrics, is_leaving)
    return [
        Route(
            path="/models",
            methods=GET,
            answer=operations.models,
            name="models",
            summary="Which models are there?",
            tag=_TAG,
            answers=(Answer({JSON: object_of(models=array_of(schema(ModelInfo)))}),),
            errors=SERVER_ERRORS,
        ),
        Route(
            path="/healthz",
            methods=GET,
            answer=operations.alive,
            name="healthz",
            summary="Is the proxy alive?",
            tag=_TAG,
            answers=(Answer({JSON: object_of(alive={"const": True})}, examples={JSON: {"alive": True}}),),
            bounded=False,
            entrance=Entrance.OPEN,
        ),
        _readiness(operations, "/readyz", "Is a server ready to predict?"),
        _readiness(operations, "/ping", "Is a server ready to predict? As SageMaker and others ask it"),
        Route(
            path="/version",
            methods=GET,
            answer=operations.version,
            name="version",
            summary="Which version is this?",
            tag=_TAG,
            answers=(Answer({JSON: object_of(version=STRING)}, examples={JSON: {"version": "1.2.3"}}),),
            bounded=False,
            entrance=Entrance.OPEN,
        ),
        Route(
            path="/status",
            methods=GET,
            answer=operations.status,
            name="status",
            summary="How are the proxy and its servers?",
            tag=_TAG,
            answers=(Answer({JSON: _status()}),),
            bounded=False,
            entrance=Entrance.STATUS,
        ),
        Route(
            path="/metrics",
            methods=GET,
            answer=operations.metrics,
            name="metrics",
            summary="Metrics for Prometheus",
            tag=_TAG,
            answers=(Answer({TEXT: STRING}, description="Prometheus' text format"),),
            bounded=False,
            entrance=Entrance.METRICS,
        ),
    ]


def _readiness(operations: Operations, path: str, summary: str) -> Route:
    """A route that says whether a server is ready."""
    not_ready = object_of(ready={"const": False}, reasons=array_of(STRING))
    return Route(
        path=path,
        methods=GET,
        answer=operations.ready,
        name=path.removeprefix("/"),
        summary=summary,
        tag=_TAG,
        answers=(
            Answer({JSON: object_of(ready={"const": True})}, examples={JSON: {"ready": True}}),
            Answer({JSON: not_ready}, status=503, description=_NOT_READY),
        ),
        bounded=False,
        entrance=Entrance.OPEN,
    )


def _status() -> Schema:
    server = object_of(
        address=STRING,
        reachable=BOOLEAN,
        ready=BOOLEAN,
        reason={"type": ["string", "null"]},
        connections=INTEGER,
        calls=INTEGER,
        status={"oneOf": [schema(ServerStatus), {"type": "null"}]},
    )
    return object_of(uptime_s={"type": "number"}, servers=array_of(server))
