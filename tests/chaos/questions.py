"""Good requests of both ports: the bytes, and what of an answer counts."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from predictor import Predictor
from predictor.ttypes import ChatMessage, GenerationOptions, PredictionError, RequestOptions
from thrift.protocol.TBinaryProtocol import TBinaryProtocol
from thrift.protocol.TCompactProtocol import TCompactProtocol
from thrift.protocol.TJSONProtocol import TJSONProtocol
from thrift.transport.TTransport import TMemoryBuffer

from tests.server.transport.service import frame, read_answer
from tests.support.zoo import POISON

if TYPE_CHECKING:
    from tests.chaos.line import HttpAnswer, Line

TEXTS = (
    "set an alarm for tomorrow at seven",
    "what is the weather like in the harbour",
    "we met Ada Lovelace in London",
    "a boat and a lamp " * 9,
    "Grüße aus Köln, 你好",
    "one",
)
TOKENS = 12
MODEL_FAILED = 500

_PROTOCOLS = {"binary": TBinaryProtocol, "compact": TCompactProtocol, "json": TJSONProtocol}
_GREEDY = {"max_tokens": TOKENS, "temperature": 0.0, "seed": 1}
_CHANGES = ("id", "created", "request_id", "created_at", "system_fingerprint", "item_id")
"""Fields of answers over HTTP that differ each time."""


class RefusedError(Exception):
    """A good request was answered with an error."""


@dataclass(frozen=True)
class ThriftQuestion:
    """A call, in a frame."""

    name: str
    method: str
    data: bytes
    protocol: str
    port = "thrift"

    async def ask(self, line: Line) -> Any:
        """The result as plain data. Raises RefusedError, ConnectionError and EOFError."""
        return await _called(line, self.data, self.method, self.protocol)


@dataclass(frozen=True)
class ThriftStream:
    """A text that is fetched piece by piece."""

    name: str
    method: str
    data: bytes
    port = "thrift"

    async def ask(self, line: Line) -> Any:
        """The text and why it ended."""
        stream = await _called(line, self.data, self.method, "binary")
        pieces = []
        while True:
            chunk = await _called(line, frame(call_of("generate_next", stream, 1000)), "generate_next", "binary")
            pieces.append(chunk["text"])
            if chunk["finish_reason"] is not None:
                return "".join(pieces), chunk["finish_reason"], chunk["token_count"]


@dataclass(frozen=True)
class HttpQuestion:
    """A request, whose answer may be a stream."""

    name: str
    data: bytes
    port = "http"
    status: int = 200

    async def ask(self, line: Line) -> Any:
        """What counts of the body."""
        line.send(self.data)
        answer = await line.http_answer()
        if answer.status != self.status:
            raise RefusedError(f"{answer.status} {answer.body[:300]!r}")
        return _of_http(answer)


@dataclass(frozen=True)
class Failing:
    """A request whose model raises: the answer is an error, and the right one."""

    name: str
    question: ThriftQuestion | HttpQuestion

    @property
    def port(self) -> str:
        """Which one it goes to."""
        return self.question.port

    async def ask(self, line: Line) -> Any:
        """True, where it is the error that is due."""
        try:
            found = await self.question.ask(line)
        except RefusedError as error:
            if "INTERNAL" in str(error) or "code=8" in str(error):
                return "INTERNAL"
            raise
        return found


async def _called(line: Line, data: bytes, method: str, protocol: str) -> Any:
    line.send(data)
    answer = await line.framed_answer()
    _, value = read_answer(_PROTOCOLS[protocol](TMemoryBuffer(answer)), method)
    if isinstance(value, PredictionError):
        raise RefusedError(f"code={value.code} {value.message}")
    if isinstance(value, Exception):
        raise RefusedError(str(value))
    return plain(value)


def plain(value: Any) -> Any:
    """The contract's structs as dicts."""
    if isinstance(value, list):
        return [plain(item) for item in value]
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    if hasattr(value, "thrift_spec"):
        return {field[2]: plain(getattr(value, field[2])) for field in value.thrift_spec if field is not None}
    return value


def _of_http(answer: HttpAnswer) -> Any:
    kind = answer.headers.get("content-type", "")
    if kind.startswith("application/json"):
        return _lasting(json.loads(answer.body))
    text = answer.body.decode()
    if not kind.startswith("text/event-stream"):
        return text
    events = [line.removeprefix("data: ") for line in text.splitlines() if line.startswith("data: ")]
    if events[-1] == "[DONE]":
        events.pop()
    return _streamed([json.loads(event) for event in events])


def _streamed(events: list[Any]) -> Any:
    """The text as a whole: how it is cut differs each time."""
    if "choices" in events[0]:
        choices = [choice for event in events for choice in event["choices"]]
        pieces = [choice.get("text") or choice.get("delta", {}).get("content") or "" for choice in choices]
        return "".join(pieces), [choice["finish_reason"] for choice in choices if choice["finish_reason"]]
    return "".join(event["text"] for event in events), events[-1]["finish_reason"], events[-1]["token_count"]


def _lasting(value: Any) -> Any:
    if isinstance(value, list):
        return [_lasting(item) for item in value]
    if isinstance(value, dict):
        return {key: _lasting(item) for key, item in value.items() if key not in _CHANGES}
    return value


Question = ThriftQuestion | ThriftStream | HttpQuestion | Failing


def questions() -> list[Question]:
    """All of them; each has one right answer."""
    made: list[Question] = []
    for index, text in enumerate(TEXTS):
        made += _of_thrift(index, text)
        made += _of_http_port(index, text)
    poison = f"the {POISON} of it"
    made += [
        Failing("thrift raises", _call("raises", "binary", "predict", poison, RequestOptions(model="poison"))),
        Failing("http raises", _post("raises", "/predict", {"doc": poison, "model": "poison"})),
    ]
    return made


def _of_thrift(index: int, text: str) -> list[Question]:
    protocol = tuple(_PROTOCOLS)[index % 3]
    greedy = GenerationOptions(**_GREEDY)
    chat = [ChatMessage("user", text)]
    return [
        _call(f"predict {index}", protocol, "predict", text, None),
        _call(f"predict beside raising {index}", protocol, "predict", text, RequestOptions(model="poison")),
        _call(f"predict_batch {index}", protocol, "predict_batch", [text, *TEXTS[:3]], None),
        _call(f"embed {index}", protocol, "embed", text, None, None),
        _call(f"embed_matrix {index}", protocol, "embed_matrix", [text, *TEXTS[:2]], None, None),
        _call(f"embed_sparse {index}", protocol, "embed_sparse", [text], None, None),
        _call(f"classify_tokens {index}", protocol, "classify_tokens", text, None, None),
        _call(f"rerank {index}", protocol, "rerank", text, list(TEXTS[:4]), None, None),
        _call(f"reply {index}", protocol, "reply", text, None, None),
        _call(f"tokenize {index}", protocol, "tokenize", [text], None, None),
        _call(f"generate {index}", protocol, "generate", text, greedy, RequestOptions(model="generator")),
        _call(f"chat {index}", protocol, "chat", chat, greedy, None, None),
        ThriftStream(
            f"generate_begin {index}",
            "generate_begin",
            frame(call_of("generate_begin", text, greedy, RequestOptions(model="generator"))),
        ),
        ThriftStream(f"chat_begin {index}", "chat_begin", frame(call_of("chat_begin", chat, greedy, None, None))),
    ]


def _of_http_port(index: int, text: str) -> list[Question]:
    generate = {"prompt": text, "model": "generator", **_GREEDY}
    chat = {"model": "chat", "messages": [{"role": "user", "content": text}], **_GREEDY}
    return [
        _post(f"/predict {index}", "/predict", {"doc": text}),
        _post(f"/predict docs {index}", "/predict", {"docs": [text, *TEXTS[:3]]}),
        _post(f"/embed {index}", "/embed", {"texts": [text, *TEXTS[:2]]}),
        _post(f"/v1/embeddings {index}", "/v1/embeddings", {"model": "encoder", "input": text}),
        _post(f"/rerank {index}", "/rerank", {"query": text, "texts": list(TEXTS[:4])}),
        _post(f"/reply {index}", "/reply", {"message": text}),
        _post(f"/generate {index}", "/generate", generate),
        _post(f"/generate stream {index}", "/generate", generate | {"stream": True}),
        _post(f"/v1/chat/completions {index}", "/v1/chat/completions", chat),
        _post(f"/v1/chat/completions stream {index}", "/v1/chat/completions", chat | {"stream": True}),
        HttpQuestion(f"GET /?doc= {index}", b"GET /?doc=set+an+alarm+%d HTTP/1.1\r\nHost: localhost\r\n\r\n" % index),
    ]


def _call(name: str, protocol: str, method: str, *arguments: Any) -> ThriftQuestion:
    data = frame(call_of(method, *arguments, protocol=_PROTOCOLS[protocol]))
    return ThriftQuestion(f"{name} ({protocol})", method, data, protocol)


def call_of(method: str, *arguments: Any, protocol: Any = TBinaryProtocol) -> bytes:
    """A call as a generated client writes it, without a frame."""
    buffer = TMemoryBuffer()
    getattr(Predictor.Client(protocol(buffer)), f"send_{method}")(*arguments)
    written: bytes = buffer.getvalue()
    return written


def _post(name: str, path: str, fields: dict[str, Any]) -> HttpQuestion:
    return HttpQuestion(name, post(path, json.dumps(fields).encode()))


def post(path: str, body: bytes, content_type: str = "application/json", more: str = "") -> bytes:
    """A request with a body."""
    head = f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: {content_type}\r\n{more}"
    return f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body
