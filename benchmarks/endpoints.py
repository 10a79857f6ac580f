"""Asking a running server one thing: the scores of a document, or how many batches it has run."""

from __future__ import annotations

import http.client
import json
import re
import socket
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import quote

from predictor import Predictor
from thrift.protocol.TBinaryProtocol import TBinaryProtocolAccelerated
from thrift.transport.TSocket import TSocket
from thrift.transport.TTransport import TBufferedTransport, TTransportException

if TYPE_CHECKING:
    from collections.abc import Iterator

HOST = "127.0.0.1"
TIMEOUT_S = 10


class AnswerError(RuntimeError):
    """A server answered, but not with scores."""


@dataclass(frozen=True)
class BatchCount:
    """Counters of a server since it began."""

    documents: int
    batches: int


def free_port() -> int:
    """A port of this machine that nobody listens on just now."""
    with socket.socket() as listener:
        listener.bind((HOST, 0))
        return int(listener.getsockname()[1])


@contextmanager
def thrift_client(port: int) -> Iterator[Predictor.Client]:
    """A connected client, unframed and binary as PyText's was."""
    connection = TSocket(HOST, port)
    connection.setTimeout(TIMEOUT_S * 1000)
    transport = TBufferedTransport(connection)
    transport.open()
    try:
        yield Predictor.Client(TBinaryProtocolAccelerated(transport))
    finally:
        transport.close()


def _http(port: int, method: str, path: str, body: bytes | None = None) -> bytes:
    connection = http.client.HTTPConnection(HOST, port, timeout=TIMEOUT_S)
    try:
        connection.request(method, path, body, {"Content-Type": "application/json"})
        response = connection.getresponse()
        answer = response.read()
    finally:
        connection.close()
    if response.status != 200:
        raise AnswerError(f"HTTP {response.status}: {answer[:500]!r}")
    return answer


def _lines_to_scores(text: str) -> dict[str, float]:
    pairs = (line.rpartition(":") for line in text.splitlines())
    return {label: float(score) for label, _, score in pairs}


def scores(protocol: str, port: int, path: str, document: str) -> dict[str, float] | None:
    """Label -> score of `document`; None while nobody answers there. `protocol` is one of the load generator's."""
    try:
        socket.create_connection((HOST, port), TIMEOUT_S).close()
        if protocol == "thrift":
            with thrift_client(port) as client:
                return dict(client.predict(document, None))
        if protocol == "http-get":
            return _lines_to_scores(_http(port, "GET", f"{path}?doc={quote(document)}").decode())
        return dict(json.loads(_http(port, "POST", path, json.dumps({"doc": document}).encode())))
    except (OSError, TTransportException, http.client.HTTPException):
        return None


def status_batches(port: int) -> BatchCount:
    """From this service's `status`, over all models."""
    with thrift_client(port) as client:
        models = client.status().models
    return BatchCount(sum(model.completed for model in models), sum(model.batches for model in models))


def mosec_batches(port: int) -> BatchCount:
    """From mosec's metrics page, over all workers."""
    page = _http(port, "GET", "/metrics").decode()
    totals = [
        sum(float(value) for value in re.findall(rf"^mosec_service_batch_size_{name}{{.*}} (\S+)$", page, re.MULTILINE))
        for name in ("sum", "count")
    ]
    return BatchCount(int(totals[0]), int(totals[1]))
