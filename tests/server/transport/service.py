"""A Thrift server with a small real handler, run in a thread of the test, and the bytes to talk to it."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import threading
import time
import traceback
from typing import TYPE_CHECKING, Any

import uvloop
from predictor import Predictor
from predictor.ttypes import (
    BatchJob,
    BatchState,
    ChatCompletion,
    ChatMessage,
    ChatPrompt,
    EmbeddingMatrix,
    Entity,
    FinishReason,
    Generation,
    GenerationChunk,
    ModelInfo,
    ModelLimits,
    ModelState,
    PredictionError,
    Ranked,
    RequestOptions,
    ScoredLabel,
    ServerStatus,
    SparseVector,
    Token,
)
from thrift.protocol.TBinaryProtocol import TBinaryProtocol
from thrift.protocol.TCompactProtocol import TCompactProtocol
from thrift.Thrift import TApplicationException, TMessageType
from thrift.transport.TTransport import TMemoryBuffer

from server.calls import Pending
from server.errors import not_found, overloaded
from server.transport.limits import Limits
from server.transport.server import ThriftServer
from tests.server.transport.thrift_clients import HOST, client

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


class RecordingLog:
    """Keeps what a structlog logger would write, as (level, event, fields); of an error's frames how many there are."""

    def __init__(self) -> None:
        self.lines: list[tuple[str, str, dict[str, Any]]] = []

    def debug(self, event: str, **fields: Any) -> None:
        self.lines.append(("debug", event, fields))

    def info(self, event: str, **fields: Any) -> None:
        self.lines.append(("info", event, fields))

    def warning(self, event: str, **fields: Any) -> None:
        self.lines.append(("warning", event, fields))

    def error(self, event: str, **fields: Any) -> None:
        if isinstance(cause := fields.get("exc_info"), BaseException):
            fields["frames"] = len(traceback.extract_tb(cause.__traceback__))
        self.lines.append(("error", event, fields))

    def find(self, level: str, text: str) -> list[dict[str, Any]]:
        """The fields of the lines of that level whose event contains `text`."""
        return [fields for line_level, event, fields in self.lines if line_level == level and text in event]


class Handler:
    """Answers every method from its arguments. A document that begins with a word and a colon asks for more:

    `wait:NAME` waits until `release(NAME)`; `future:SECONDS` awaits asyncio.sleep; `stubborn:` waits for ever and fails
    when it is cancelled; `raise:`, `error:`, `cancel:`, `nothing:` and `nonsense:` end as they say.
    """

    def __init__(self) -> None:
        self.waiting: dict[str, Pending[None]] = {}
        self.abandoned: list[str] = []
        self.started = 0

    async def predict(self, doc: str, options: RequestOptions | None) -> Any:
        self.started += 1
        order, _, argument = doc.partition(":")
        if order == "wait":
            pending = self.waiting[argument] = Pending(lambda: self.abandoned.append(argument))
            await pending
        elif order == "future":
            await asyncio.sleep(float(argument))
        elif order == "raise":
            raise RuntimeError("a secret detail")
        elif order == "error":
            raise overloaded("the queue is full", 50)
        elif order == "cancel":
            raise asyncio.CancelledError
        elif order == "stubborn":
            try:
                await Pending()
            finally:
                raise RuntimeError("would not be cancelled")
        elif order in ("nothing", "nonsense"):
            return None if order == "nothing" else {"label": "not a number"}
        answer = {doc[:100]: float(len(doc))}
        if options is not None and options.timeout_ms is not None:
            answer["timeout_ms"] = float(options.timeout_ms)
        return answer

    async def predict_batch(self, docs: list[str], options: Any) -> list[dict[str, float]]:
        return [{doc[:100]: float(len(doc))} for doc in docs]

    async def reply(self, message: str, options: Any, reply_options: Any) -> dict[str, float]:
        return {message: reply_options.threshold if reply_options else 0.5}

    async def reply_batch(self, messages: list[str], options: Any, reply_options: Any) -> list[dict[str, float]]:
        return [{message: 0.5} for message in messages]

    async def reply_conversation(self, messages: list[str], options: Any, reply_options: Any) -> dict[str, float]:
        return dict.fromkeys(messages, 0.5)

    async def classify(self, texts: list[str], options: Any, classify_options: Any) -> list[list[ScoredLabel]]:
        return [[ScoredLabel(text, 0.5)] for text in texts]

    async def classify_tokens(self, text: str, options: Any, token_options: Any) -> list[Entity]:
        return [Entity("PER", 0.5, text, 0, len(text))]

    async def classify_tokens_batch(self, texts: list[str], options: Any, token_options: Any) -> list[list[Entity]]:
        return [[Entity("PER", 0.5, text, 0, len(text))] for text in texts]

    async def rerank(self, query: str, texts: list[str], options: Any, rerank_options: Any) -> list[Ranked]:
        return [Ranked(index, float(len(query))) for index in range(len(texts))]

    async def embed(self, text: str, options: Any, embed_options: Any) -> list[float]:
        return [float(ord(character)) for character in text]

    async def embed_batch(self, texts: list[str], options: Any, embed_options: Any) -> list[list[float]]:
        return [[float(len(text))] for text in texts]

    async def embed_matrix(self, texts: list[str], options: Any, embed_options: Any) -> EmbeddingMatrix:
        return EmbeddingMatrix(len(texts), 1, b"\0\xff\0\0" * len(texts))

    async def embed_ids(self, ids: list[list[int]], options: Any, embed_options: Any) -> EmbeddingMatrix:
        return EmbeddingMatrix(len(ids), 1, b"\0\xff\0\0" * len(ids))

    async def embed_tokens(self, texts: list[str], options: Any, embed_options: Any) -> list[EmbeddingMatrix]:
        return [EmbeddingMatrix(1, 1, b"\0\xff\0\0") for _ in texts]

    async def embed_sparse(self, texts: list[str], options: Any, sparse_options: Any) -> list[SparseVector]:
        return [SparseVector([7], [0.5]) for _ in texts]

    async def tokenize(self, texts: list[str], options: Any, tokenize_options: Any) -> list[list[Token]]:
        return [[Token(7, text, 0, len(text))] for text in texts]

    async def chat(
        self, messages: list[ChatMessage], generation_options: Any, options: Any, chat_options: Any
    ) -> ChatCompletion:
        return ChatCompletion(messages[-1].content, [], len(messages), FinishReason.END_OF_TEXT)

    async def chat_begin(
        self, messages: list[ChatMessage], generation_options: Any, options: Any, chat_options: Any
    ) -> str:
        return str(messages[-1].content)

    async def chat_prompt(self, messages: list[ChatMessage], options: Any, chat_options: Any) -> ChatPrompt:
        return ChatPrompt(str(messages[-1].content), list(range(len(messages))))

    async def detokenize(self, ids: list[list[int]], options: Any) -> list[str]:
        return [" ".join(map(str, each)) for each in ids]

    async def generate(self, prompt: str, generation_options: Any, options: Any) -> Generation:
        return Generation(prompt, " world", 1, FinishReason.LENGTH)

    async def generate_begin(self, prompt: str, generation_options: Any, options: Any) -> str:
        return "stream-1"

    async def generate_next(self, stream_id: str, wait_ms: int) -> GenerationChunk:
        return GenerationChunk(f"{stream_id} after {wait_ms}", 1)

    async def generate_cancel(self, stream_id: str) -> None:
        return None

    async def submit_batch(self, request: Any) -> BatchJob:
        return BatchJob("job-1", BatchState.QUEUED, request, 0.0, 0, 0, 0, 1, 1.5)

    async def get_batch(self, id: str) -> BatchJob:  # noqa: A002  # the contract's name
        raise not_found(f"no job {id}")

    async def cancel_batch(self, id: str) -> BatchJob:  # noqa: A002  # the contract's name
        raise not_found(f"no job {id}")

    async def resume_batch(self, id: str) -> BatchJob:  # noqa: A002  # the contract's name
        raise not_found(f"no job {id}")

    async def list_batches(self, limit: int) -> list[BatchJob]:
        return []

    async def list_models(self) -> list[ModelInfo]:
        limits = ModelLimits(1, 2, 3, 4, 5, 6)
        return [ModelInfo("m", "v", "k", ModelState.READY, "l", ["predict"], [], limits, False, {"labels": "2"})]

    async def load_model(self, name: str, location: str) -> ModelInfo:
        raise not_found(f"no model at {location}")

    async def unload_model(self, name: str) -> None:
        return None

    async def status(self) -> ServerStatus:
        return ServerStatus("0", 1.0, True, [], 1, [])


class RunningServer:
    """A ThriftServer on an event loop of its own, in a thread."""

    def __init__(self, limits: Limits, *, proxy_protocol: bool = False) -> None:
        self.log = RecordingLog()
        self.handler = Handler()
        self.server = ThriftServer(self.handler, limits, self.log)
        self._loop = uvloop.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="thrift-server")
        self._thread.start()
        self.run(self.server.start(HOST, 0, proxy_protocol=proxy_protocol))
        self.port = self.server.port

    def run(self, coroutine: Any) -> Any:
        """Run a coroutine on the server's loop; gives its result."""
        return self.later(coroutine).result(60)

    def later(self, coroutine: Any) -> Any:
        """Run a coroutine on the server's loop; gives its future."""
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop)

    def release(self, name: str) -> None:
        """Let the call go on that waits under this name."""
        until(lambda: name in self.handler.waiting)
        self._loop.call_soon_threadsafe(lambda: self.handler.waiting.pop(name).resolve(None))

    def stop(self) -> None:
        """Close the server and end its thread."""

        async def close() -> None:
            self.server.close()
            await asyncio.sleep(0.01)  # the connections get to know

        self.run(close())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(60)
        self._loop.close()

    def answers(self) -> None:
        """Fail unless a good request on a new connection is answered."""
        with client(self.port) as good:
            assert good.predict("good", RequestOptions(timeout_ms=7)) == {"good": 4.0, "timeout_ms": 7.0}


@contextlib.contextmanager
def running(limits: Limits | None = None, *, proxy_protocol: bool = False) -> Iterator[RunningServer]:
    """A server for the length of a block."""
    server = RunningServer(limits or Limits(), proxy_protocol=proxy_protocol)
    try:
        yield server
    finally:
        server.stop()


def until(condition: Callable[[], object], timeout_s: float = 60.0) -> None:
    """Wait for a condition that another thread brings about."""
    end = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < end, "it did not come about in time"
        time.sleep(0.002)


def stands_still(count: Callable[[], int]) -> bool:
    """Whether a count stays the same for a while."""
    before = count()
    time.sleep(0.2)
    return count() == before


# ------------------------------------------------------------------------------------------------------ bytes by hand


def envelope(name: str, *, seqid: int = 1, kind: int = TMessageType.CALL, protocol: Any = TBinaryProtocol) -> bytes:
    """The beginning of a message."""
    buffer = TMemoryBuffer()
    protocol(buffer).writeMessageBegin(name, kind, seqid)
    return buffer.getvalue()


def message(name: str, *arguments: Any, protocol: Any = TBinaryProtocol, **of_envelope: Any) -> bytes:
    """A whole message of a method of the contract."""
    buffer = TMemoryBuffer()
    getattr(Predictor, f"{name}_args")(*arguments).write(protocol(buffer))
    return envelope(name, protocol=protocol, **of_envelope) + buffer.getvalue()


def frame(content: bytes) -> bytes:
    """A frame around it."""
    return len(content).to_bytes(4, "big") + content


class Peer:
    """A raw connection."""

    def __init__(self, port: int, timeout_s: float = 60.0) -> None:
        self.socket = socket.create_connection((HOST, port), timeout_s)
        self.port: int = self.socket.getsockname()[1]

    def __enter__(self) -> Peer:
        return self

    def __exit__(self, *_: object) -> None:
        self.socket.close()

    def send(self, data: bytes) -> None:
        self.socket.sendall(data)

    def receive(self, size: int) -> bytes:
        """Exactly so many bytes; EOFError when the connection ends before."""
        data = bytearray()
        while len(data) < size:
            piece = self.socket.recv(min(size - len(data), 1 << 16))
            if not piece:
                raise EOFError(f"the connection ended after {len(data)} of {size} bytes")
            data += piece
        return bytes(data)

    def receive_frame(self) -> bytes:
        return self.receive(int.from_bytes(self.receive(4), "big"))

    def answer(self, *, framed: bool, protocol: Any = TBinaryProtocol, method: str = "predict") -> tuple[int, Any]:
        """The next answer: its sequence id, and the result, or the exception that is in its place."""
        transport = TMemoryBuffer(self.receive_frame()) if framed else _Stream(self)
        return read_answer(protocol(transport), method)

    def is_closed(self) -> bool:
        """Whether the server has closed, without having sent anything."""
        try:
            return self.socket.recv(1) == b""
        except ConnectionResetError:
            return True


class _Stream:
    """The thrift package's way of reading, on a Peer."""

    def __init__(self, peer: Peer) -> None:
        self._peer = peer

    def readAll(self, size: int) -> bytes:  # noqa: N802  # the thrift package's name
        return self._peer.receive(size)

    read = readAll


def read_answer(protocol: Any, method: str = "predict") -> tuple[int, Any]:
    """Read an answer: its sequence id, and the result, or the exception that is in its place."""
    _, kind, seqid = protocol.readMessageBegin()
    if kind == TMessageType.EXCEPTION:
        error = TApplicationException()
        error.read(protocol)
        return seqid, error
    assert kind == TMessageType.REPLY
    result = getattr(Predictor, f"{method}_result")()
    result.read(protocol)
    return seqid, result.failure if result.failure is not None else getattr(result, "success", None)


def refused(answer: Any, code: int, *parts: str) -> None:
    """Fail unless `answer` is a PredictionError with this code and these parts in its message."""
    assert isinstance(answer, PredictionError), answer
    assert answer.code == code, answer
    for part in parts:
        assert part in answer.message, answer.message


PROTOCOLS = (TBinaryProtocol, TCompactProtocol)
