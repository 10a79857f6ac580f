"""What operators ask."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from predictor.ttypes import ErrorCode
from prometheus_client.parser import text_string_to_metric_families
from structlog.testing import CapturingLogger

from rest_proxy.config import Address
from tests.rest_proxy.thrift_server import ThriftServer, refuse

if TYPE_CHECKING:
    from tests.rest_proxy.conftest import Proxy


async def test_models(proxy: Proxy) -> None:
    answer = await proxy.ask("GET", "/models")
    assert answer.status == 200
    model = answer.json["models"][0]
    assert (model["name"], model["state"], model["limits"]["max_tokens"]) == ("docnn", "READY", 512)
    assert model["default_for"] == ["predict", "predict_batch"]
    assert "error" not in model, "what is not set is not there"


async def test_alive_and_not_ready_without_a_server(new_proxy: Any, server: ThriftServer) -> None:
    server.stop()
    proxy = await new_proxy(server)
    assert await proxy.curl("URL/healthz") == '{"alive":true}\n'
    answer = await proxy.ask("GET", "/readyz")
    assert (answer.status, answer.json["ready"]) == (503, False)
    [reason] = answer.json["reasons"]
    assert reason.startswith(f"{server.address}: not reachable: ")


async def test_ready_asks_the_server_now(new_proxy: Any, server: ThriftServer) -> None:
    proxy = await new_proxy(server, status_interval_ms=60_000)
    assert await proxy.curl("URL/readyz") == '{"ready":true}\n'
    server.ready = False
    answer = await proxy.ask("GET", "/readyz")
    assert (answer.status, answer.json) == (503, {"ready": False, "reasons": [f"{server.address}: draining"]})
    server.ready = True
    assert (await proxy.ask("GET", "/readyz")).status == 200


async def test_ready_when_one_of_two_servers_is(new_proxy: Any, server: ThriftServer) -> None:
    proxy = await new_proxy(Address("127.0.0.1", 1), server)
    assert (await proxy.ask("GET", "/readyz")).json == {"ready": True}


async def test_a_server_without_status_counts_as_ready(new_proxy: Any, server: ThriftServer) -> None:
    server._server.processor._processMap.pop("status")
    proxy = await new_proxy(server)
    assert (await proxy.ask("GET", "/readyz")).status == 200
    server._server.processor._processMap.pop("reply")
    answer = await proxy.ask("GET", "/reply?message=x")
    assert (answer.status, answer.json["error"]["code"]) == (404, "NOT_FOUND")


async def test_status(proxy: Proxy, server: ThriftServer) -> None:
    await proxy.ask("GET", "/?doc=x")
    answer = await proxy.ask("GET", "/status")
    assert answer.json["uptime_s"] > 0
    [status] = answer.json["servers"]
    assert status["address"] == str(server.address)
    assert (status["reachable"], status["ready"], status["reason"]) == (True, True, None)
    assert (status["connections"], status["calls"]) == (1, 0)
    assert status["status"]["version"] == "1.2.3"


async def metrics(proxy: Proxy) -> dict[tuple[str, ...], float]:
    answer = await proxy.ask("GET", "/metrics")
    assert answer.headers["Content-Type"].startswith("text/plain; version=")
    return {
        (sample.name, *(f"{name}={value}" for name, value in sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(answer.body.decode())
        for sample in family.samples
    }


async def test_metrics(proxy: Proxy, server: ThriftServer) -> None:
    for path in ("/?doc=x", "/any?doc=x", "/predict?doc=x", "/predict"):
        await proxy.ask("GET", path)
    server.answer = refuse(ErrorCode.OVERLOADED, 1)
    await proxy.ask("GET", "/predict?doc=x")
    seen = await metrics(proxy)
    assert seen["predictor_rest_requests_total", "route=/", "status=200"] == 2
    assert seen["predictor_rest_requests_total", "route=/predict", "status=200"] == 1
    assert seen["predictor_rest_requests_total", "route=/predict", "status=400"] == 1
    assert seen["predictor_rest_requests_total", "route=/predict", "status=429"] == 1
    assert seen["predictor_rest_request_seconds_count", "route=/predict"] == 3
    assert 0 < seen["predictor_rest_request_seconds_sum", "route=/predict"] < 10
    address = f"server={server.address}"
    assert seen["predictor_rest_server_up", address] == seen["predictor_rest_server_ready", address] == 1
    assert seen["predictor_rest_server_connections", address] == 1
    assert seen["predictor_rest_requests_in_progress",] == 0
    assert seen["predictor_rest_connections",] == 1
    assert seen["process_resident_memory_bytes",] > 1e6


async def test_metrics_of_a_server_that_is_down(new_proxy: Any) -> None:
    proxy = await new_proxy(Address("127.0.0.1", 1))
    seen = await metrics(proxy)
    assert seen["predictor_rest_server_up", "server=127.0.0.1:1"] == 0
    assert seen["predictor_rest_server_ready", "server=127.0.0.1:1"] == 0


@pytest.mark.parametrize(
    "path", ["/models", "/healthz", "/readyz", "/status", "/metrics", "/openapi.json", "/swagger.json", "/swagger"]
)
async def test_operations_only_answer_get(proxy: Proxy, path: str) -> None:
    assert (await proxy.ask("HEAD", path)).status == 200
    answer = await proxy.ask("POST", path)
    assert (answer.status, answer.headers["Allow"]) == (405, "GET, HEAD")
    assert answer.json["error"]["message"] == f"{path} does not answer POST; use GET, HEAD"


async def test_a_fault_of_the_proxy_is_500_with_an_id_and_a_log_line(
    proxy: Proxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = CapturingLogger()
    monkeypatch.setattr("rest_proxy.http.errors.log", log)
    monkeypatch.setattr("rest_proxy.routes.operations.plain", lambda _models: 1 / 0)
    answer = await proxy.ask("GET", "/models", headers={"X-Request-Id": "r-77"})
    assert (answer.status, answer.json["error"]["code"]) == (500, "INTERNAL")
    assert answer.json["error"]["message"] == "the proxy failed; its log has the details under the request id r-77"
    assert [(call.method_name, call.kwargs["request_id"]) for call in log.calls] == [("error", "r-77")]
