"""Polite clients beside silent ones, streams that others begin and do not read, and one that asks for a lot at once."""

from __future__ import annotations

import contextlib
import socket
from typing import TYPE_CHECKING, Any

import pytest
from predictor import Predictor
from predictor.ttypes import ErrorCode, GenerationOptions, PredictionError, RequestOptions
from thrift.protocol.TBinaryProtocol import TBinaryProtocolAccelerated
from thrift.transport.TTransport import TFramedTransport, TMemoryBuffer

from tests.e2e.load import at_once
from tests.server.transport.thrift_clients import HOST
from tests.support.generators import train_tiny
from tests.support.service import Service, eventually

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

CONNECTIONS, STREAMS, POLITE, ASKED = 32, 8, 8, 4
DOCS, CALLS = 250, 8
SLOW = RequestOptions(model="slow", timeout_ms=300_000)
TEXT = RequestOptions(model="text", timeout_ms=300_000)
ONE_TOKEN = GenerationOptions(max_tokens=1)


@pytest.fixture(scope="module")
def service(zoo: Callable[[str], Path], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """A classifier that takes 20 ms for a batch of 8, and a generator."""
    generator = train_tiny(tmp_path_factory.mktemp("generators") / "harbour")
    limits = (f"--connections={CONNECTIONS}", f"--streams={STREAMS}", "--stream-orphan-s=0.1")
    quick_start = ("--warm-up-tokens=0", "--equal-lengths=never", "--replicas=1", "--batch-items=8")
    models = ("--model", f"slow={zoo('slow_20ms')}", "--model", f"text={generator}")
    with Service(*models, *limits, *quick_start) as running:
        yield running


def call_of(docs: int) -> bytes:
    """A frame with a call of predict_batch."""
    buffer = TMemoryBuffer()
    protocol = TBinaryProtocolAccelerated(TFramedTransport(buffer))
    client: Any = Predictor.Client(protocol)
    client.send_predict_batch(["set an alarm"] * docs, SLOW)
    return bytes(buffer.getvalue())


@contextlib.contextmanager
def greedy(service: Service) -> Iterator[socket.socket]:
    """A connection with many calls of many documents, the first of which are in progress."""
    before = accepted(service)
    with socket.create_connection((HOST, service.port), 60) as connection:
        connection.sendall(call_of(DOCS) * CALLS)
        eventually(lambda: accepted(service) > before, "the first documents are in the queue")
        yield connection


def status_of(service: Service, name: str) -> Any:
    with service.client() as predictor:
        return next(model for model in predictor.status().models if model.name == name)


def accepted(service: Service) -> int:
    return int(status_of(service, "slow").accepted)


def begin_all(client: Any) -> list[str]:
    """As many streams as this client may have; and that the refusal says why there are no more."""
    begun: list[str] = []

    def begin_on() -> None:
        while True:
            begun.append(client.generate_begin("a", ONE_TOKEN, TEXT))

    with pytest.raises(PredictionError) as caught:
        begin_on()
    assert caught.value.code == ErrorCode.OVERLOADED
    assert caught.value.setting in ("streams", "client_share")
    return begun


def test_a_greedy_connection_holds_nobody_up(service: Service) -> None:
    """Counted in documents, not in time: in a queue in which all wait in line, hundreds would go before each."""
    with contextlib.ExitStack() as crowd:
        polite = [crowd.enter_context(service.client()) for _ in range(POLITE)]
        for _ in range(2):
            begin_all(crowd.enter_context(service.client()))
        crowd.enter_context(greedy(service))
        watcher = crowd.enter_context(service.client())
        completed = {model.name: model.completed for model in watcher.status().models}["slow"]
        for _ in range(CONNECTIONS - POLITE - 4):
            crowd.enter_context(socket.create_connection((HOST, service.port), 60))
        eventually(lambda: watcher.status().connections == CONNECTIONS, "the connections are full")
        answers = at_once(POLITE, lambda number: [polite[number].predict("wake me", SLOW) for _ in range(ASKED)])
        http = service.http("/predict?doc=wake%20me&model=slow")
        now = {model.name: model.completed for model in watcher.status().models}["slow"]
    assert http.status == 200
    assert len({str(sorted(scores.items())) for each in answers for scores in each}) == 1
    others = now - completed - POLITE * ASKED - 1
    assert others < DOCS * CALLS / 4, f"{others} documents went before {POLITE * ASKED} of polite clients"


def test_all_calls_of_a_greedy_connection_are_answered_in_their_order(service: Service) -> None:
    with socket.create_connection((HOST, service.port), 120) as connection:
        sizes = [3, 40, 1, 20, 2]
        connection.sendall(b"".join(map(call_of, sizes)))
        answers = connection.makefile("rb")
        for size in sizes:
            frame = answers.read(int.from_bytes(answers.read(4), "big"))
            client: Any = Predictor.Client(TBinaryProtocolAccelerated(TMemoryBuffer(frame)))
            assert len(client.recv_predict_batch()) == size


def test_streams_end_with_the_connections_that_began_them(service: Service) -> None:
    with service.client() as polite:
        with service.client() as one, service.client() as other:
            assert len(begin_all(one)) == STREAMS // 2
            assert len(begin_all(other)) == STREAMS // 2
            assert begin_all(polite) == []

        begun: list[str] = []

        def begin() -> bool:
            begun.extend(begin_all(polite))
            return len(begun) == STREAMS // 2

        eventually(begin, "the streams of those who are gone have ended")


def test_a_stream_may_be_read_by_another_connection(service: Service) -> None:
    """As pools of connections do, and clients that connect again."""
    with service.client() as first:
        stream = first.generate_begin("Every evening", GenerationOptions(max_tokens=20), TEXT)
        with service.client() as second:
            chunk = second.generate_next(stream, 0)
            first._iprot.trans.close()
            while chunk.finish_reason is None:
                chunk = second.generate_next(stream, 1000)
