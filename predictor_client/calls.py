"""One function for each method of the contract: its arguments to a Call, which knows how the answer is read.

Both clients make their calls here; nothing here waits.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Generic, NamedTuple, TypeVar

from predictor import ttypes

from predictor_client import results
from predictor_client.errors import ProtocolError
from predictor_client.types import (
    BatchJob,
    ChatCompletion,
    ChatMessage,
    ChatPrompt,
    EmbeddingMatrix,
    Entity,
    Generation,
    GenerationChunk,
    ModelInfo,
    Ranked,
    ScoredLabel,
    ServerStatus,
    SparseVector,
    Token,
)
from predictor_client.vectors import vector_of
from predictor_client.wire import Method

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from predictor_client.vectors import Matrix, Vector

    Options = Mapping[str, object]
    """As the TypedDicts of options.py have them."""
    Message = ChatMessage | Mapping[str, Any]

T = TypeVar("T")
_REQUEST_OPTIONS = ("model", "lane", "request_id")


@dataclass(frozen=True, slots=True)
class Call(Generic[T]):
    """A method, its arguments, and how its result becomes what the caller gets.

    `options`: the one of the arguments that carries the deadline to the server. `timeout`: seconds, or None.
    """

    method: Method
    arguments: tuple[Any, ...]
    convert: Callable[[Any], T]
    options: Any = None
    timeout: float | None = None

    def deadline(self) -> float | None:
        """On time.monotonic()'s clock, from now on."""
        return None if self.timeout is None else time.monotonic() + self.timeout

    def encode(self, seqid: int, deadline: float | None) -> bytes:
        """The message; the server is told how much time is left."""
        if self.options is not None and deadline is not None:
            self.options.timeout_ms = max(math.ceil((deadline - time.monotonic()) * 1000), 1)
        return self.method.encode(seqid, self.arguments)

    def decode(self, message: bytes, seqid: int) -> T:
        """Raises CallError and ProtocolError."""
        result = self.method.decode(message, seqid)
        try:
            return self.convert(result)
        except ValueError as error:
            raise ProtocolError(f"{self.method.name}: {error}") from error


class _Options(NamedTuple):
    """The contract's structs of a call: its own, if it has one, and the RequestOptions."""

    request: Any
    timeout: float | None
    own: tuple[Any, ...]


def _read(method: str, given: Options, *structs: Any) -> _Options:
    """Shares the options out between the structs. Raises TypeError for one that none of them has."""
    left = {name: value for name, value in given.items() if value is not None}
    timeout = left.pop("timeout", None)
    if timeout is not None and not (isinstance(timeout, (int, float)) and 0 < timeout < math.inf):
        raise ValueError(f"timeout is a number of seconds over 0, not {timeout!r}")
    request = ttypes.RequestOptions(**{name: left.pop(name) for name in _REQUEST_OPTIONS if name in left})
    own = []
    known = ["timeout", *_REQUEST_OPTIONS]
    for struct in structs:
        names = [field[2] for field in struct.thrift_spec if field is not None]
        taken = {name: _plain(name, left.pop(name)) for name in names if name in left}
        known += names
        own.append(struct(**taken) if taken else None)
    if left:
        raise TypeError(f"{method} has no option {', '.join(left)}; it has {', '.join(known)}")
    return _Options(request, timeout, tuple(own))


_JSON_OPTIONS = ("json_schema", "template_arguments")


def _plain(name: str, value: Any) -> Any:
    """An option's value as the generated structs want it."""
    if name == "tools":
        return [_json(tool) for tool in value]
    if name in _JSON_OPTIONS:
        return _json(value)
    if isinstance(value, Mapping):
        return dict(value)
    if isinstance(value, Sequence) and not isinstance(value, str):
        return list(value)
    return value


def _json(value: str | Mapping[str, Any]) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _texts(name: str, texts: Iterable[str]) -> list[str]:
    if isinstance(texts, (str, bytes)):
        raise TypeError(f"{name} are a list of strings, not one string")
    return list(texts)


def _ids(ids: Iterable[Iterable[int]]) -> list[list[int]]:
    return [[int(token) for token in text] for text in ids]


def _same(result: Any) -> Any:
    return result


def _messages(messages: Iterable[Message]) -> list[Any]:
    return [_message(message) for message in messages]


def _message(message: Message) -> Any:
    if isinstance(message, ChatMessage):
        return results.struct(ttypes.ChatMessage, message)
    fields = dict(message)
    calls = fields.get("tool_calls")
    if calls is not None:
        fields["tool_calls"] = [
            ttypes.ToolCall(**call) if isinstance(call, Mapping) else results.struct(ttypes.ToolCall, call)
            for call in calls
        ]
    return ttypes.ChatMessage(**fields)


# ------------------------------------------------------------------------------------------------------ classification


def predict(doc: str, options: Options) -> Call[dict[str, float]]:
    read = _read("predict", options)
    return Call(_PREDICT, (doc, read.request), _same, read.request, read.timeout)


def predict_batch(docs: Iterable[str], options: Options) -> Call[list[dict[str, float]]]:
    read = _read("predict_batch", options)
    return Call(_PREDICT_BATCH, (_texts("docs", docs), read.request), _same, read.request, read.timeout)


def classify(texts: Iterable[str], options: Options) -> Call[list[list[ScoredLabel]]]:
    read = _read("classify", options, ttypes.ClassifyOptions)
    arguments = (_texts("texts", texts), read.request, *read.own)
    return Call(_CLASSIFY, arguments, results.lists_of(ScoredLabel), read.request, read.timeout)


def classify_tokens(text: str, options: Options) -> Call[list[Entity]]:
    read = _read("classify_tokens", options, ttypes.TokenOptions)
    arguments = (text, read.request, *read.own)
    return Call(_CLASSIFY_TOKENS, arguments, results.list_of(Entity), read.request, read.timeout)


def classify_tokens_batch(texts: Iterable[str], options: Options) -> Call[list[list[Entity]]]:
    read = _read("classify_tokens_batch", options, ttypes.TokenOptions)
    arguments = (_texts("texts", texts), read.request, *read.own)
    return Call(_CLASSIFY_TOKENS_BATCH, arguments, results.lists_of(Entity), read.request, read.timeout)


def rerank(query: str, texts: Iterable[str], options: Options) -> Call[list[Ranked]]:
    read = _read("rerank", options, ttypes.RerankOptions)
    arguments = (query, _texts("texts", texts), read.request, *read.own)
    return Call(_RERANK, arguments, results.list_of(Ranked), read.request, read.timeout)


def reply(message: str, options: Options) -> Call[dict[str, float]]:
    read = _read("reply", options, ttypes.ReplyOptions)
    return Call(_REPLY, (message, read.request, *read.own), _same, read.request, read.timeout)


def reply_batch(messages: Iterable[str], options: Options) -> Call[list[dict[str, float]]]:
    read = _read("reply_batch", options, ttypes.ReplyOptions)
    arguments = (_texts("messages", messages), read.request, *read.own)
    return Call(_REPLY_BATCH, arguments, _same, read.request, read.timeout)


def reply_conversation(messages: Iterable[str], options: Options) -> Call[dict[str, float]]:
    read = _read("reply_conversation", options, ttypes.ReplyOptions)
    arguments = (_texts("messages", messages), read.request, *read.own)
    return Call(_REPLY_CONVERSATION, arguments, _same, read.request, read.timeout)


# ------------------------------------------------------------------------------------------------------------- vectors


def embed(text: str, options: Options) -> Call[Vector]:
    read = _read("embed", options, ttypes.EmbedOptions)
    return Call(_EMBED, (text, read.request, *read.own), _float_vector, read.request, read.timeout)


def _float_vector(numbers: list[float]) -> Vector:
    return vector_of(numbers, "<f4")


def embed_batch(texts: Iterable[str], options: Options) -> Call[Matrix]:
    """By embed_matrix, which costs a fraction of embed_batch to send."""
    read = _read("embed_batch", options, ttypes.EmbedOptions)
    arguments = (_texts("texts", texts), read.request, *read.own)
    return Call(_EMBED_MATRIX, arguments, _values, read.request, read.timeout)


def _values(struct: Any) -> Matrix:
    return results.embedding_matrix(struct).values


def embed_matrix(texts: Iterable[str], options: Options) -> Call[EmbeddingMatrix]:
    read = _read("embed_matrix", options, ttypes.EmbedOptions)
    arguments = (_texts("texts", texts), read.request, *read.own)
    return Call(_EMBED_MATRIX, arguments, results.embedding_matrix, read.request, read.timeout)


def embed_ids(ids: Iterable[Iterable[int]], options: Options) -> Call[EmbeddingMatrix]:
    read = _read("embed_ids", options, ttypes.EmbedOptions)
    arguments = (_ids(ids), read.request, *read.own)
    return Call(_EMBED_IDS, arguments, results.embedding_matrix, read.request, read.timeout)


def embed_tokens(texts: Iterable[str], options: Options) -> Call[list[EmbeddingMatrix]]:
    read = _read("embed_tokens", options, ttypes.EmbedOptions)
    arguments = (_texts("texts", texts), read.request, *read.own)
    return Call(_EMBED_TOKENS, arguments, results.list_of(EmbeddingMatrix), read.request, read.timeout)


def embed_sparse(texts: Iterable[str], options: Options) -> Call[list[SparseVector]]:
    read = _read("embed_sparse", options, ttypes.SparseOptions)
    arguments = (_texts("texts", texts), read.request, *read.own)
    return Call(_EMBED_SPARSE, arguments, results.list_of(SparseVector), read.request, read.timeout)


def tokenize(texts: Iterable[str], options: Options) -> Call[list[list[Token]]]:
    read = _read("tokenize", options, ttypes.TokenizeOptions)
    arguments = (_texts("texts", texts), read.request, *read.own)
    return Call(_TOKENIZE, arguments, results.lists_of(Token), read.request, read.timeout)


def detokenize(ids: Iterable[Iterable[int]], options: Options) -> Call[list[str]]:
    read = _read("detokenize", options)
    return Call(_DETOKENIZE, (_ids(ids), read.request), _same, read.request, read.timeout)


# ---------------------------------------------------------------------------------------------------------- generation


def generate(prompt: str, options: Options) -> Call[Generation]:
    read = _read("generate", options, ttypes.GenerationOptions)
    arguments = (prompt, *read.own, read.request)
    return Call(_GENERATE, arguments, results.of(Generation), read.request, read.timeout)


def generate_begin(prompt: str, options: Options) -> Call[str]:
    read = _read("generate_stream", options, ttypes.GenerationOptions)
    return Call(_GENERATE_BEGIN, (prompt, *read.own, read.request), _same, read.request, read.timeout)


def chat(messages: Iterable[Message], options: Options) -> Call[ChatCompletion]:
    read = _read("chat", options, ttypes.GenerationOptions, ttypes.ChatOptions)
    sampling, of_chat = read.own
    arguments = (_messages(messages), sampling, read.request, of_chat)
    return Call(_CHAT, arguments, results.of(ChatCompletion), read.request, read.timeout)


def chat_begin(messages: Iterable[Message], options: Options) -> Call[str]:
    read = _read("chat_stream", options, ttypes.GenerationOptions, ttypes.ChatOptions)
    sampling, of_chat = read.own
    arguments = (_messages(messages), sampling, read.request, of_chat)
    return Call(_CHAT_BEGIN, arguments, _same, read.request, read.timeout)


def chat_prompt(messages: Iterable[Message], options: Options) -> Call[ChatPrompt]:
    read = _read("chat_prompt", options, ttypes.ChatOptions)
    arguments = (_messages(messages), read.request, *read.own)
    return Call(_CHAT_PROMPT, arguments, results.of(ChatPrompt), read.request, read.timeout)


def generate_next(stream_id: str, wait_s: float) -> Call[GenerationChunk]:
    return Call(_GENERATE_NEXT, (stream_id, int(wait_s * 1000)), results.of(GenerationChunk))


def generate_cancel(stream_id: str) -> Call[None]:
    return Call(_GENERATE_CANCEL, (stream_id,), _same)


# ---------------------------------------------------------------------------------------------- jobs, models, status


def submit_batch(method: str, input: str, output: str, options: Options, timeout: float | None) -> Call[BatchJob]:  # noqa: A002 - the contract's name
    given = {name: value for name, value in options.items() if value is not None}
    request = ttypes.BatchRequest(method=method, input=input, output=output, **given)
    return Call(_SUBMIT_BATCH, (request,), results.of(BatchJob), timeout=timeout)


def get_batch(id: str, timeout: float | None) -> Call[BatchJob]:  # noqa: A002 - as above
    return Call(_GET_BATCH, (id,), results.of(BatchJob), timeout=timeout)


def cancel_batch(id: str, timeout: float | None) -> Call[BatchJob]:  # noqa: A002 - as above
    return Call(_CANCEL_BATCH, (id,), results.of(BatchJob), timeout=timeout)


def resume_batch(id: str, timeout: float | None) -> Call[BatchJob]:  # noqa: A002 - as above
    return Call(_RESUME_BATCH, (id,), results.of(BatchJob), timeout=timeout)


def list_batches(limit: int, timeout: float | None) -> Call[list[BatchJob]]:
    return Call(_LIST_BATCHES, (limit,), results.list_of(BatchJob), timeout=timeout)


def list_models(timeout: float | None) -> Call[list[ModelInfo]]:
    return Call(_LIST_MODELS, (), results.list_of(ModelInfo), timeout=timeout)


def load_model(name: str, location: str, timeout: float | None) -> Call[ModelInfo]:
    return Call(_LOAD_MODEL, (name, location), results.of(ModelInfo), timeout=timeout)


def unload_model(name: str, timeout: float | None) -> Call[None]:
    return Call(_UNLOAD_MODEL, (name,), _same, timeout=timeout)


def status(timeout: float | None) -> Call[ServerStatus]:
    return Call(_STATUS, (), results.of(ServerStatus), timeout=timeout)


_PREDICT = Method("predict")
_PREDICT_BATCH = Method("predict_batch")
_CLASSIFY = Method("classify")
_CLASSIFY_TOKENS = Method("classify_tokens")
_CLASSIFY_TOKENS_BATCH = Method("classify_tokens_batch")
_RERANK = Method("rerank")
_REPLY = Method("reply")
_REPLY_BATCH = Method("reply_batch")
_REPLY_CONVERSATION = Method("reply_conversation")
_EMBED = Method("embed")
_EMBED_MATRIX = Method("embed_matrix")
_EMBED_IDS = Method("embed_ids")
_EMBED_TOKENS = Method("embed_tokens")
_EMBED_SPARSE = Method("embed_sparse")
_TOKENIZE = Method("tokenize")
_DETOKENIZE = Method("detokenize")
_GENERATE = Method("generate")
_GENERATE_BEGIN = Method("generate_begin")  # a second stream that nobody reads ends by itself
_GENERATE_NEXT = Method("generate_next", repeatable=False)  # the text that it took may be lost
_GENERATE_CANCEL = Method("generate_cancel")
_CHAT = Method("chat")
_CHAT_BEGIN = Method("chat_begin")
_CHAT_PROMPT = Method("chat_prompt")
_SUBMIT_BATCH = Method("submit_batch", repeatable=False)  # there would be two jobs
_GET_BATCH = Method("get_batch")
_CANCEL_BATCH = Method("cancel_batch")
_RESUME_BATCH = Method("resume_batch")
_LIST_BATCHES = Method("list_batches")
_LIST_MODELS = Method("list_models")
_LOAD_MODEL = Method("load_model", repeatable=False)
_UNLOAD_MODEL = Method("unload_model", repeatable=False)
_STATUS = Method("status")
