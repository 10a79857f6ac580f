"""Prometheus' view of the answer to `status`."""

from __future__ import annotations

import socket

import pytest
from predictor.ttypes import ModelState, ModelStatus, ServerStatus
from prometheus_client import CollectorRegistry
from prometheus_client.exposition import generate_latest
from prometheus_client.parser import text_string_to_metric_families

from server import metrics
from server.transport.counters import Counters
from tests.support.service import HOST


def status(*, ready: bool) -> ServerStatus:
    models = [
        ModelStatus(name, ModelState.READY, *(base + number for number in range(10)))
        for name, base in (("a", 100), ('odd "name"', 200))
    ]
    return ServerStatus("1.2.3", 4.5, ready, [] if ready else ["why"], 6, models)


def samples(*, ready: bool) -> dict[tuple[str, str | None], float]:
    registry = CollectorRegistry()
    registry.register(
        metrics.Collector(lambda: status(ready=ready), lambda: {"a": 17}, Counters(11, 12, 13, 14, 15, 16))
    )
    return {
        (sample.name, sample.labels.get("model")): sample.value
        for family in text_string_to_metric_families(generate_latest(registry).decode())
        for sample in family.samples
    }


def test_every_counter_of_every_model() -> None:
    found = samples(ready=True)
    names = [
        "queue_depth",
        "queue_tokens",
        "running",
        "accepted_total",
        "completed_total",
        "failed_total",
        "overloaded_total",
        "expired_total",
        "cancelled_total",
        "batches_total",
    ]
    for model, base in (("a", 100), ('odd "name"', 200)):
        for number, name in enumerate(names):
            assert found.pop((f"predictor_model_{name}", model)) == base + number
    assert found == {
        ("predictor_ready", None): 1,
        ("predictor_uptime_seconds", None): 4.5,
        ("predictor_connections", None): 6,
        ("predictor_accepted_connections_total", None): 11,
        ("predictor_refused_connections_total", None): 12,
        ("predictor_calls_total", None): 13,
        ("predictor_bad_messages_total", None): 14,
        ("predictor_closed_idle_total", None): 15,
        ("predictor_abandoned_calls_total", None): 16,
        ("predictor_model_truncated_total", "a"): 17,
    }


def test_a_server_that_is_not_ready() -> None:
    assert samples(ready=False)["predictor_ready", None] == 0


def test_a_port_that_is_taken() -> None:
    with socket.create_server((HOST, 0)) as holder, pytest.raises(OSError, match="in use"):
        metrics.serve(HOST, holder.getsockname()[1], lambda: status(ready=True), dict, Counters())
