"""A request's way through the proxy: its route, its id, its limits, its errors, its count."""

from __future__ import annotations

import asyncio
import secrets
import time
from itertools import count
from typing import TYPE_CHECKING, Any, cast

import structlog
from aiohttp import web
from predictor.ttypes import ErrorCode

from process.security.access import Visit
from process.security.addresses import RequestRates, address_of
from process.security.visits import VISIT
from process.timing import TIMES, Times
from process.tracebacks import forget_frames
from rest_proxy.backend.generation import Generator
from rest_proxy.backend.jobs import Jobs
from rest_proxy.compat import embedded_tf, nlp_microservice, pytext, smart_reply, smls
from rest_proxy.compat.open_inference import routes as open_inference
from rest_proxy.compat.openai import chat as openai_chat
from rest_proxy.compat.openai import completions as openai_completions
from rest_proxy.compat.openai import embeddings as openai_embeddings
from rest_proxy.compat.openai import models as openai_models
from rest_proxy.compat.openai import responses as openai_responses
from rest_proxy.compat.tei import routes as tei
from rest_proxy.compat.tensorflow_serving import routes as tensorflow_serving
from rest_proxy.compat.vllm import pooling as vllm_pooling
from rest_proxy.compat.vllm import tokens as vllm_tokens
from rest_proxy.http.errors import HttpError, explain, method_not_allowed, overloaded
from rest_proxy.http.fast.heads import Head, given_id
from rest_proxy.http.fast.request import SmallRequest
from rest_proxy.http.responses import REQUEST_ID, Whole, with_timing
from rest_proxy.http.route import Entrance, Route, tidy
from rest_proxy.http.server.compression import compressed
from rest_proxy.http.server.cors import PREFLIGHT, Cors
from rest_proxy.http.server.origins import Origins
from rest_proxy.metrics import Metrics
from rest_proxy.openapi.document import OpenApi
from rest_proxy.routes import (
    batches,
    generation,
    operations,
    predictions,
    ranking,
    thrift,
    token_embeddings,
    tokens,
)

if TYPE_CHECKING:
    import re
    from collections.abc import Callable, Iterable

    from rest_proxy.backend.pool import Pool
    from rest_proxy.config import Settings
    from rest_proxy.http.fast.direct import Client, DirectRequest, Run, Running
    from rest_proxy.http.server.door import Door

_OF_MODELS = ("/v1/models/", "/v2/models/")  # paths that name a model
_SHOWN = 256  # characters of a path
_SHORT_METHODS = ("GET", "POST")
_AT_ROOT = ("GET", "HEAD", "POST")

log = structlog.get_logger(__name__)


class Application:
    """Handler of aiohttp's low-level server.

    The routes are found by whole paths, because every path that is none of ours belongs to PyText's route.
    """

    def __init__(self, settings: Settings, pool: Pool, door: Door | None = None) -> None:
        """`door` knows who comes in; without one everybody may."""
        self._door = door
        self._settings = settings
        self._pool = pool
        self._metrics = Metrics(pool)
        self._max_requests = settings.max_requests
        self._max_body_bytes = settings.max_body_bytes
        self._access_log = settings.access_log
        self._server_timing = settings.server_timing
        self.compress_bytes = settings.compress_bytes
        self.run: Run = pool.run
        self.in_progress = 0
        self._metrics.in_progress.set_function(lambda: self.in_progress)
        generator = Generator(settings, pool)
        self._metrics.generations.set_function(lambda: generator.in_progress)
        self._id_prefix, self._ids = secrets.token_hex(4), count(1)
        self._draining = asyncio.Event()
        self.leaving = False
        """Soon no request is taken any more: whoever asks is to ask elsewhere the next time."""
        self._cors = Cors(settings.cors_origins)
        self._rates = RequestRates(settings.requests_per_address) if settings.requests_per_address else None
        self._origins = Origins(settings, self._cors) if door is None or not door.closed else None
        self.routes = _routes(settings, pool, generator, self._metrics, self)
        # Beside the document: what it takes and gives is no JSON, and predictor.thrift says what it is.
        self._table = RouteTable([*self.routes, *thrift.routes(settings, pool)])

    def count_connections(self, connections: Callable[[], int]) -> None:
        """`connections` says how many are open, for the metrics."""
        self._metrics.connections.set_function(connections)

    @property
    def draining(self) -> asyncio.Event:
        """Set when requests are to end that only wait for a job."""
        return self._draining

    def leave(self) -> None:
        """Answer everything as before, but close connections after their answers, and say that nothing is ready."""
        self.leaving = True

    def drain(self) -> None:
        """Let requests end that only wait for a job."""
        self._draining.set()

    async def __call__(self, request: web.BaseRequest) -> web.StreamResponse:
        """Answer a request, whatever happens."""
        if self._server_timing:
            TIMES.set(Times())
        if self._door is not None:
            VISIT.set(self._door.visit(request.headers, request.transport))
        return await self._noted(self._table.find(request.rel_url.raw_path, request), request)

    def short_route(self, head: Head) -> Route | None:
        """The route of a request that may go the short way; None for any other. It is kept with the head.

        A request of another site's goes the usual way, so that `admit` need not look at the head again.
        """
        if head.method not in _SHORT_METHODS or (self._cors.on and self._cors.concerns(head.headers)):
            return None
        route = self._table.find(head.raw_path, cast("web.BaseRequest", head))
        if not route.small or (head.block.length or 0) > self._max_body_bytes:
            return None
        if self._origins is not None and not self._origins.allows(head.headers, route):
            return None
        if not self._server_timing and (not route.methods or head.method in route.methods):
            head.direct = route.direct
        return route

    def start(self, head: Head, body: bytes, client: Client) -> Running:
        """Begin to answer a request that has such a route."""
        door, direct = self._door, head.direct
        visit = None if door is None else door.visit_of(head, client)
        if direct is not None:
            text = direct.read(head, body)
            if text is not None:
                request_id = head.block.request_id or f"{self._id_prefix}-{next(self._ids)}"
                request: DirectRequest = direct.calls.request()
                request.begin(self, head, body, client, request_id, text, visit)
                return request
        if self._server_timing:
            transport = client.transport
            visit = Visit(None, "http", transport) if door is None else door.visit(head.headers, transport)
            visit.times = Times()
        if visit is None:
            return self._start(head, body, client)
        return self._pool.act(visit, self._start, head, body, client)

    def _start(self, head: Head, body: bytes, client: Client) -> Running:
        assert client.transport is not None
        small = SmallRequest(head, body, client.transport)
        # It has what answers of small requests use.
        return self.run(self._noted(head.route, cast("web.BaseRequest", small)), client.answered)

    def admit(self, route: Route, request: Any, visit: Visit | None) -> None:
        """Let a request begin, whichever way it goes: it has headers and a transport. Raises HttpError.

        `visit`: whose it is, where that counts.
        """
        if self._rates is not None and (wait_s := self._rates.take(address_of(request.transport))) > 0:
            message = f"over {self._rates.rate:g} requests a second come from this address"
            raise overloaded(message, setting="requests_per_address", retry_after_ms=int(wait_s * 1000) + 1)
        if self._origins is not None and request.rel_url.__class__ is not Head:  # see short_route
            self._origins.check(request.headers, route)
        if visit is not None and self._door is not None:
            self._door.check(route, visit)
        if route.bounded and self.in_progress > self._max_requests:
            raise overloaded(f"over {self._max_requests} requests are in progress", setting="max_requests")

    def note(self, route: Route, status: int, seconds: float, request: Any, request_id: str) -> None:
        """Count and log a request that has ended after so many seconds."""
        self._metrics.observe(route.label, status, seconds)
        if self._access_log:
            log.info(
                "request",
                method=request.method,
                path=request.rel_url.raw_path,
                status=status,
                ms=round(1000 * seconds, 3),
                client=request.remote,
                request_id=request_id,
            )

    async def _noted(self, route: Route, request: web.BaseRequest) -> web.StreamResponse:
        """The answer, which is counted and logged."""
        started = time.perf_counter()
        request_id = given_id(request.headers) or self._new_id()
        status = 499  # what it stays when the client goes away
        try:
            response = await self._answer(route, request, request_id)
            if self._server_timing:
                response = with_timing(response, TIMES.get(), time.perf_counter() - started)
            if isinstance(response, Whole) and len(response.plain_body) >= self.compress_bytes:
                response = await compressed(response, request.headers)
            status = response.status
        finally:
            self.note(route, status, time.perf_counter() - started, request, request_id)
        return response

    async def _answer(self, route: Route, request: web.BaseRequest, request_id: str) -> web.StreamResponse:
        self.in_progress += route.bounded
        try:
            if request.method == "OPTIONS" and request.rel_url.raw_path_qs == "/":
                return self._checked(request, request_id)
            if request.method == "OPTIONS" and self._asks_what_is_allowed(route, request):
                return self._options(route, request, request_id)
            if request.method == "TRACE" or (route.methods and request.method not in route.methods):
                raise method_not_allowed(request.method, route.label, self._table.allowed(route))
            self.admit(route, request, None if self._door is None else self._pool.visit)
            return await route.answer(request, request_id)
        except (asyncio.CancelledError, ConnectionError) as error:
            forget_frames(error)
            raise
        except Exception as error:
            failure = explain(error, request.rel_url.raw_path, request_id, route.call_fields)
            answer = route.error_format.respond(failure, request, request_id)
            forget_frames(error, failure)
            return answer
        finally:
            self.in_progress -= route.bounded

    def _asks_what_is_allowed(self, route: Route, request: web.BaseRequest) -> bool:
        """Whether it is no document of PyText's, which may come by any method."""
        if not self._table.is_there(route):
            return False
        asked = self._cors.on and PREFLIGHT in request.headers
        return bool(route.methods) or asked or not pytext.has_doc(request.rel_url.raw_query_string)

    def _options(self, route: Route, request: web.BaseRequest, request_id: str) -> web.Response:
        """Which methods the path answers; of a browser's question, whether another origin's page may ask it so."""
        return self._allowing(f"{self._table.allowed(route)}, OPTIONS", request, request_id)

    def _checked(self, request: web.BaseRequest, request_id: str) -> web.Response:
        """To OPTIONS /, which is HAProxy's check where nothing else is set: 503 keeps requests away."""
        if "Origin" in request.headers or self._is_ready():
            return self._allowing(f"{', '.join(_AT_ROOT)}, OPTIONS", request, request_id)
        return web.Response(status=503, headers={REQUEST_ID: request_id})

    def _allowing(self, allowed: str, request: web.BaseRequest, request_id: str) -> web.Response:
        preflight = self._cors.preflight(request.headers, allowed)
        return web.Response(status=204, headers={"Allow": allowed, REQUEST_ID: request_id, **(preflight or {})})

    def _is_ready(self) -> bool:
        return not self.leaving and any(upstream.reason is None for upstream in self._pool.upstreams)

    def _new_id(self) -> str:
        return f"{self._id_prefix}-{next(self._ids)}"


class RouteTable:
    """Which route a request belongs to."""

    def __init__(self, routes: Iterable[Route]) -> None:
        self._by_prefix: dict[str, dict[str, Route]] = {}
        self._patterns: dict[str, re.Pattern[str]] = {}
        at_root: list[Route] = []
        for route in routes:
            if route.path == "/":
                at_root.append(route)
            else:
                self._by_prefix.setdefault(route.prefix, {}).update(dict.fromkeys(route.methods, route))
                if route.pattern is not None:
                    self._patterns[route.prefix] = route.pattern
        self._claims = [(route.claims, route) for route in at_root if route.claims is not None]
        [self._everything_else] = [route for route in at_root if route.claims is None]
        self._patterns = dict(sorted(self._patterns.items(), key=lambda item: -len(item[0])))  # the narrowest first
        self._nowhere = _nowhere(self._by_prefix)

    def find(self, path: str, request: web.BaseRequest) -> Route:
        """The route; where it does not answer the request's method, one of the routes of its path.

        A path with `?doc=` that is none of ours is PyText's; of any other, superfluous slashes are forgiven.
        """
        by_prefix = self._by_prefix
        methods = by_prefix.get(path) or by_prefix.get(path[: path.rfind("/") + 1]) or self._of_model(path)
        if methods is not None:
            return methods.get(request.method) or next(iter(methods.values()))
        for claims, route in self._claims:
            if claims(request):
                return route
        if path == "/" or pytext.has_doc(request.rel_url.raw_query_string):
            return self._everything_else
        tidied = tidy(path)
        if not tidied:
            return self._everything_else
        return self._nowhere if tidied == path else self.find(tidied, request)

    def _of_model(self, path: str) -> dict[str, Route] | None:
        """The routes whose path names a model."""
        if not path.startswith(_OF_MODELS):
            return None
        found = (key for key, pattern in self._patterns.items() if pattern.fullmatch(path))
        return self._by_prefix.get(next(found, ""))

    def allowed(self, route: Route) -> str:
        """The methods of a route's path, comma-separated."""
        return ", ".join(_AT_ROOT if route.path == "/" else self._by_prefix[route.prefix])

    def is_there(self, route: Route) -> bool:
        """Whether it is not the answer to a path that there is not."""
        return route is not self._nowhere


def _nowhere(paths: Iterable[str]) -> Route:
    """The route of paths that there are not."""
    listed = ", ".join(["/?doc=", *sorted(paths)])

    async def answer(request: web.BaseRequest, _request_id: str) -> web.Response:
        path = request.rel_url.raw_path[:_SHOWN]
        raise HttpError(ErrorCode.NOT_FOUND, f"there is no path {path}; there are {listed}")

    return Route(
        path="/",
        methods=(),
        answer=answer,
        name="nowhere",
        summary="",
        tag="",
        answers=(),
        error_format=pytext.ERRORS,
        bounded=False,
        entrance=Entrance.OPEN,
        label="no such path",
    )


def _routes(
    settings: Settings, pool: Pool, generator: Generator, metrics: Metrics, application: Application
) -> list[Route]:
    """Every route, in the order of the OpenAPI document."""
    jobs = Jobs(settings, pool)
    own = [
        *predictions.routes(settings, pool),
        *vllm_tokens.beside(tokens.routes(settings, pool), settings, pool),
        *ranking.routes(settings, pool),
        *smls.routes(settings, pool),
        *token_embeddings.routes(settings, pool),
    ]
    greeting: list[str] = []
    routes = [
        *pytext.routes(settings, pool, greeting),
        *embedded_tf.routes(jobs, application.draining),
        *tei.beside(own, settings, pool, generator),
        *tei.routes(settings, pool, generator),
        *generation.routes(settings, generator),
        *openai_embeddings.routes(settings, pool),
        *openai_completions.routes(settings, generator),
        *openai_chat.routes(settings, generator),
        *openai_responses.routes(settings, generator),
        *openai_models.routes(settings, pool),
        *vllm_tokens.routes(settings, pool),
        *vllm_pooling.routes(settings, pool),
        *open_inference.routes(settings, pool, generator),
        *tensorflow_serving.routes(settings, pool, generator),
        *smart_reply.routes(settings, pool),
        *nlp_microservice.routes(settings, generator),
        *batches.routes(settings, jobs),
        *operations.routes(settings, pool, metrics, lambda: application.leaving),
    ]
    routes.append(OpenApi(settings, routes).route)
    greeting += sorted({f"{route.path}?doc=" if route.path == "/" else route.path for route in routes})
    return routes
