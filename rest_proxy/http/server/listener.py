"""aiohttp's low-level server with the proxy's limits, and with its errors for bytes that are not HTTP."""

from __future__ import annotations

import asyncio
import secrets
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Protocol

import structlog
from aiohttp import web
from aiohttp.http_exceptions import LineTooLong

from process.memory import FreedMemory
from process.security.addresses import ConnectionCounts, address_of
from rest_proxy.http.bodies.reading import LARGE_BODY
from rest_proxy.http.content import SERVER, content_type_of
from rest_proxy.http.errors import HttpError, invalid_argument, one_line, too_large
from rest_proxy.http.fast.answer import AnswerWriter
from rest_proxy.http.fast.connection import FastConnection
from rest_proxy.http.fast.heads import Heads
from rest_proxy.http.fast.turns import Turns
from rest_proxy.http.responses import json_error
from rest_proxy.http.server.cors import Cors
from rest_proxy.http.server.sweep import Sweep

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from rest_proxy.config import Settings
    from rest_proxy.http.fast.direct import Client, Running
    from rest_proxy.http.fast.heads import Head
    from rest_proxy.http.route import Route

_DISCARD_S = 2.0  # for reading the remainder of a refused body, so that the client gets to see why

_FULL = (
    "HTTP/1.1 503 Service Unavailable\r\nContent-Type: text/plain; charset=utf-8\r\nRetry-After: 1\r\n"
    "Connection: close\r\n\r\nover {limit} connections are open (setting max_connections)\n"
)

_FULL_OF_ADDRESS = (
    "HTTP/1.1 429 Too Many Requests\r\nContent-Type: text/plain; charset=utf-8\r\nRetry-After: 1\r\n"
    "Connection: close\r\n\r\nover {limit} connections are open from this address"
    " (setting max_connections_per_address)\n"
)

log = structlog.get_logger(__name__)


class Application(Protocol):
    """What answers requests."""

    @property
    def leaving(self) -> bool:
        """Whether connections are to be closed after their answers."""

    async def __call__(self, request: web.BaseRequest) -> web.StreamResponse:
        """Answer any request."""

    def count_connections(self, connections: Callable[[], int]) -> None:
        """Be told how many are open, by what can be asked."""

    def short_route(self, head: Head) -> Route | None:
        """See Heads."""

    def start(self, head: Head, body: bytes, client: Client) -> Running:
        """See ShortWay."""


class HttpServer(web.Server):
    """One protocol per connection, at most `settings.max_connections`. A client that goes away cancels its request."""

    def __init__(self, application: Application, settings: Settings) -> None:
        super().__init__(application, request_factory=self._request, handler_cancellation=True)
        self._application = application
        self._cors = Cors(settings.cors_origins)
        loop = asyncio.get_running_loop()
        self.is_open = True
        self.heads = Heads(loop, settings.max_line_bytes, application.short_route)
        self.turns = Turns(loop)
        self.writer = AnswerWriter(loop, self._cors.vary)
        self.start = application.start
        self._settings = settings
        self._running_loop = loop
        self._open = 0
        application.count_connections(lambda: self._open)
        self._of_address = ConnectionCounts(settings.max_connections_per_address)
        self._sweep = Sweep(settings, self._running_loop)
        self.freed_memory = FreedMemory(loop)

    def __call__(self) -> web.RequestHandler:
        """The protocol of a new connection."""
        settings = self._settings
        return _HttpConnection(
            self,
            loop=self._running_loop,
            keepalive_timeout=settings.keep_alive_ms / 1000,
            access_log=None,
            max_line_size=settings.max_line_bytes,
            max_field_size=settings.max_line_bytes,
            lingering_time=_DISCARD_S,
            auto_decompress=False,  # bodies.unpacking makes no more of it than may be
            settings=settings,
            short_way=self,
        )

    def connection_made(self, handler: Any, transport: asyncio.Transport) -> None:
        """Count it, or turn it away."""
        super().connection_made(handler, transport)
        self._open += 1
        self._sweep.add(handler, transport)
        handler.address = address = address_of(transport)
        if not self._of_address.enter(address):
            handler.address = None  # it was not counted
            limit = self._settings.max_connections_per_address
            transport.write(_FULL_OF_ADDRESS.format(limit=limit).encode())
            transport.close()
        elif self._open > self._settings.max_connections:
            transport.write(_FULL.format(limit=self._settings.max_connections).encode())
            transport.close()

    def connection_lost(self, handler: Any, exc: BaseException | None = None) -> None:
        """Count it no more."""
        super().connection_lost(handler, exc)
        self._open -= 1
        self._sweep.remove(handler)
        self._of_address.leave(handler.address)

    def _request(self, message: Any, payload: Any, protocol: Any, writer: Any, task: Any) -> web.BaseRequest:
        request = _Request(message, payload, protocol, writer, task, self._running_loop)
        request.application = self._application
        if self._cors.on:
            request.more_headers = self._cors.headers(message.headers)
        return request


_NO_HEADERS: Mapping[str, str] = MappingProxyType({})


class _Request(web.BaseRequest):
    """One whose headers take no time to read, however long they are. Its body is read by bodies.reading alone."""

    application: Application

    more_headers = _NO_HEADERS
    """What its answer has beside its own headers."""

    @property
    def content_type(self) -> str:
        """See content_type_of."""
        return content_type_of(self.headers)

    async def _prepare_hook(self, response: web.StreamResponse) -> None:
        """Called by aiohttp before the head of an answer is written, whether whole or a stream."""
        response.headers["Server"] = SERVER
        if self.application.leaving:
            response.force_close()
            response.headers["Connection"] = "close"
        for name, value in self.more_headers.items():
            given = response.headers.get(name)
            response.headers[name] = value if given is None else f"{given}, {value}"


class _HttpConnection(FastConnection):
    address: str | None = None
    """What counts of the client's address; None where it does not."""

    def __init__(self, server: HttpServer, *, settings: Settings, **options: Any) -> None:
        super().__init__(server, **options)
        self._settings = settings
        self._freed_memory = server.freed_memory

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        """The answer to bytes that are not an HTTP request. The application answers every other error itself."""
        log.debug("bytes that are not HTTP", client=request.remote, what=message)
        if request.writer.output_size > 0:
            raise ConnectionError("the answer has started: too late for an error")
        response = json_error(self._explain(exc, message), secrets.token_hex(8))
        response.force_close()
        return response

    async def finish_response(self, request: web.BaseRequest, *args: Any) -> tuple[web.StreamResponse, bool]:
        """Write the answer. What a large body and all that was made of it leave goes back soon."""
        if LARGE_BODY in request:
            self._freed_memory.give_back_soon()
        return await super().finish_response(request, *args)

    def log_exception(self, *args: Any, **kw: Any) -> None:
        """A fault, except for the remainder of a body that cannot be read: its sender has the answer by then."""
        if isinstance(kw.get("exc_info"), web.RequestPayloadError):
            log.debug("the remainder of a body cannot be read", what=one_line(kw["exc_info"]))
        else:
            super().log_exception(*args, **kw)

    def _explain(self, exc: BaseException | None, message: str | None) -> HttpError:
        if isinstance(exc, LineTooLong):
            message = f"the URL or a header is over {self._settings.max_line_bytes} bytes"
            return too_large(message, setting="max_line_bytes")
        text = one_line(message)
        if "Content-Length" in text:
            text = (
                f"the header Content-Length must be one number, that of the body's bytes, or Transfer-Encoding: {text}"
            )
            return invalid_argument(text)
        return invalid_argument(
            f"not an HTTP request: {text}; if it is the rest of a body, its Content-Length is too small"
        )
