"""Asking a running server one thing: the scores of a document, or how many batches it has run."""

from __future__ import annotations

import http.client
import json
import re
import socket
from dataclasses import dataclass
from urllib.parse import quote

from predictor import Predictor
from predictor.ttypes import ErrorCode, PredictionError
from thrift.protocol.TBinaryProtocol import TBinaryProtocolAccelerated
from thrift.transport.TSocket import TSocket
from thrift.transport.TTransport import TBufferedTransport, TTransportException

HOST = "127.0.0.1"
TIMEOUT_S = 10


class AnswerError(RuntimeError):
    """A server answered, but not with scores."""


class NotReadyError(Exception):
    """A server answered that it is still loading."""


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


class ThriftClient:
    """A connected client, unframed and binary as PyText's was; a context manager.

    Not by contextlib's decorator: that sets an attribute on an exception that passes, and generated exceptions cannot
    be changed.
    """

    def __init__(self, port: int) -> None:
        connection = TSocket(HOST, port)
        connection.setTimeout(TIMEOUT_S * 1000)
        self._transport = TBufferedTransport(connection)

    def __enter__(self) -> Predictor.Client:
        self._transport.open()
        return Predictor.Client(TBinaryProtocolAccelerated(self._transport))

    def __exit__(self, *_: object) -> None:
        self._transport.close()


def _http(port: int, method: str, path: str, body: bytes | None = None, timeout_s: float = TIMEOUT_S) -> bytes:
    connection = http.client.HTTPConnection(HOST, port, timeout=timeout_s)
    try:
        connection.request(method, path, body, {"Content-Type": "application/json"})
        response = connection.getresponse()
        answer = response.read()
    finally:
        connection.close()
    if response.status == 503:
        raise NotReadyError
    if response.status != 200:
        raise AnswerError(f"HTTP {response.status}: {answer[:500]!r}")
    return answer


def http_post(port: int, path: str, body: bytes, timeout_s: float = TIMEOUT_S) -> bytes:
    """The answer to a body in JSON. Raises AnswerError, NotReadyError, OSError."""
    return _http(port, "POST", path, body, timeout_s)


def _lines_to_scores(text: str) -> dict[str, float]:
    pairs = (line.rpartition(":") for line in text.splitlines())
    return {label: float(score) for label, _, score in pairs}


def scores(protocol: str, port: int, path: str, document: str, method: str = "predict") -> dict[str, float] | None:
    """Label -> score of `document`; None while nobody is ready there. `protocol` is one of the load generator's,
    `method` the one of the contract that is called by Thrift.

    Raises AnswerError when the answer is another error.
    """
    try:
        socket.create_connection((HOST, port), TIMEOUT_S).close()  # Thrift's own client logs what it cannot reach
        if protocol == "thrift":
            return _thrift_scores(port, method, document)
        if protocol == "http-get":
            return _lines_to_scores(_http(port, "GET", f"{path}?doc={quote(document)}").decode())
        answer = json.loads(_http(port, "POST", path, json.dumps({"doc": document}).encode()))
        return dict(answer.get("scores", answer))  # of ours they are a field
    except (OSError, TTransportException, http.client.HTTPException, NotReadyError):
        return None


def _thrift_scores(port: int, method: str, document: str) -> dict[str, float]:
    try:
        with ThriftClient(port) as client:
            more = (None,) if method == "predict" else (None, None)  # options, and those of the other methods
            return dict(getattr(client, method)(document, *more))
    except PredictionError as error:
        if error.code == ErrorCode.UNAVAILABLE:
            raise NotReadyError from None
        raise AnswerError(f"{ErrorCode._VALUES_TO_NAMES[error.code]}: {error.message}") from None


def status_batches(port: int) -> BatchCount:
    """From this service's `status`, over all models."""
    with ThriftClient(port) as client:
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
