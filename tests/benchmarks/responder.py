"""Small real servers for the load generator to be tried on: python -m tests.benchmarks.responder KIND PORT

KIND is thrift, thrift-framed (Apache's threaded server), http (aiohttp) or fast (Thrift by hand on uvloop, for speed).
A document says what is to happen to it: see Handler.predict.
"""

from __future__ import annotations

import asyncio
import sys
import threading
import time

import uvloop
from aiohttp import web
from predictor import Predictor
from predictor.ttypes import ErrorCode, ModelState, ModelStatus, PredictionError, ServerStatus
from thrift.protocol.TBinaryProtocol import TBinaryProtocolAccelerated, TBinaryProtocolAcceleratedFactory
from thrift.server.TServer import TThreadedServer
from thrift.transport.TSocket import TServerSocket
from thrift.transport.TTransport import (
    TBufferedTransportFactory,
    TFramedTransportFactory,
    TMemoryBuffer,
    TTransportException,
)

HOST = "127.0.0.1"
SCORES = {f"label/{number}": -1.5 - number for number in range(7)}
TWISTED = 'quote " backslash \\ percent % plus + ampersand & tab \t umlaut ä emoji 😀'
DOCUMENTS = ("ok", "set an alarm", TWISTED)
ERRORS = {
    "overloaded": ErrorCode.OVERLOADED,
    "invalid": ErrorCode.INVALID_ARGUMENT,
    "loading": ErrorCode.UNAVAILABLE,
}
STATUSES = {"overloaded": 429, "loading": 503}
#: a page in the form of mosec's, with two workers
METRICS = """# TYPE mosec_service_batch_size histogram
mosec_service_batch_size_bucket{stage="Classifier_1",connection="1",le="+Inf"} 10
mosec_service_batch_size_sum{stage="Classifier_1",connection="2"} 100.0
mosec_service_batch_size_count{stage="Classifier_1",connection="2"} 10
mosec_service_batch_size_sum{stage="Classifier_1",connection="1"} 60.0
mosec_service_batch_size_count{stage="Classifier_1",connection="1"} 6
"""


class Handler:
    """Answers predict by the document, and counts."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._calls = 0
        self._closed = False

    def predict(self, doc: str, options: object) -> dict[str, float]:
        """Known documents: scores. Or: an error by its name, a closed connection, `wait N` milliseconds."""
        with self._lock:
            self._calls += 1
            close = doc == "close" or (doc == "close once" and not self._closed)
            self._closed = self._closed or close
        if close:
            raise TTransportException(message="as asked")  # what the threaded server closes a connection for
        if doc in ERRORS:
            raise PredictionError(ERRORS[doc], "as asked")
        if doc.startswith("wait "):
            time.sleep(float(doc.removeprefix("wait ")) / 1000)
        elif doc not in (*DOCUMENTS, "close once"):
            raise RuntimeError("unknown document")  # a TApplicationException
        return SCORES

    def predict_batch(self, docs: list[str], options: object) -> list[dict[str, float]]:
        """The same for each."""
        return [self.predict(doc, options) for doc in docs]

    def status(self) -> ServerStatus:
        """Counts every call as half a batch."""
        counts = dict.fromkeys(("queue_depth", "queue_tokens", "running", "failed", "overloaded", "expired"), 0)
        model = ModelStatus(
            name="responder",
            state=ModelState.READY,
            accepted=self._calls,
            completed=self._calls,
            cancelled=0,
            batches=self._calls // 2,
            **counts,
        )
        return ServerStatus(version="0", uptime_s=0, ready=True, reasons=[], connections=0, models=[model])


def serve_thrift(port: int, framed: bool) -> None:
    """Until the process is ended."""
    transport = TFramedTransportFactory() if framed else TBufferedTransportFactory()
    socket, protocol = TServerSocket(HOST, port), TBinaryProtocolAcceleratedFactory()
    TThreadedServer(Predictor.Processor(Handler()), socket, transport, protocol, daemon=True).serve()


async def answer_http(request: web.Request) -> web.StreamResponse:
    """The same documents over HTTP; `chunked` answers without a length."""
    doc = request.query["doc"] if request.method == "GET" else (await request.json())[request.query.get("field", "doc")]
    if doc in STATUSES:
        return web.json_response({}, status=STATUSES[doc])
    if doc == "chunked":
        response = web.StreamResponse()
        response.enable_chunked_encoding()
        await response.prepare(request)
        for part in (b'{"label/0":', b" -1.5}"):
            await response.write(part)
        await response.write_eof()
        return response
    return web.json_response(SCORES, status=200 if doc in DOCUMENTS else 500)


async def answer_metrics(_request: web.Request) -> web.Response:
    """As mosec's page."""
    return web.Response(text=METRICS)


def serve_http(port: int) -> None:
    """Until the process is ended."""
    app = web.Application()
    app.add_routes([web.get("/metrics", answer_metrics), web.route("*", "/", answer_http)])
    web.run_app(app, host=HOST, port=port, print=lambda *_: None)


class FastReply(asyncio.Protocol):
    """Gives every request the same reply with its own sequence id: the least that a server can do."""

    ID_AT = 4 + 4 + len("predict")

    def __init__(self, reply: bytes) -> None:
        self._head, self._tail = reply[: self.ID_AT], reply[self.ID_AT + 4 :]

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep it to answer on."""
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        """One whole request: the generator never sends two at once."""
        self._transport.write(self._head + data[self.ID_AT : self.ID_AT + 4] + self._tail)  # type: ignore[attr-defined]


async def serve_fast(port: int) -> None:
    """Until the process is ended."""
    buffer = TMemoryBuffer()
    protocol = TBinaryProtocolAccelerated(buffer)
    protocol.writeMessageBegin("predict", 2, 0)
    Predictor.predict_result(success=SCORES).write(protocol)
    server = await asyncio.get_running_loop().create_server(lambda: FastReply(buffer.getvalue()), HOST, port)
    await server.serve_forever()


def main() -> None:
    """Serve sys.argv[1] on the port sys.argv[2]."""
    kind, port = sys.argv[1], int(sys.argv[2])
    if kind == "fast":
        uvloop.run(serve_fast(port))
    elif kind == "http":
        serve_http(port)
    else:
        serve_thrift(port, framed=kind == "thrift-framed")


if __name__ == "__main__":
    main()
