"""The server's own methods as jobs see them: a line to an instance, an instance to a result, a result to JSON."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import orjson
from predictor.ttypes import ErrorCode, FinishReason, GenerationOptions

from process.options import GENERATION_OPTIONS
from server.batch.state.errors import RowError
from server.models.capabilities import Capability
from server.models.requests import AS_IT_IS, ITS_OWN_SCORES, ReplyFilter
from server.models.sampling import sampling_of

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from server.models.model import Model
    from server.models.requests import Generated, RequestContext

_KINDS = {dict: "an object without it", list: "a list", bool: "a boolean", type(None): "null"}


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
    for name, option in GENERATION_OPTIONS.items() if type(value) is dict else ():
        given = value.get(name)
        if given is None:
            continue
        if not _is_of(given, option.type):
            raise RowError(ErrorCode.INVALID_ARGUMENT, f"{name!r} is of the wrong type")
        options[name] = given
    return prompt, GenerationOptions(**options)


def _is_of(value: Any, expected: type) -> bool:
    """Whether an option's value has its type; its range is a matter of the model."""
    if expected is float:
        return type(value) in (int, float)
    if type(value) is list:
        return expected is list and all(type(item) is str for item in value)
    return type(value) is expected


def _predict(model: Model, doc: str, context: RequestContext) -> Awaitable[dict[str, float]]:
    return model.predict(doc, ITS_OWN_SCORES, context)


def _reply(model: Model, message: str, context: RequestContext) -> Awaitable[dict[str, float]]:
    return model.reply([message], ReplyFilter(), context)


def _embed(model: Model, text: str, context: RequestContext) -> Awaitable[bytes]:
    return model.embed(text, AS_IT_IS, context)


async def _generate(model: Model, instance: tuple[str, GenerationOptions], context: RequestContext) -> Generated:
    prompt, options = instance
    sampling = sampling_of(options, model.limits.max_output_tokens)
    tokens = await model.prompt_tokens(prompt, sampling.max_tokens)
    return await model.generate(tokens, sampling, context)


def _best_first(name: str) -> Callable[[dict[str, float]], bytes]:
    def result(scores: dict[str, float]) -> bytes:
        ordered = dict(sorted(scores.items(), key=lambda item: item[1], reverse=True))
        return b'"%b":%b' % (name.encode(), orjson.dumps(ordered))

    return result


def _vector(vector: bytes) -> bytes:
    return b'"embedding":' + orjson.dumps(np.frombuffer(vector, "<f4"), option=orjson.OPT_SERIALIZE_NUMPY)


def _generated(done: Generated) -> bytes:
    reason = FinishReason._VALUES_TO_NAMES[done.finish_reason]
    return orjson.dumps({"continuation": done.text, "token_count": done.token_count, "finish_reason": reason})[1:-1]


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
    native_result: bytes | None = None
    """What comes before a result that the model's own threads write; None where they cannot."""


TEXT_METHODS = {
    "predict": TextMethod(Capability.CLASSIFY, _text_field("doc"), _predict, _best_first("scores"), b'"scores":'),
    "reply": TextMethod(Capability.REPLY, _text_field("message"), _reply, _best_first("replies")),
    "embed": TextMethod(Capability.EMBED, _text_field("text"), _embed, _vector, b'"embedding":'),
    "generate": TextMethod(Capability.GENERATE, _prompt_with_options, _generate, _generated),
}
