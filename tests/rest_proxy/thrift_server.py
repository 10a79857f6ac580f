"""A real Thrift server to test the proxy with: Apache's TThreadedServer, with answers that a test chooses.

It takes THeader frames too: so the proxy hands on the tokens of its clients.
"""

from __future__ import annotations

import contextlib
import socket
import struct
import threading
import time
from typing import TYPE_CHECKING, Any

from predictor import Predictor
from predictor.ttypes import (
    BatchJob,
    BatchRequest,
    BatchState,
    ChatCompletion,
    ChatPrompt,
    EmbeddingMatrix,
    Entity,
    ErrorCode,
    FinishReason,
    Generation,
    GenerationChunk,
    ModelInfo,
    ModelLimits,
    ModelState,
    PredictionError,
    Ranked,
    ScoredLabel,
    ServerStatus,
    SparseVector,
    Token,
)
from thrift.protocol.THeaderProtocol import THeaderProtocolFactory
from thrift.server.TServer import TThreadedServer
from thrift.transport.THeaderTransport import THeaderClientType
from thrift.transport.TSocket import TServerSocket
from thrift.transport.TTransport import TTransportFactoryBase

from rest_proxy.config import Address

if TYPE_CHECKING:
    from collections.abc import Callable

SCORES = {"weather/find": -4.25, "alarm/set_alarm": -0.015625, "Zürich": -1e-07}
REPLIES = {
    "How are you sir?": 1.4489225149154663,
    "Hi, how are you doing?": 1.0899780782186133,
    "No pictures": 0.4019201695919037,
}
MODELS = [
    ("docnn", "torchscript-classifier", ModelState.READY, ["predict", "predict_batch"]),
    ("minilm", "encoder", ModelState.READY, ["embed", "embed_batch", "embed_matrix"]),
    ("gpt2", "generator", ModelState.READY, ["generate", "generate_begin"]),
    ("gpt3", "generator", ModelState.LOADING, ["generate", "generate_begin"]),
    ("classifier", "text-classifier", ModelState.READY, ["classify"]),
    ("reranker", "text-classifier", ModelState.READY, ["rerank"]),
]
LOADED_AT = 1764280000.5
WORDS = [" new", " föld", " of 🙂", " study"]


def vector(text: str) -> list[float]:
    """The server's vector of a text."""
    return [0.1, float(len(text)), -1e-9]


class ThriftServer:
    """The contract's methods, each with an answer that can be replaced (`predict = lambda doc, options: ...`)."""

    def __init__(self, port: int = 0, jobs: dict[str, BatchJob] | None = None) -> None:
        self.calls: list[tuple[str, tuple[Any, ...]]] = []
        self.ready = True
        self.streams: dict[str, list[GenerationChunk | Callable[[], GenerationChunk]]] = {}  # what is still to come
        self.chunks: list[GenerationChunk | Callable[[], GenerationChunk]] = [  # what a stream begins with
            *(GenerationChunk(word, index + 1) for index, word in enumerate(WORDS[:-1])),
            GenerationChunk(WORDS[-1], len(WORDS), FinishReason.LENGTH, 3),
        ]
        self.completion = ChatCompletion("".join(WORDS), [], len(WORDS), FinishReason.LENGTH, 3)
        self.jobs = {} if jobs is None else jobs
        self.jobs_end_at_once = False
        self.on_submit: Callable[[BatchRequest], Any] = lambda _request: None  # what happens before a job is accepted
        self.release = threading.Event()  # what a held call waits for
        self.held = threading.Semaphore(0)  # released once by every call that begins to wait
        self._socket = _ServerSocket(port)
        protocols = THeaderProtocolFactory((THeaderClientType.FRAMED_BINARY, THeaderClientType.HEADERS))
        self._server = TThreadedServer(
            Predictor.Processor(self), self._socket, TTransportFactoryBase(), protocols, daemon=True
        )
        self._socket.listen()
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    @property
    def address(self) -> Address:
        """Where it listens."""
        return Address("127.0.0.1", self._socket.port)

    @property
    def connections(self) -> list[socket.socket]:
        """Connections that were accepted, the proxy's monitor's first."""
        return self._socket.accepted

    def named(self, method: str) -> list[tuple[Any, ...]]:
        """Arguments of the calls of a method so far."""
        return [arguments for name, arguments in self.calls if name == method]

    def hold(self, doc: str, _options: Any) -> dict[str, float]:
        """An answer that comes when the test says so."""
        self.held.release()
        self.release.wait(60)
        return {doc: 1.0}

    def drop_connections(self) -> None:
        """Break every connection, as a dying process does."""
        self._socket.drop()

    def stop(self) -> None:
        """Stop listening, break every connection, and wait for the accepting thread's end."""
        self.release.set()
        if self._thread.is_alive():
            self._socket.stop_accepting()
            self._thread.join(60)
            assert not self._thread.is_alive()
            self._socket.close()
            self.drop_connections()

    def _serve(self) -> None:
        with contextlib.suppress(SystemExit):
            self._server.serve()

    def predict(self, doc: str, options: Any) -> dict[str, float]:
        self.calls.append(("predict", (doc, options)))
        return self.answer(doc, options)

    def answer(self, _doc: str, _options: Any) -> dict[str, float]:
        return SCORES

    def predict_batch(self, docs: list[str], options: Any) -> list[dict[str, float]]:
        self.calls.append(("predict_batch", (docs, options)))
        return [{doc: float(index)} for index, doc in enumerate(docs)]

    def reply(self, message: str, options: Any, reply_options: Any) -> dict[str, float]:
        self.calls.append(("reply", (message, options, reply_options)))
        return REPLIES

    def reply_batch(self, messages: list[str], options: Any, reply_options: Any) -> list[dict[str, float]]:
        self.calls.append(("reply_batch", (messages, options, reply_options)))
        return [{message: 1.5, "b": 1.0, "a": 0.5} for message in messages]

    def embed_matrix(self, texts: list[str], options: Any, embed_options: Any) -> EmbeddingMatrix:
        self.calls.append(("embed_matrix", (texts, options, embed_options)))
        numbers = [number for text in texts for number in vector(text)]
        return EmbeddingMatrix(len(texts), 3, struct.pack(f"<{len(numbers)}f", *numbers))

    def classify(self, texts: list[str], options: Any, classify_options: Any) -> list[list[ScoredLabel]]:
        self.calls.append(("classify", (texts, options, classify_options)))
        return [[ScoredLabel(text, 0.5)] for text in texts]

    def classify_tokens_batch(self, texts: list[str], options: Any, token_options: Any) -> list[list[Entity]]:
        self.calls.append(("classify_tokens_batch", (texts, options, token_options)))
        return [[Entity("PER", 0.5, text, 0, len(text))] for text in texts]

    def rerank(self, query: str, texts: list[str], options: Any, rerank_options: Any) -> list[Ranked]:
        self.calls.append(("rerank", (query, texts, options, rerank_options)))
        return [Ranked(index, 1 / (1 + index)) for index in range(len(texts))]

    def embed_tokens(self, texts: list[str], options: Any, embed_options: Any) -> list[EmbeddingMatrix]:
        self.calls.append(("embed_tokens", (texts, options, embed_options)))
        return [EmbeddingMatrix(1, 3, struct.pack("<3f", *vector(text))) for text in texts]

    def embed_sparse(self, texts: list[str], options: Any, sparse_options: Any) -> list[SparseVector]:
        self.calls.append(("embed_sparse", (texts, options, sparse_options)))
        return [SparseVector([len(text)], [0.5]) for text in texts]

    def tokenize(self, texts: list[str], options: Any, tokenize_options: Any) -> list[list[Token]]:
        self.calls.append(("tokenize", (texts, options, tokenize_options)))
        return [[Token(7, text, 0, len(text))] for text in texts]

    def detokenize(self, ids: list[list[int]], options: Any) -> list[str]:
        self.calls.append(("detokenize", (ids, options)))
        return [" ".join(map(str, each)) for each in ids]

    def generate(self, prompt: str, generation_options: Any, options: Any) -> Generation:
        self.calls.append(("generate", (prompt, generation_options, options)))
        return Generation(prompt, "".join(WORDS), len(WORDS), FinishReason.LENGTH, 3)

    def generate_begin(self, prompt: str, generation_options: Any, options: Any) -> str:
        self.calls.append(("generate_begin", (prompt, generation_options, options)))
        stream_id = f"stream-{len(self.calls)}"
        self.streams[stream_id] = list(self.chunks)
        return stream_id

    def chat(self, messages: Any, generation_options: Any, options: Any, chat_options: Any) -> ChatCompletion:
        self.calls.append(("chat", (messages, generation_options, options, chat_options)))
        return self.completion

    def chat_begin(self, messages: Any, generation_options: Any, options: Any, chat_options: Any) -> str:
        self.calls.append(("chat_begin", (messages, generation_options, options, chat_options)))
        stream_id = f"stream-{len(self.calls)}"
        self.streams[stream_id] = list(self.chunks)
        return stream_id

    def chat_prompt(self, messages: Any, options: Any, chat_options: Any) -> ChatPrompt:
        self.calls.append(("chat_prompt", (messages, options, chat_options)))
        return ChatPrompt("user: hello", [7, 8, 9])

    def generate_next(self, stream_id: str, wait_ms: int) -> GenerationChunk:
        self.calls.append(("generate_next", (stream_id, wait_ms)))
        if stream_id not in self.streams:
            raise PredictionError(ErrorCode.NOT_FOUND, "no such stream")
        chunk = self.streams[stream_id].pop(0)
        if not isinstance(chunk, GenerationChunk):
            chunk = chunk()
        if chunk.finish_reason is not None:
            del self.streams[stream_id]
        return chunk

    def generate_cancel(self, stream_id: str) -> None:
        self.calls.append(("generate_cancel", (stream_id,)))
        if self.streams.pop(stream_id, None) is None:
            raise PredictionError(ErrorCode.NOT_FOUND, "no such stream")

    def wait_for_release(self) -> GenerationChunk:
        """A chunk without text, when the test says so."""
        self.held.release()
        self.release.wait(60)
        return GenerationChunk("", 0)

    def submit_batch(self, request: BatchRequest) -> BatchJob:
        self.calls.append(("submit_batch", (request,)))
        self.on_submit(request)
        job_id = f"{self.address.port}-{len(self.jobs)}"
        state = BatchState.COMPLETED if self.jobs_end_at_once else BatchState.QUEUED
        self.jobs[job_id] = BatchJob(job_id, state, request, 0.0, 0, 0, 0, 0, time.time())
        return self.jobs[job_id]

    def get_batch(self, job_id: str) -> BatchJob:
        self.calls.append(("get_batch", (job_id,)))
        if job_id not in self.jobs:
            raise PredictionError(ErrorCode.NOT_FOUND, f"no job has the id {job_id!r}")
        return self.jobs[job_id]

    def cancel_batch(self, job_id: str) -> BatchJob:
        job = self.get_batch(job_id)
        self.end_job(BatchState.CANCELLED, job_id=job_id)
        return job

    def resume_batch(self, job_id: str) -> BatchJob:
        job = self.get_batch(job_id)
        self.calls.append(("resume_batch", (job_id,)))
        job.state = BatchState.QUEUED
        return job

    def list_batches(self, limit: int) -> list[BatchJob]:
        self.calls.append(("list_batches", (limit,)))
        return sorted(self.jobs.values(), key=lambda job: job.created_at, reverse=True)[:limit]

    def end_job(
        self, state: int, error: str | None = None, stage: int | None = None, job_id: str | None = None
    ) -> None:
        """Let a job, or the only one, have ended."""
        job = self.jobs[job_id] if job_id else next(iter(self.jobs.values()))
        job.state, job.error, job.failed_stage, job.finished_at = state, error, stage, time.time()

    def list_models(self) -> list[ModelInfo]:
        limits = ModelLimits(512, 1024, 65536, 32, 4096, 0)
        return [
            ModelInfo(
                name, "0123456789ab", kind, state, "m", methods, methods, limits, name == "docnn", loaded_at=LOADED_AT
            )
            for name, kind, state, methods in MODELS
        ]

    def status(self) -> ServerStatus:
        return ServerStatus("1.2.3", 12.5, self.ready, [] if self.ready else ["draining"], 1, [])


def refuse(code: int, retry_after_ms: int | None = None) -> Callable[[str, Any], dict[str, float]]:
    """An answer that is an error of the contract."""

    def answer(_doc: str, _options: Any) -> dict[str, float]:
        raise PredictionError(code, f"refused with {ErrorCode._VALUES_TO_NAMES[code]}", retry_after_ms)

    return answer


class _ServerSocket(TServerSocket):
    """Apache's, which can also be closed while it accepts, and knows what it accepted."""

    def __init__(self, port: int) -> None:
        super().__init__("127.0.0.1", port)
        self.accepted: list[socket.socket] = []
        self._stopped = False

    def listen(self) -> None:
        if self.handle is None:  # the server calls it too
            super().listen()
            self.port = self.handle.getsockname()[1]

    def accept(self) -> Any:
        try:
            client = super().accept()
        except OSError:
            if self._stopped:
                raise SystemExit from None  # ends the thread; after an Exception the server would only try again
            raise
        self.accepted.append(client.handle)
        return client

    def stop_accepting(self) -> None:
        self._stopped = True
        self.handle.shutdown(socket.SHUT_RDWR)

    def drop(self) -> None:
        accepted, self.accepted = self.accepted, []
        for connection in accepted:
            with contextlib.suppress(OSError):  # closed already, by its thread or by the client
                connection.shutdown(socket.SHUT_RDWR)
