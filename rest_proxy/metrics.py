"""Counters and gauges of the proxy for Prometheus."""

from __future__ import annotations

from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector, generate_latest
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from rest_proxy.backend.pool import Pool

_SECONDS = (0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 30)


class Metrics:
    """What is counted of every request, and the servers' state when it is asked for."""

    def __init__(self, pool: Pool) -> None:
        self._registry = CollectorRegistry()
        self._requests = Counter(
            "predictor_rest_requests", "Requests answered.", ["route", "status"], registry=self._registry
        )
        self._seconds = Histogram(
            "predictor_rest_request_seconds",
            "Seconds from a request's head to its answer.",
            ["route"],
            buckets=_SECONDS,
            registry=self._registry,
        )
        self.in_progress = Gauge(
            "predictor_rest_requests_in_progress", "Prediction requests in progress.", registry=self._registry
        )
        self.generations = Gauge(
            "predictor_rest_generations_in_progress", "Texts being generated.", registry=self._registry
        )
        self._registry.register(_Servers(pool))
        ProcessCollector(registry=self._registry)
        self._counts: dict[tuple[str, int], Callable[[], None]] = {}
        self._observers: dict[str, Callable[[float], None]] = {}

    def observe(self, route: str, status: int, seconds: float) -> None:
        """Count a request. Labelled counters are kept, because finding one by its labels costs more than counting."""
        count = self._counts.get((route, status))
        if count is None:
            count = self._counts[route, status] = self._requests.labels(route, str(status)).inc
            self._observers[route] = self._seconds.labels(route).observe
        count()
        self._observers[route](seconds)

    def text(self) -> bytes:
        """Everything in the text format 0.0.4 of Prometheus."""
        return generate_latest(self._registry)


class _Servers(Collector):
    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    def collect(self) -> Iterator[GaugeMetricFamily]:
        up = GaugeMetricFamily("predictor_rest_server_up", "1 if the Thrift server can be reached.", labels=["server"])
        ready = GaugeMetricFamily("predictor_rest_server_ready", "1 if it takes calls.", labels=["server"])
        connections = GaugeMetricFamily("predictor_rest_server_connections", "Connections to it.", labels=["server"])
        calls = GaugeMetricFamily("predictor_rest_server_calls", "Calls in flight to it.", labels=["server"])
        for upstream in self._pool.upstreams:
            server = [str(upstream.address)]
            up.add_metric(server, upstream.reachable)
            ready.add_metric(server, upstream.ready)
            connections.add_metric(server, upstream.connections)
            calls.add_metric(server, upstream.calls)
        yield from (up, ready, connections, calls)
