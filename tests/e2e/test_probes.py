"""What a cluster asks: is it alive, is it ready, how is it doing."""

from __future__ import annotations

import signal
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest
from predictor.ttypes import ErrorCode, ModelState, PredictionError
from prometheus_client.parser import text_string_to_metric_families

from tests.support.service import RestProxy, Service, eventually, free_port, http_request, is_listening

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

ONE_AT_A_TIME = ("--replicas=1", "--batch-items=1", "--warm-up-tokens=0", "--equal-lengths=never")


def test_while_a_model_loads(zoo: Callable[[str], Path]) -> None:
    """The first is quick and serves already, the second takes over twenty seconds."""
    port, rest_port = free_port(), free_port()
    models = (zoo("doc_model"), f"--model=slow={zoo('slow_200ms')}")
    with Service(*models, f"--port={port}", f"--rest-port={rest_port}", wait_ready=False) as service:
        service.port, service.rest_port = port, rest_port
        eventually(lambda: is_listening(rest_port), "the proxy listens")
        assert service.http("/healthz").status == 200
        eventually(lambda: service.status().models[0].state == ModelState.READY, "the first is ready")
        answer = service.http("/readyz")
        assert answer.status == 503
        assert answer.json() == {"ready": False, "reasons": [f"127.0.0.1:{port}: model slow is loading"]}
        status = service.status()
        assert (status.ready, status.reasons) == (False, ["model slow is loading"])
        with service.client() as predictor:
            assert predictor.predict("set an alarm", None)
            with pytest.raises(PredictionError) as caught:
                predictor.embed("set an alarm", None, None)
        assert caught.value.code == ErrorCode.UNAVAILABLE
        assert caught.value.retry_after_ms > 0
        assert service.process.poll() is None


def test_answers_say_how_long_they_took(zoo: Callable[[str], Path]) -> None:
    """The second of two waits for the first."""
    with Service(zoo("slow_200ms"), "--rest-server-timing", *ONE_AT_A_TIME) as service:
        with ThreadPoolExecutor(2) as executor:
            answers = list(executor.map(service.http, ["/predict?doc=a", "/?doc=b"]))
        timings = [answer.headers["Server-Timing"] for answer in answers]
        longest_wait = 0.0
        for timing in timings:
            total, queue, model = (float(part.partition(";dur=")[2]) for part in timing.split(", "))
            assert timing.startswith("total;dur=")
            assert ", queue;dur=" in timing
            assert ", model;dur=" in timing
            assert total >= queue + model
            assert model >= 200
            longest_wait = max(longest_wait, queue)
        assert longest_wait > 0
        assert service.http("/healthz").headers["Server-Timing"].startswith("total;dur=")


def test_while_it_drains(zoo: Callable[[str], Path]) -> None:
    with Service(zoo("slow_200ms"), "--no-rest", *ONE_AT_A_TIME) as service, RestProxy(service.port) as proxy:
        assert proxy.http("/readyz").json() == {"ready": True}
        with service.client() as predictor:
            for _ in range(10):
                predictor.send_predict("set an alarm", None)
            eventually(lambda: service.model_status().running == 1, "the model runs")
            service.signal(signal.SIGTERM)
            eventually(lambda: proxy.http("/readyz").status == 503, "the proxy sees it")
            assert proxy.http("/healthz").status == 200
            assert predictor.recv_predict(), "it was over before, so this shows nothing"
        answer = proxy.http("/predict?doc=set+an+alarm")
        assert (answer.status, answer.json()["error"]["code"]) == (503, "UNAVAILABLE")
        assert "Retry-After" in answer.headers
        assert service.wait() == 0


def test_status_says_that_it_drains(zoo: Callable[[str], Path]) -> None:
    """As long as the proxy still has requests, the Thrift port answers."""
    with Service(zoo("doc_model"), "--hold=2") as service, ThreadPoolExecutor(1) as pool:
        with service.client() as first, service.client() as second, RestProxy(service.port) as other_proxy:
            waiting = pool.submit(service.http, "/predict?doc=set+an+alarm")
            eventually(lambda: service.model_status().queue_depth == 1, "a request of the proxy waits")
            service.signal(signal.SIGTERM)
            eventually(lambda: first.status().reasons == ["the server is draining"], "it says so")
            assert other_proxy.http("/readyz").json()["reasons"] == [
                f"127.0.0.1:{service.port}: the server is draining"
            ]
            assert second.predict("set an alarm", None)
            assert waiting.result(60).status == 200
        assert service.wait() == 0


def test_metrics_of_the_server(zoo: Callable[[str], Path]) -> None:
    metrics_port = free_port()
    flags = ("--no-rest", f"--metrics-port={metrics_port}")
    with Service(zoo("poison"), *flags) as service, service.client() as predictor:
        for _ in range(3):
            predictor.predict("set an alarm", None)
        with pytest.raises(PredictionError):
            predictor.predict("poison", None)
        samples = metrics(metrics_port)
    assert samples["predictor_ready"] == 1
    assert samples["predictor_connections"] == 1
    assert samples["predictor_uptime_seconds"] > 0
    assert samples["predictor_model_accepted_total", "poison"] == 4
    assert samples["predictor_model_completed_total", "poison"] == 3
    assert samples["predictor_model_failed_total", "poison"] == 1
    assert samples["predictor_model_queue_depth", "poison"] == 0


def test_metrics_of_the_proxy(service: Service) -> None:
    before = metrics(service.rest_port).get(("predictor_rest_requests_total", "/predict", "200"), 0)
    service.http("/predict?doc=set+an+alarm")
    after = metrics(service.rest_port)
    assert after["predictor_rest_requests_total", "/predict", "200"] == before + 1
    ready = ("predictor_rest_server_ready", f"127.0.0.1:{service.port}")
    eventually(lambda: metrics(service.rest_port)[ready] == 1, "the proxy knows that the server is ready")


def metrics(port: int) -> dict[str | tuple[str, ...], float]:
    """Prometheus' samples: by name, or by name and values of labels."""
    return {
        (sample.name, *sample.labels.values()) if sample.labels else sample.name: sample.value
        for family in text_string_to_metric_families(http_request(port, "/metrics").text)
        for sample in family.samples
    }
