"""What one caller does or meets is not the trouble of the others: poison, vanishing clients, deadlines."""

from __future__ import annotations

import http.client
import json
from typing import TYPE_CHECKING, Any

import pytest
from predictor.ttypes import ErrorCode, Lane, PredictionError, RequestOptions

from scripts.train_classifier import load
from tests.e2e.load import at_once
from tests.support.service import HOST, Service, eventually
from tests.support.zoo import POISON

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.support.gate import Gate

# One document at a time; no probe and no warm-up, which only cost time here.
ONE_AT_A_TIME = ("--replicas=1", "--batch-items=1", "--warm-up-tokens=0", "--equal-lengths=never")


def test_poison_fails_alone(zoo: Callable[[str], Path]) -> None:
    good = [f"document number {number}" for number in range(6)]

    def ask(number: int) -> Any:
        if number == 0:
            return http_error(service, f"a {POISON} document", "over-http")
        with service.client() as predictor:
            if number == 1:
                with pytest.raises(PredictionError) as caught:
                    predictor.predict(f"the {POISON}", RequestOptions(request_id="over-thrift"))
                return caught.value
            return predictor.predict(good[number - 2], None)

    with Service(zoo("poison"), "--replicas=1", env={"PREDICTOR_HOLD": "8"}) as service:
        over_http, over_thrift, *scores = at_once(8, ask)
        status = service.model_status()
        failures = {entry["request_id"]: entry for entry in service.log if entry["level"] == "error"}

    assert (status.batches, status.completed, status.failed) == (1, 6, 2), "they did not share a batch"
    model = load(zoo("poison"))
    assert scores == [pytest.approx(model(tokens=[document.split()])[0], abs=1e-5) for document in good]
    assert (over_thrift.code, over_thrift.request_id) == (ErrorCode.INTERNAL, "over-thrift")
    assert over_http == (500, {"code": "INTERNAL", "message": over_thrift.message, "request_id": "over-http"})
    assert "a poisoned document" not in over_thrift.message, "details of the model are for the log"
    assert sorted(failures) == ["over-http", "over-thrift"]
    assert all("a poisoned document" in entry["error"] for entry in failures.values())


def http_error(service: Service, doc: str, request_id: str) -> tuple[int, dict[str, str]]:
    """Status and error of a request to /predict."""
    answer = service.http(
        "/predict",
        method="POST",
        body=json.dumps({"doc": doc}),
        headers={"Content-Type": "application/json", "X-Request-Id": request_id},
    )
    return answer.status, answer.json()["error"]


def test_a_failure_without_an_id_of_the_caller_gets_one(zoo: Callable[[str], Path]) -> None:
    with Service(zoo("poison"), "--no-rest") as service, service.client() as predictor:
        with pytest.raises(PredictionError) as caught:
            predictor.predict(POISON, None)
        with pytest.raises(PredictionError) as in_batch:
            predictor.predict_batch(["good", POISON, "good"], None)
        assert in_batch.value.message.startswith("docs[1]: ")
        assert predictor.predict("good", None)
        logged = [entry["request_id"] for entry in service.log if entry["level"] == "error"]

    assert logged == [caught.value.request_id, in_batch.value.request_id]
    assert all(logged)


def test_vanishing_clients_free_their_places(zoo: Callable[[str], Path]) -> None:
    """The queue holds what comes until six wait, so that nothing depends on time."""
    with Service(zoo("doc_model"), "--hold=6") as service, service.client() as staying:
        staying.send_predict("i stay", None)
        vanish_over_thrift(service, calls=4, waiting=1)
        vanish_over_http(service)
        assert service.model_status().cancelled == 5

        staying.send_predict_batch(["and", "so", "do", "we", "others"], None)
        assert staying.recv_predict()
        assert len(staying.recv_predict_batch()) == 5
        assert service.model_status().completed == 6


def vanish_over_thrift(service: Service, calls: int, waiting: int) -> None:
    """A client sends some calls, and goes away when they wait."""
    with service.client() as going:
        for number in range(calls):
            going.send_predict(f"i go {number}", RequestOptions(lane=number % 2))
        eventually(lambda: service.model_status().queue_depth == waiting + calls, "the calls wait")
    eventually(lambda: service.model_status().queue_depth == waiting, "their places are free")


def vanish_over_http(service: Service) -> None:
    """The same with one HTTP request: the proxy hangs up on the server for it."""
    going = http.client.HTTPConnection(HOST, service.rest_port)
    going.request("GET", "/?doc=i+go")
    eventually(lambda: service.model_status().queue_depth == 2, "the request waits")
    going.close()
    eventually(lambda: service.model_status().queue_depth == 1, "its place is free")


def test_deadline_behind_slow_batches(gate: Gate) -> None:
    with Service(gate.path, *ONE_AT_A_TIME) as service, gate.closed():
        with service.client() as slow, service.client() as hurried:
            for _ in range(2):
                slow.send_predict("set an alarm", None)
            eventually(lambda: service.model_status().running == 1, "the model runs")

            for lane in (Lane.INTERACTIVE, Lane.BULK):
                with pytest.raises(PredictionError, match=r"in the queue|had passed when the request came") as caught:
                    hurried.predict("set an alarm", RequestOptions(timeout_ms=50, lane=lane))
                assert caught.value.code == ErrorCode.DEADLINE_EXCEEDED
            answer = service.http("/predict?doc=hurry&timeout_ms=50")
            status = service.model_status()
            gate.open()
            assert [len(slow.recv_predict()) for _ in range(2)] == [3, 3]

        assert answer.status == 504
        assert answer.json()["error"]["code"] == "DEADLINE_EXCEEDED"
        assert (status.expired, status.completed) == (3, 0)


def test_deadline_while_the_model_runs(gate: Gate) -> None:
    with Service(gate.path, "--no-rest", *ONE_AT_A_TIME) as service, service.client() as predictor, gate.closed():
        refused = 0
        for timeout_ms in (50, 500, 5000):  # longer where the machine was too busy to begin before
            with pytest.raises(PredictionError) as caught:
                predictor.predict("set an alarm", RequestOptions(timeout_ms=timeout_ms))
            assert caught.value.code == ErrorCode.DEADLINE_EXCEEDED
            refused += 1
            if "while the model ran" in caught.value.message:
                break
        else:
            pytest.fail("the model never began in time")
        gate.open()
        assert predictor.predict("set an alarm", None)
        status = predictor.status().models[0]
        assert (status.expired, status.completed) == (refused, 1)
