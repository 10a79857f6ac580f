"""Prometheus metrics: the counters that queues and transport keep anyway, read at every scrape."""

from __future__ import annotations

import socket
import threading
from typing import TYPE_CHECKING, Any
from wsgiref.simple_server import WSGIRequestHandler, make_server

import structlog
from prometheus_client import CollectorRegistry, make_wsgi_app
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.exposition import ThreadingWSGIServer

from process.security.access import UNAUTHENTICATED, AccessError, Visit, token_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from predictor.ttypes import ModelStatus, ServerStatus

    from process.security.access import Access
    from server.transport.counters import Counters

    Families = Iterator[CounterMetricFamily | GaugeMetricFamily]

MOST_CONNECTIONS = 16
"""Connections to the metrics' port at a time: a scrape takes milliseconds, and there are few that scrape."""

log = structlog.get_logger(__name__)

_GAUGES = {
    "queue_depth": "Requests waiting",
    "queue_tokens": "Tokens waiting",
    "running": "Requests in batches that run",
}
_COUNTERS = {
    "accepted": "Requests accepted",
    "completed": "Requests answered with a result",
    "failed": "Requests that the model failed on",
    "overloaded": "Requests refused because the queue was full",
    "expired": "Requests whose deadline passed",
    "cancelled": "Requests whose caller went away",
    "batches": "Batches run",
}
_TRANSPORT_COUNTERS = {
    "accepted_connections": "Thrift connections opened",
    "refused_connections": "Thrift connections refused: over the setting connections",
    "calls": "Thrift calls started",
    "bad_messages": "Thrift messages answered with an error before their call, and bytes that were no message",
    "closed_idle": "Thrift connections closed because nothing came, or not the rest of a message",
    "abandoned_calls": "Thrift calls cancelled because their connection was lost",
}


class Collector:
    """Turns the answer of `status`, and the transport's counters, into metric families."""

    def __init__(
        self, status: Callable[[], ServerStatus], truncated: Callable[[], dict[str, int]], counters: Counters
    ) -> None:
        self._status = status
        self._truncated = truncated
        self._counters = counters

    def collect(self) -> Families:
        """Called for every scrape, in the metrics server's thread."""
        status = self._status()
        yield GaugeMetricFamily("predictor_ready", "1 when every model is warm", value=int(status.ready))
        yield GaugeMetricFamily("predictor_uptime_seconds", "Seconds since the start", value=status.uptime_s)
        yield GaugeMetricFamily("predictor_connections", "Thrift connections open", value=status.connections)
        for name, text in _TRANSPORT_COUNTERS.items():
            yield CounterMetricFamily(f"predictor_{name}", text, value=getattr(self._counters, name))
        for name, text in _GAUGES.items():
            yield _family(GaugeMetricFamily, name, text, status.models)
        for name, text in _COUNTERS.items():
            yield _family(CounterMetricFamily, name, text, status.models)
        yield self._truncated_texts()

    def _truncated_texts(self) -> CounterMetricFamily:
        text = "Texts cut to the model's limit"
        family = CounterMetricFamily("predictor_model_truncated", text, labels=["model"])
        for model, count in self._truncated().items():
            family.add_metric([model], count)
        return family


def serve(
    host: str,
    port: int,
    status: Callable[[], ServerStatus],
    truncated: Callable[[], dict[str, int]],
    counters: Counters,
    access: Access | None = None,
) -> None:
    """Serve /metrics in a thread of its own, where `access` is given to those who have the right. Raises OSError."""
    registry = CollectorRegistry()
    registry.register(Collector(status, truncated, counters))
    application = make_wsgi_app(registry)
    if access is not None:
        application = _guarded(application, access)
    kind = _Server6 if ":" in host else _Server
    server = make_server(host, port, _nameless(application), kind, handler_class=_Quiet)
    threading.Thread(target=server.serve_forever, daemon=True).start()


class _Server(ThreadingWSGIServer):
    """A thread a connection, but not any number of them: more connections are closed as they come."""

    def __init__(self, *args: Any, **kw: Any) -> None:
        self._places = threading.BoundedSemaphore(MOST_CONNECTIONS)
        super().__init__(*args, **kw)

    def process_request(self, request: Any, client_address: Any) -> None:
        """See socketserver."""
        if not self._places.acquire(blocking=False):
            self.shutdown_request(request)
            return
        try:
            super().process_request(request, client_address)
        except BaseException:  # there is no thread to be had
            self._places.release()
            raise

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        """See socketserver."""
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._places.release()


class _Server6(_Server):
    address_family = socket.AF_INET6


class _Quiet(WSGIRequestHandler):
    timeout = 10  # seconds for a request to come, and for a part of an answer to be read

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - its name there
        """Scrapes are not logged."""

    def version_string(self) -> str:
        """The header Server of what is answered to who speaks no HTTP."""
        return "predictor"


def _nameless(application: Any) -> Any:
    """The WSGI application, whose answers do not say by which versions of what they are made."""

    def answer(environ: dict[str, Any], start_response: Callable[..., Any]) -> Any:
        def start(status: str, headers: list[tuple[str, str]], *more: Any) -> Any:
            return start_response(status, [*headers, ("Server", "predictor")], *more)

        try:
            return application(environ, start)
        except Exception:  # which wsgiref would answer, with its version
            log.exception("the metrics could not be gathered")
            start("500 Internal Server Error", [("Content-Type", "text/plain; charset=utf-8")])
            return [b"the server failed; its log has the details\n"]

    return answer


def _guarded(application: Any, access: Access) -> Any:
    """The WSGI application for those who have the right."""

    def answer(environ: dict[str, Any], start_response: Callable[..., Any]) -> Any:
        names = {"Authorization": "HTTP_AUTHORIZATION", "X-Api-Key": "HTTP_X_API_KEY"}
        headers = {name: environ[variable] for name, variable in names.items() if variable in environ}
        visit = Visit(access.by_token(token_of(headers)), "metrics", None)
        visit.address = environ.get("REMOTE_ADDR")
        assert visit.caller is not None
        try:
            visit.caller.require_right("metrics")
        except AccessError as error:
            visit.refused(error.code, error.message, "/metrics")
            status = "401 Unauthorized" if error.code == UNAUTHENTICATED else "403 Forbidden"
            start_response(status, [("Content-Type", "text/plain; charset=utf-8"), ("WWW-Authenticate", "Bearer")])
            return [f"{error.message}\n".encode()]
        return application(environ, start_response)

    return answer


def _family(
    kind: type[GaugeMetricFamily | CounterMetricFamily], name: str, text: str, models: list[ModelStatus]
) -> GaugeMetricFamily | CounterMetricFamily:
    family = kind(f"predictor_model_{name}", text, labels=["model"])
    for model in models:
        family.add_metric([model.name], getattr(model, name))
    return family
