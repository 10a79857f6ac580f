"""Counters and gauges of the proxy for Prometheus."""

from __future__ import annotations

from bisect import bisect_left
from itertools import accumulate
from operator import add
from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry, Gauge, ProcessCollector, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.registry import Collector
from prometheus_client.utils import floatToGoString

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rest_proxy.backend.pool import Pool

_SECONDS = (0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 30)


class Metrics:
    """What is counted of every request, and the servers' state when it is asked for."""

    def __init__(self, pool: Pool) -> None:
        self._registry = CollectorRegistry()
        self._times: dict[tuple[str, int], _Times] = {}
        self._registry.register(_Requests(self._times))
        self.in_progress = Gauge(
            "predictor_rest_requests_in_progress", "Prediction requests in progress.", registry=self._registry
        )
        self.generations = Gauge(
            "predictor_rest_generations_in_progress", "Texts being generated.", registry=self._registry
        )
        self.connections = Gauge("predictor_rest_connections", "HTTP connections open.", registry=self._registry)
        self._registry.register(_Servers(pool))
        ProcessCollector(registry=self._registry)

    def observe(self, route: str, status: int, seconds: float) -> None:
        """Count a request, of which there is one thread; the library's counters, made for many, take far longer."""
        key = (route, status)
        times = self._times.get(key)
        if times is None:
            times = self._times[key] = _Times()
        times.counts[bisect_left(_SECONDS, seconds)] += 1
        times.sum += seconds

    def text(self) -> bytes:
        """Everything in the text format 0.0.4 of Prometheus."""
        return generate_latest(self._registry)


class _Times:
    """How long requests took: how many up to each of _SECONDS, and longer; and all together."""

    __slots__ = ("counts", "sum")

    def __init__(self) -> None:
        self.counts = [0] * (len(_SECONDS) + 1)
        self.sum = 0.0

    def add(self, other: _Times) -> None:
        """Those of others, too."""
        self.counts = list(map(add, self.counts, other.counts))
        self.sum += other.sum


class _Requests(Collector):
    """By route and status; the times by route."""

    def __init__(self, times: dict[tuple[str, int], _Times]) -> None:
        self._times = times

    def collect(self) -> Iterator[CounterMetricFamily | HistogramMetricFamily]:
        requests = CounterMetricFamily("predictor_rest_requests", "Requests answered.", labels=["route", "status"])
        by_route: dict[str, _Times] = {}
        for (route, status), times in self._times.items():
            requests.add_metric([route, str(status)], sum(times.counts))
            by_route.setdefault(route, _Times()).add(times)
        yield requests
        seconds = HistogramMetricFamily(
            "predictor_rest_request_seconds", "Seconds from a request's head to its answer.", labels=["route"]
        )
        names = [*map(floatToGoString, _SECONDS), "+Inf"]
        for route, times in by_route.items():
            seconds.add_metric([route], list(zip(names, accumulate(times.counts), strict=True)), times.sum)
        yield seconds


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
