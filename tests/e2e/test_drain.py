"""SIGTERM: what was accepted is answered, then the server ends. A second one ends it at once.

Accepted is what a model's queue took in. The log's "drained" line counts that; the clients count their answers.
"""

from __future__ import annotations

import contextlib
import http.client
import signal
import threading
import time
from typing import TYPE_CHECKING, Any

import pytest
from predictor.ttypes import PredictionError
from thrift.transport.TTransport import TTransportException

from tests.e2e.load import at_once
from tests.support.gate import GATE_PATIENCE_S
from tests.support.service import HOST, Service, connected, eventually, free_port, is_listening, is_running

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.support.gate import Gate

LONE_CLIENTS, PIPELINING_CLIENTS, HTTP_CLIENTS = 48, 16, 16
DEPTH = 8
ONE_AT_A_TIME = ("--replicas=1", "--batch-items=1", "--warm-up-tokens=0", "--equal-lengths=never")


class Load:
    """Closed-loop clients that go on until the server closes their connections, and count what they get."""

    def __init__(self, service: Service) -> None:
        self._service = service
        self._lock = threading.Lock()
        self.answers = 0
        self.errors: list[str] = []

    def client(self, number: int) -> None:
        """One client of one of the three kinds."""
        if number < LONE_CLIENTS:
            self._over_thrift(1)
        elif number < LONE_CLIENTS + PIPELINING_CLIENTS:
            self._over_thrift(DEPTH)
        else:
            self._over_http()

    def _over_thrift(self, depth: int) -> None:
        """Keep `depth` calls on the way."""
        with self._service.client() as predictor, contextlib.suppress(TTransportException, ConnectionError):
            for _ in range(depth):
                predictor.send_predict("set an alarm for seven", None)
            while True:
                self._count(predictor.recv_predict)
                with contextlib.suppress(TTransportException, ConnectionError):  # answers may have come before its end
                    predictor.send_predict("set an alarm for seven", None)

    def _over_http(self) -> None:
        """A connection that is kept, and opened again when the proxy closes it, until it listens no more."""
        connection = http.client.HTTPConnection(HOST, self._service.rest_port, timeout=60)
        with contextlib.closing(connection), contextlib.suppress(ConnectionError):
            while True:
                connection.request("GET", "/predict?doc=set+an+alarm+for+seven")
                response = connection.getresponse()
                body = response.read()
                with self._lock:
                    self.answers += response.status == 200
                    if response.status != 200:
                        self.errors.append(body.decode())

    def _count(self, receive: Callable[[], Any]) -> None:
        try:
            receive()
        except PredictionError as error:
            with self._lock:
                self.errors.append(error.message)
        else:
            with self._lock:
                self.answers += 1


def test_no_accepted_request_is_lost(zoo: Callable[[str], Path]) -> None:
    with Service(zoo("slow_20ms"), "--batch-items=32", "--warm-up-tokens=0", "--equal-lengths=never") as service:
        load = Load(service)

        def terminate() -> None:
            eventually(lambda: load.answers > 200, "the load is on")
            service.signal(signal.SIGTERM)

        terminator = threading.Thread(target=terminate)
        terminator.start()
        at_once(LONE_CLIENTS + PIPELINING_CLIENTS + HTTP_CLIENTS, load.client)
        terminator.join()
        assert service.wait() == 0
        (drained,) = (entry for entry in service.log if entry["event"] == "drained")

    (model,) = drained["models"]
    assert load.errors == []
    assert model["accepted"] == model["completed"] == load.answers
    assert (model["queue_depth"], model["running"], model["failed"], model["cancelled"]) == (0, 0, 0, 0)


def test_what_waits_is_answered_though_it_takes_a_while(zoo: Callable[[str], Path]) -> None:
    """Calls that are on the way when the signal comes, over Thrift and HTTP; new connections are refused."""
    with Service(zoo("slow_200ms"), *ONE_AT_A_TIME) as service, service.client() as predictor:
        over_http = http.client.HTTPConnection(HOST, service.rest_port, timeout=60)
        with contextlib.closing(over_http):
            over_http.request("GET", "/predict?doc=set+an+alarm")
            eventually(lambda: service.model_status().accepted == 1, "the proxy's is accepted, and will be done first")
            for _ in range(4):
                predictor.send_predict("set an alarm", None)
            eventually(lambda: service.model_status().accepted == 5, "all are accepted")
            service.signal(signal.SIGTERM)
            assert [len(predictor.recv_predict()) for _ in range(4)] == [3] * 4
            assert over_http.getresponse().status == 200
        assert service.wait() == 0
        with pytest.raises(ConnectionRefusedError), connected(service.port):
            pass


def test_second_signal_ends_it_at_once(gate: Gate) -> None:
    with Service(gate.path, "--http=proxy", *ONE_AT_A_TIME) as service, service.client() as predictor, gate.closed():
        (proxy,) = service.children()
        for _ in range(2):
            predictor.send_predict("set an alarm", None)
        eventually(lambda: service.model_status().running == 1, "the model runs")
        service.signal(signal.SIGTERM)
        eventually(lambda: any(entry["event"] == "draining" for entry in service.log), "it drains")

        service.signal(signal.SIGTERM)  # in the first second it is the same once more
        time.sleep(1.1)
        started = time.monotonic()
        service.stop(exit_code=128 + signal.SIGTERM)
        assert time.monotonic() - started < GATE_PATIENCE_S / 2
        eventually(lambda: not is_running(proxy), "the proxy is gone too")


def test_time_limit_of_draining(gate: Gate) -> None:
    flags = (*ONE_AT_A_TIME, "--no-rest", "--drain-timeout-ms=500")
    with Service(gate.path, *flags) as service, service.client() as predictor, gate.closed():
        for _ in range(2):
            predictor.send_predict("set an alarm", None)
        eventually(lambda: service.model_status().running == 1, "the model runs")
        started = time.monotonic()
        service.stop(exit_code=1)
        assert time.monotonic() - started < GATE_PATIENCE_S / 2
        assert "drain_timeout_ms" in service.log[-1]["event"]


def test_the_shortest_time_for_draining(zoo: Callable[[str], Path]) -> None:
    with Service(zoo("doc_model"), "--drain-timeout-ms=1") as service, service.client() as predictor:
        predictor.predict("set an alarm", None)
        service.signal(signal.SIGTERM)
        assert service.wait() in (0, 1), "it may have taken longer"


def test_signal_while_a_model_loads(zoo: Callable[[str], Path]) -> None:
    """This one takes over twenty seconds to be probed and warmed up."""
    port = free_port()
    with Service(zoo("slow_200ms"), f"--port={port}", wait_ready=False) as service:
        service.port = port
        eventually(lambda: is_listening(port), "it listens")
        assert service.status().reasons == ["model slow_200ms is loading"]
        started = time.monotonic()
        service.stop()
        assert time.monotonic() - started < 15


def test_interrupt_key(zoo: Callable[[str], Path]) -> None:
    with Service(zoo("doc_model")) as service:
        service.signal(signal.SIGINT)
        assert service.wait() == 0


@pytest.mark.parametrize("http_by", ["inside", "proxy"])
def test_the_delay_before_the_end(zoo: Callable[[str], Path], http_by: str) -> None:
    """All is served, new connections too; whoever asks learns that it will not be for long. SIGHUP ends nothing."""
    with Service(zoo("doc_model"), f"--http={http_by}", "--drain-delay-ms=1500") as service:
        service.signal(signal.SIGHUP)
        kept = http.client.HTTPConnection(HOST, service.rest_port, timeout=60)
        with contextlib.closing(kept), service.client() as predictor:
            for path, status in (("/readyz", 200), ("/predict?doc=a", 200)):
                kept.request("GET", path)
                answer = kept.getresponse()
                assert (answer.status, answer.read() != b"", answer.will_close) == (status, True, False)
            service.signal(signal.SIGTERM)
            eventually(lambda: service.http("/readyz").status == 503, "it is not ready")
            began = time.monotonic()
            assert service.http("/", method="OPTIONS").status == 503
            assert service.http("/healthz").status == 200
            kept.request("GET", "/predict?doc=a")
            answer = kept.getresponse()
            assert (answer.status, answer.getheader("Connection")) == (200, "close")
            assert len(predictor.predict("a", None)) == 3
            assert predictor.status().reasons == ["the server is draining"]
            assert len(service.client().__enter__().predict("a", None)) == 3
        assert service.wait() == 0
        assert time.monotonic() - began > 0.5


def test_the_interrupt_key_does_without_the_delay(zoo: Callable[[str], Path]) -> None:
    with Service(zoo("doc_model"), "--drain-delay-ms=60000") as service:
        service.signal(signal.SIGINT)
        assert service.wait() == 0
