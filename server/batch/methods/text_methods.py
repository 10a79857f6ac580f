"""The server's own methods as jobs see them: a line to an instance, an instance to a result, a result to JSON."""

from __future__ import annotations

from dataclasses import dataclass
from math import isfinite
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import orjson
from predictor.ttypes import (
    ClassifyOptions,
    EmbeddingMatrix,
    EmbedOptions,
    ErrorCode,
    FinishReason,
    GenerationOptions,
    RerankOptions,
    SparseOptions,
    SparseVector,
    TokenizeOptions,
    TokenOptions,
    VectorEncoding,
)

from process import options as table
from server.batch.methods.line_options import FIELD, is_of, line_options
from server.batch.state.errors import RowError
from server.errors import internal
from server.models import call_options as read
from server.models import pairs
from server.models.answers import best_labels
from server.models.capabilities import Capability
from server.models.requests import ReplyFilter
from server.models.sampling import sampling_of
from server.models.scores import as_json
from server.models.vectors import is_finite, matrix, sparse, sparse_is_finite

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping, Sequence

    from predictor.ttypes import Ranked, ScoredLabel

    from process.options import Option
    from server.models.model import Model
    from server.models.requests import Entity, Generated, RequestContext, Token

_KINDS = {dict: "an object without it", list: "a list", bool: "a boolean", type(None): "null"}


class WithOptions(NamedTuple):
    """An instance of a line that has options; of one without, it is the text alone, or the query and its texts."""

    text: Any
    options: Any


def _kind(value: Any) -> str:
    """Of a JSON value; only that, as the value itself may be of any size."""
    return _KINDS.get(type(value), "a number")


def _text_field(name: str) -> Callable[[Any], str]:
    """Takes the text from a line: the value itself, or its field of this name."""

    def instance(value: Any) -> str:
        text = value.get(name) if type(value) is dict else value
        if type(text) is str:
            return text
        expected = f"expected a string, or an object with the string {name!r}"
        raise RowError(ErrorCode.INVALID_ARGUMENT, f"{expected}, got {_kind(value)}")

    return instance


_prompt = _text_field("prompt")


def _prompt_with_options(value: Any) -> tuple[str, GenerationOptions]:
    """An object may also have fields of the contract's GenerationOptions."""
    prompt = _prompt(value)
    options = {}
    for name, option in table.GENERATION_OPTIONS.items() if type(value) is dict else ():
        given = value.get(name)
        if given is None:
            continue
        if not is_of(given, option):
            raise RowError(ErrorCode.INVALID_ARGUMENT, f"{name!r} is of the wrong type")
        options[name] = {int(token): bias for token, bias in given.items()} if option.type is dict else given
    return prompt, GenerationOptions(**options)


def _are_texts(value: Any) -> bool:
    return type(value) is list and all(type(item) is str for item in value)


def _query_and_texts(value: Any) -> tuple[str, list[str]]:
    if type(value) is dict and type(value.get("query")) is str and _are_texts(value.get("texts")):
        return value["query"], value["texts"]
    expected = "expected an object with the string 'query' and the list of strings 'texts'"
    got = "another object" if type(value) is dict else "a string" if type(value) is str else _kind(value)
    raise RowError(ErrorCode.INVALID_ARGUMENT, f"{expected}, got {got}")


def _or_with_options(
    instance: Callable[[Any], Any], struct: type, options: Mapping[str, Option]
) -> Callable[[Any], Any]:
    """The same instances, WithOptions where a line has some."""

    def with_options(value: Any) -> Any:
        text = instance(value)
        given = line_options(value, struct, options)
        return text if given is None else WithOptions(text, given)

    return with_options


def _parted(instance: Any) -> WithOptions:
    return instance if type(instance) is WithOptions else WithOptions(instance, None)


# ----------------------------------------------------------------------------------------------------------- the model


async def _predict(model: Model, instance: Any, context: RequestContext) -> list[ScoredLabel]:
    text, options = _parted(instance)
    wanted = read.labelling(options, model, FIELD)
    if wanted.candidate_labels:
        (scores,) = await pairs.label([text], wanted, model, context, lambda answer: _require(isfinite(sum(answer))))
    else:
        scores = await model.predict(text, wanted.classification, context)
        _require(isfinite(sum(scores.values())))
    return best_labels(scores, wanted.top_k)


async def _reply(model: Model, message: str, context: RequestContext) -> dict[str, float]:
    replies = await model.reply([message], ReplyFilter(), context)
    _require(isfinite(sum(replies.values())))
    return replies


async def _embed(model: Model, instance: Any, context: RequestContext) -> EmbeddingMatrix:
    text, options = _parted(instance)
    reading, shape = read.reading(options, model, FIELD), read.shape(options, model, FIELD)
    vector = await model.embed(text, reading, context)
    _require(is_finite(vector))
    return matrix([vector], None, shape)


async def _embed_tokens(model: Model, instance: Any, context: RequestContext) -> EmbeddingMatrix:
    text, options = _parted(instance)
    reading, shape = read.reading(options, model, FIELD), read.shape(options, model, FIELD)
    vectors = await model.embed_tokens(text, reading, context)
    _require(is_finite(vectors))
    return matrix([vectors], None, shape, model.dimensions)


async def _embed_sparse(model: Model, instance: Any, context: RequestContext) -> SparseVector:
    text, options = _parted(instance)
    reading, form = read.reading(options, model, FIELD), read.sparse_form(options, FIELD)
    numbers = await model.embed_sparse(text, reading, context)
    _require(sparse_is_finite(numbers))
    return sparse(numbers, form.max_active_dims, model.token_of if form.tokens else None)


async def _rerank(model: Model, instance: Any, context: RequestContext) -> list[Ranked]:
    (query, texts), options = _parted(instance)
    wanted = read.ranking(options, model, FIELD)
    return await pairs.rank(query, texts, wanted, model, context, lambda score: _require(isfinite(score)))


async def _classify_tokens(model: Model, instance: Any, context: RequestContext) -> list[Entity]:
    text, options = _parted(instance)
    found = await model.classify_tokens(text, read.tagging(options, FIELD), context)
    _require(isfinite(sum(entity.score for entity in found)))
    return found


async def _tokenize(model: Model, instance: Any, _context: RequestContext) -> list[Token]:
    text, options = _parted(instance)
    return await model.tokenize(text, read.special_tokens(options))


async def _generate(model: Model, instance: tuple[str, GenerationOptions], context: RequestContext) -> Generated:
    prompt, options = instance
    sampling = sampling_of(options, model.limits.max_output_tokens, model.sampling_defaults)
    tokens = await model.prompt_tokens(prompt, sampling)
    return await model.generate(tokens, await model.formed(sampling), context)


def _require(finite: bool) -> None:
    if not finite:
        raise internal("the model gave numbers that are NaN or infinite")


# ---------------------------------------------------------------------------------------------------------------- JSON


def _scores(labels: Sequence[ScoredLabel]) -> bytes:
    return b'"scores":' + orjson.dumps({one.label: one.score for one in labels})


def _replies(scores: dict[str, float]) -> bytes:
    return b'"replies":' + orjson.dumps(dict(sorted(scores.items(), key=lambda item: item[1], reverse=True)))


def _rows(vectors: EmbeddingMatrix) -> np.ndarray[Any, np.dtype[Any]]:
    """In a type that orjson writes."""
    if vectors.encoding == VectorEncoding.INT8:
        return np.frombuffer(vectors.values, np.int8).reshape(vectors.rows, -1).astype(np.int32)
    if vectors.encoding == VectorEncoding.BINARY:
        return np.frombuffer(vectors.values, np.uint8).reshape(vectors.rows, -1).astype(np.int32)
    return np.frombuffer(vectors.values, "<f4").reshape(vectors.rows, vectors.columns)


def _vector(vectors: EmbeddingMatrix) -> bytes:
    return b'"embedding":' + orjson.dumps(_rows(vectors)[0], option=orjson.OPT_SERIALIZE_NUMPY)


def _vectors(vectors: EmbeddingMatrix) -> bytes:
    rows: Any = _rows(vectors) if vectors.rows else []
    return b'"embedding":' + orjson.dumps(rows, option=orjson.OPT_SERIALIZE_NUMPY)


def _sparse(vector: SparseVector) -> bytes:
    values = np.array(vector.values, np.float32)  # in as few digits as these need
    named = {} if vector.tokens is None else {"tokens": vector.tokens}
    numbers = {"indices": vector.indices, "values": values, **named}
    return b'"embedding":' + orjson.dumps(numbers, option=orjson.OPT_SERIALIZE_NUMPY)


def _ranked(texts: Sequence[Ranked]) -> bytes:
    return b'"ranked":' + orjson.dumps([{"index": one.index, "score": one.score} for one in texts])


def _entities(found: Sequence[Entity]) -> bytes:
    names = ("label", "score", "text", "start", "stop", "index")
    return b'"entities":' + orjson.dumps([_set_fields(names, entity) for entity in found])


def _tokens(tokens: Sequence[Token]) -> bytes:
    return b'"tokens":' + orjson.dumps([_set_fields(("id", "text", "start", "stop"), token) for token in tokens])


def _set_fields(names: Sequence[str], values: Sequence[Any]) -> dict[str, Any]:
    return {name: value for name, value in zip(names, values, strict=True) if value is not None}


def _generated(done: Generated) -> bytes:
    reason = FinishReason._VALUES_TO_NAMES[done.finish_reason]
    given = {"logprobs": done.scores.generated, "prompt_logprobs": done.scores.prompt}
    scores = {name: as_json(scores) for name, scores in given.items() if scores is not None}
    answer = {"continuation": done.text, "token_count": done.token_count, "finish_reason": reason, **scores}
    return orjson.dumps(answer)[1:-1]


@dataclass(frozen=True, slots=True)
class TextMethod:
    """One of the server's own methods."""

    capability: Capability
    """What a model must have for it."""
    instance: Callable[[Any], Any]
    """Of a line's JSON value. Raises RowError."""
    call: Callable[[Model, Any, RequestContext], Awaitable[Any]]
    result: Callable[[Any], bytes]
    """What comes between an object's braces."""
    fields: tuple[str, ...]
    """The names that a result's fields may have."""
    native_result: bytes | None = None
    """What comes before a result that the model's own threads write; None where they cannot."""


_text = _text_field("text")

TEXT_METHODS = {
    "predict": TextMethod(
        Capability.CLASSIFY,
        _or_with_options(_text_field("doc"), ClassifyOptions, table.CLASSIFY_OPTIONS),
        _predict,
        _scores,
        ("scores",),
        b'"scores":',
    ),
    "reply": TextMethod(Capability.REPLY, _text_field("message"), _reply, _replies, ("replies",)),
    "embed": TextMethod(
        Capability.EMBED,
        _or_with_options(_text, EmbedOptions, table.EMBED_OPTIONS),
        _embed,
        _vector,
        ("embedding",),
        b'"embedding":',
    ),
    "generate": TextMethod(
        Capability.GENERATE,
        _prompt_with_options,
        _generate,
        _generated,
        ("continuation", "token_count", "finish_reason", "logprobs", "prompt_logprobs"),
    ),
    "rerank": TextMethod(
        Capability.RERANK,
        _or_with_options(_query_and_texts, RerankOptions, table.RERANK_OPTIONS),
        _rerank,
        _ranked,
        ("ranked",),
    ),
    "classify_tokens": TextMethod(
        Capability.CLASSIFY_TOKENS,
        _or_with_options(_text, TokenOptions, table.TOKEN_OPTIONS),
        _classify_tokens,
        _entities,
        ("entities",),
    ),
    "embed_sparse": TextMethod(
        Capability.EMBED_SPARSE,
        _or_with_options(_text, SparseOptions, table.SPARSE_OPTIONS),
        _embed_sparse,
        _sparse,
        ("embedding",),
    ),
    "embed_tokens": TextMethod(
        Capability.EMBED_TOKENS,
        _or_with_options(_text, EmbedOptions, table.EMBED_OPTIONS),
        _embed_tokens,
        _vectors,
        ("embedding",),
    ),
    "tokenize": TextMethod(
        Capability.TOKENIZE,
        _or_with_options(_text, TokenizeOptions, table.TOKENIZE_OPTIONS),
        _tokenize,
        _tokens,
        ("tokens",),
    ),
}
