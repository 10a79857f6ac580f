"""A request's way through the proxy: its route, its id, its limits, its errors, its count."""

from __future__ import annotations

import asyncio
import re
import secrets
import time
from dataclasses import dataclass
from itertools import count
from typing import TYPE_CHECKING

import structlog
from predictor.ttypes import ErrorCode

from rest_proxy.backend.generation import Generator
from rest_proxy.backend.jobs import Jobs
from rest_proxy.compat import embedded_tf, nlp_microservice, pytext, smart_reply
from rest_proxy.compat.embedded_tf import EmbeddedTf
from rest_proxy.compat.nlp_microservice import Swagger, TextGeneration
from rest_proxy.compat.openai import routes as openai_api
from rest_proxy.compat.openai.routes import OpenAi
from rest_proxy.compat.pytext import PyText
from rest_proxy.compat.smart_reply import SmartReply
from rest_proxy.http.errors import HttpError, explain, method_not_allowed
from rest_proxy.http.pages import Page
from rest_proxy.http.responses import REQUEST_ID, json_error
from rest_proxy.metrics import Metrics
from rest_proxy.openapi.document import OpenApi
from rest_proxy.routes import batches
from rest_proxy.routes.batches import Batches
from rest_proxy.routes.embeddings import Embeddings
from rest_proxy.routes.generation import Generate
from rest_proxy.routes.operations import Operations
from rest_proxy.routes.predictions import Predictions

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from aiohttp import web

    from rest_proxy.backend.pool import Pool
    from rest_proxy.config import Settings

_SANE_ID = re.compile(r"[!-~]{1,128}")

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Route:
    """A path's answer; a path that ends in a slash stands for those right below it.

    `methods` empty: any. `bounded`: counts against max_requests.
    """

    path: str
    methods: tuple[str, ...]
    answer: Callable[[web.BaseRequest, str], Awaitable[web.StreamResponse]]
    fail: Callable[[HttpError, web.BaseRequest, str], web.Response]
    bounded: bool


def _fail(error: HttpError, _request: web.BaseRequest, request_id: str) -> web.Response:
    return json_error(error, request_id)


class Application:
    """Handler of aiohttp's low-level server.

    The routes are a dictionary of whole paths, because every path that is none of ours belongs to PyText's route.
    """

    def __init__(self, settings: Settings, pool: Pool) -> None:
        self._settings = settings
        self._metrics = Metrics(pool)
        self._in_progress = 0
        self._metrics.in_progress.set_function(lambda: self._in_progress)
        generator = Generator(settings, pool)
        self._metrics.generations.set_function(lambda: generator.in_progress)
        self._id_prefix, self._ids = secrets.token_hex(4), count(1)
        self._draining = asyncio.Event()
        jobs = Jobs(settings, pool)
        self._embedded_tf = Route("/?model", ("GET",), EmbeddedTf(jobs, self._draining), embedded_tf.fail, bounded=True)
        self._everything_else = Route("/", (), PyText(settings, pool), pytext.fail, bounded=True)
        self._routes = {route.path: route for route in _routes(settings, pool, generator, jobs, self._metrics)}

    def drain(self) -> None:
        """Let requests end that only wait for a job."""
        self._draining.set()

    async def __call__(self, request: web.BaseRequest) -> web.StreamResponse:
        """Answer a request, whatever happens."""
        started = time.perf_counter()
        request_id = self._request_id(request)
        path = request.rel_url.raw_path
        route = self._routes.get(path) or self._routes.get(path[: path.rfind("/") + 1])
        if route is None:
            route = self._embedded_tf if embedded_tf.asks(request) else self._everything_else
        status = 499  # what it stays when the client goes away
        try:
            response = await self._answer(route, request, request_id)
            status = response.status
        finally:
            seconds = time.perf_counter() - started
            self._metrics.observe(route.path, status, seconds)
            if self._settings.access_log:
                log.info(
                    "request",
                    method=request.method,
                    path=path,
                    status=status,
                    ms=round(1000 * seconds, 3),
                    client=request.remote,
                    request_id=request_id,
                )
        return response

    async def _answer(self, route: Route, request: web.BaseRequest, request_id: str) -> web.StreamResponse:
        self._in_progress += route.bounded
        try:
            if route.methods and request.method not in route.methods:
                raise method_not_allowed(request.method, route.path, ", ".join(route.methods))
            if route.bounded and self._in_progress > self._settings.max_requests:
                raise _overloaded(self._settings)
            return await route.answer(request, request_id)
        except (asyncio.CancelledError, ConnectionError):
            raise
        except Exception as error:
            return route.fail(explain(error, request.rel_url.raw_path, request_id), request, request_id)
        finally:
            self._in_progress -= route.bounded

    def _request_id(self, request: web.BaseRequest) -> str:
        given = request.headers.get(REQUEST_ID)
        if given is not None and _SANE_ID.fullmatch(given):
            return given
        return f"{self._id_prefix}-{next(self._ids)}"


def _routes(settings: Settings, pool: Pool, generator: Generator, jobs: Jobs, metrics: Metrics) -> list[Route]:
    predictions, operations = Predictions(settings, pool), Operations(settings, pool, metrics)
    openai, batch_jobs = OpenAi(settings, pool, generator), Batches(settings, jobs)
    get, get_or_post = ("GET", "HEAD"), ("GET", "HEAD", "POST")
    return [
        Route("/predict", get_or_post, predictions.predict, _fail, bounded=True),
        Route("/reply", get_or_post, predictions.reply, _fail, bounded=True),
        Route("/embed", get_or_post, Embeddings(settings, pool), _fail, bounded=True),
        Route("/generate", ("POST",), Generate(settings, generator), _fail, bounded=True),
        Route("/v1/embeddings", ("POST",), openai.embeddings, openai_api.fail, bounded=True),
        Route("/v1/completions", ("POST",), openai.completions, openai_api.fail, bounded=True),
        Route("/v1/chat/completions", ("POST",), openai.chat, openai_api.fail, bounded=False),
        Route("/v1/models", get, openai.models, openai_api.fail, bounded=True),
        Route(openai_api.MODELS, get, openai.models, openai_api.fail, bounded=True),
        Route("/api/inference", ("POST",), SmartReply(settings, pool), smart_reply.fail, bounded=True),
        Route(
            nlp_microservice.PATH, ("POST",), TextGeneration(settings, generator), nlp_microservice.fail, bounded=True
        ),
        Route(batches.PATH, (*get, "POST"), batch_jobs.all, _fail, bounded=True),
        Route(f"{batches.PATH}/", (*get, "DELETE"), batch_jobs.one, _fail, bounded=True),
        Route("/swagger.json", get, Swagger(), _fail, bounded=False),
        Route("/swagger", get, Page("swagger.html"), _fail, bounded=False),
        Route("/models", get, operations.models, _fail, bounded=True),
        Route("/healthz", get, operations.alive, _fail, bounded=False),
        Route("/readyz", get, operations.ready, _fail, bounded=False),
        Route("/status", get, operations.status, _fail, bounded=False),
        Route("/metrics", get, operations.metrics, _fail, bounded=False),
        Route("/openapi.json", get, OpenApi(settings), _fail, bounded=False),
    ]


def _overloaded(settings: Settings) -> HttpError:
    message = f"over {settings.max_requests} requests are in progress (setting max_requests)"
    return HttpError(ErrorCode.OVERLOADED, message, retry_after_ms=1000)
