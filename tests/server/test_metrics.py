"""Prometheus' view of the answer to `status`."""

from __future__ import annotations

import contextlib
import socket
from typing import Any

import pytest
from predictor.ttypes import ModelState, ModelStatus, ServerStatus
from prometheus_client import CollectorRegistry
from prometheus_client.exposition import generate_latest
from prometheus_client.parser import text_string_to_metric_families

from server import metrics
from server.transport.counters import Counters
from tests.support.service import HOST, connected, eventually, free_port, http_request


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


def serving(answer: Any = lambda: status(ready=True)) -> int:
    """The port at which the metrics are served; the thread ends with the tests."""
    port = free_port()
    metrics.serve(HOST, port, answer, dict, Counters())
    return port


def scraped(port: int) -> bool:
    """Whether a scrape is answered; a connection that is one too many is closed."""
    with contextlib.suppress(OSError):
        return http_request(port, "/metrics").status == 200
    return False


def test_there_are_only_so_many_connections(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metrics._Quiet, "timeout", 600)  # no place is free because the machine is busy
    port = serving()
    with contextlib.ExitStack() as silent:
        first = silent.enter_context(connected(port))
        for _ in range(metrics.MOST_CONNECTIONS - 1):
            silent.enter_context(connected(port))
        for _ in range(3):
            with connected(port) as too_many, contextlib.suppress(ConnectionResetError):
                assert too_many.recv(1) == b""
        assert not scraped(port)
        first.close()
        eventually(lambda: scraped(port), "the place of the one that left")


def test_a_client_that_sends_nothing_is_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    assert metrics._Quiet.timeout == 10
    monkeypatch.setattr(metrics._Quiet, "timeout", 0.05)
    with connected(serving()) as silent:
        assert silent.recv(1) == b""


@pytest.mark.parametrize("request_line", [b"GET /metrics HTTP/1.1", b"GET", b"no HTTP at all", b"GET /x HTTP/9.9"])
def test_no_answer_names_a_version(request_line: bytes) -> None:
    with connected(serving()) as client:
        client.sendall(request_line + b"\r\n\r\n")
        answer = b"".join(iter(lambda: client.recv(65536), b""))
    assert answer
    assert b"Python" not in answer
    assert b"WSGI" not in answer


def test_metrics_that_cannot_be_gathered() -> None:
    def failing() -> ServerStatus:
        raise ValueError("a secret")

    answer = http_request(serving(failing), "/metrics")
    assert (answer.status, answer.headers["Server"]) == (500, "predictor")
    assert "secret" not in answer.text
