"""What OpenAI-compatible servers answer, every field checked: a wrong one raises AnswerError, which names it."""

from __future__ import annotations

import base64
import binascii
import math
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from server.upstream.errors import AnswerError

if TYPE_CHECKING:
    from collections.abc import Sequence

_MOST_TOKENS = (1 << 31) - 1
_SHOWN_CHARACTERS = 40


class Usage(NamedTuple):
    """How many tokens there are."""

    prompt_tokens: int
    token_count: int


class Part(NamedTuple):
    """A text, or a part of one."""

    text: str
    reason: str | None
    """length, stop or whatever else the server says of its end; None: it goes on."""
    matched: str | int | None
    """What ended it, where the server tells: a stop string, or a token's id."""
    usage: Usage | None
    calls: Sequence[CallPart] = ()
    scores: list[Score] | None = None
    """Of its tokens, where the server tells their ids too, as llama.cpp does."""


class CallPart(NamedTuple):
    """A call of a tool, or a part of one."""

    place: int
    """Of the call, among the answer's."""
    id: str | None
    name: str | None
    arguments: str


class TopScore(NamedTuple):
    """A token that could stand at a place; the fields are those of the contract's TopLogprob, in their order."""

    id: int
    text: str
    data: bytes
    logprob: float


class Score(NamedTuple):
    """A token and how likely it was."""

    id: int
    text: str
    data: bytes
    logprob: float
    top: list[TopScore]


class Listed(NamedTuple):
    """A model as /v1/models lists it."""

    owner: object
    context: int | None
    """Positions of a text, where the server tells."""


def listed(answer: Any, model: str) -> Listed | None:
    """The model in the answer of /v1/models; None: it is not there."""
    for entry in _list(_object(answer, "the answer"), "data"):
        entry = _object(entry, "data[]")
        aliases = entry.get("aliases")
        if entry.get("id") == model or (type(aliases) is list and model in aliases):
            about: Any = entry.get("meta")
            contexts = (entry.get("max_model_len"), about.get("n_ctx") if type(about) is dict else None)
            found = [size for size in contexts if type(size) is int and 1 < size <= _MOST_TOKENS]
            return Listed(entry.get("owned_by"), found[0] if found else None)
    return None


def names(answer: Any) -> list[str]:
    """Of the models in the answer of /v1/models."""
    entries = _list(_object(answer, "the answer"), "data")
    return [entry["id"] for entry in entries if type(entry) is dict and type(entry.get("id")) is str]


def owner(answer: Any) -> object:
    """What the answer of /v1/models says of the first model's owner."""
    entries = _list(_object(answer, "the answer"), "data")
    return entries[0].get("owned_by") if entries and type(entries[0]) is dict else None


def completion(answer: Any) -> Part:
    """A whole text, or an event of one that is streamed, of /v1/completions."""
    answer = _object(answer, "the answer")
    choices = _list(answer, "choices")
    if not choices:
        return Part("", None, None, _usage(answer))
    if len(choices) > 1:
        raise AnswerError(f"choices has {len(choices)} items, not 1")
    choice = _object(choices[0], "choices[0]")
    text = _string(choice.get("text"), "choices[0].text")
    return Part(text, _reason(choice), _matched(choice), _usage(answer), (), _scores(choice))


def message(answer: Any) -> Part:
    """The same of /v1/chat/completions."""
    answer = _object(answer, "the answer")
    choices = _list(answer, "choices")
    if not choices:
        return Part("", None, None, _usage(answer))
    if len(choices) > 1:
        raise AnswerError(f"choices has {len(choices)} items, not 1")
    choice = _object(choices[0], "choices[0]")
    name = "delta" if "delta" in choice else "message"
    said = _object(choice.get(name), f"choices[0].{name}")
    content = said.get("content")
    text = "" if content is None else _string(content, f"choices[0].{name}.content")
    calls = _calls(said.get("tool_calls"), f"choices[0].{name}.tool_calls")
    return Part(text, _reason(choice), _matched(choice), _usage(answer), calls, _scores(choice))


def vectors(answer: Any, count: int, size: int | None) -> tuple[list[bytes], int | None]:
    """`count` vectors of `size` numbers each, in the order of their texts, as float32; and the texts' tokens.

    `size` None: of any size, all of the same.
    """
    answer = _object(answer, "the answer")
    found: list[bytes | None] = [None] * count
    for place, entry in enumerate(_items(answer, "data", count)):
        entry = _object(entry, f"data[{place}]")
        index = _index(entry, place, found, "data")
        vector = _vector(entry.get("embedding"), f"data[{place}].embedding")
        size = size or len(vector) // 4
        if len(vector) != 4 * size:
            raise AnswerError(f"data[{place}].embedding has {len(vector) / 4:g} numbers, not {size}")
        found[index] = vector
    usage = answer.get("usage")
    tokens = usage.get("prompt_tokens") if type(usage) is dict else None
    return found, tokens if _is_count(tokens) else None  # type: ignore[return-value] # each index was there


def scores(answer: Any, count: int) -> list[float]:
    """The scores of `count` texts, in their order: in Cohere's and Jina's form, or as a list alone."""
    entries: Sequence[Any] = answer if type(answer) is list else _list(_object(answer, "the answer"), "results")
    if len(entries) != count:
        raise AnswerError(f"{len(entries)} scores came for {count} texts")
    found: list[float | None] = [None] * count
    for place, entry in enumerate(entries):
        entry = _object(entry, f"results[{place}]")
        index = _index(entry, place, found, "results")
        score: Any = entry.get("relevance_score", entry.get("score"))
        if type(score) not in (float, int) or not math.isfinite(score):
            raise AnswerError(f"results[{place}].relevance_score is {_shown(score)}, not a number")
        found[index] = float(score)
    return found  # type: ignore[return-value] # each index was there


def _index(entry: dict[str, Any], place: int, found: Sequence[Any], field: str) -> int:
    index = entry.get("index")
    if type(index) is not int or not 0 <= index < len(found) or found[index] is not None:
        raise AnswerError(f"{field}[{place}].index is {_shown(index)}, not one of the {len(found)} that are left")
    return index


def _vector(value: Any, field: str) -> bytes:
    if type(value) is str:
        try:
            data = base64.b64decode(value, validate=True)
        except (binascii.Error, ValueError):
            data = b""
        if not data or len(data) % 4:
            raise AnswerError(f"{field} is no base64 of float32")
        return data
    if type(value) is not list or not value or not {float, int}.issuperset(map(type, value)):
        raise AnswerError(f"{field} is {_shown(value)}, not a list of numbers")
    try:
        with np.errstate(over="ignore"):  # an infinity is refused by whoever asked
            return np.array(value, dtype=np.float64).astype("<f4").tobytes()
    except OverflowError:
        raise AnswerError(f"{field} has a number over the range of float32") from None


def _usage(answer: dict[str, Any]) -> Usage | None:
    usage = answer.get("usage")
    if usage is None:
        return None
    usage = _object(usage, "usage")
    prompt: Any = usage.get("prompt_tokens")
    texts: Any = usage.get("completion_tokens", 0)
    if not _is_count(prompt) or not _is_count(texts):
        raise AnswerError(f"usage has {_shown(prompt)} prompt_tokens and {_shown(texts)} completion_tokens")
    return Usage(prompt, texts)


def _reason(choice: dict[str, Any]) -> str | None:
    reason = choice.get("finish_reason")
    if reason is not None and type(reason) is not str:
        raise AnswerError(f"choices[0].finish_reason is {_shown(reason)}, not a string")
    return reason or None


def _matched(choice: dict[str, Any]) -> str | int | None:
    """vLLM calls it stop_reason, SGLang matched_stop."""
    for name in ("stop_reason", "matched_stop"):
        if type(choice.get(name)) in (str, int):
            return choice[name]  # type: ignore[no-any-return]
    return None


def _calls(value: Any, field: str) -> list[CallPart]:
    if value is None:
        return []
    if type(value) is not list:
        raise AnswerError(f"{field} is {_shown(value)}, not a list")
    found = []
    for place, call in enumerate(value):
        call = _object(call, f"{field}[{place}]")
        index = call.get("index", place)
        if type(index) is not int:
            raise AnswerError(f"{field}[{place}].index is {_shown(index)}, not a number")
        function = _object(call.get("function") or {}, f"{field}[{place}].function")
        names = (call.get("id"), function.get("name"), function.get("arguments"))
        identity, name, arguments = (None if each is None else _string(each, f"{field}[{place}]") for each in names)
        found.append(CallPart(index, identity, name, arguments or ""))
    return found


def _scores(choice: dict[str, Any]) -> list[Score] | None:
    """Scores in the form of chats, with the tokens' ids; None: in another form, or none."""
    scores = choice.get("logprobs")
    content = scores.get("content") if type(scores) is dict else None
    if type(content) is not list:
        return None
    found = []
    for place, entry in enumerate(content):
        field = f"choices[0].logprobs.content[{place}]"
        entry = _object(entry, field)
        if "id" not in entry:
            return None
        tops: Any = entry.get("top_logprobs") or []
        if type(tops) is not list:
            raise AnswerError(f"{field}.top_logprobs is {_shown(tops)}, not a list")
        found.append(Score(*_score(entry, field), [_score(_object(top, field), field) for top in tops]))
    return found


def _score(entry: dict[str, Any], field: str) -> TopScore:
    token: Any = entry.get("id")
    logprob: Any = entry.get("logprob")
    data: Any = entry.get("bytes") or []
    if not _is_count(token) or type(logprob) not in (float, int) or not math.isfinite(logprob):
        raise AnswerError(f"{field} has the id {_shown(token)} and the logprob {_shown(logprob)}")
    if type(data) is not list or not all(type(byte) is int and 0 <= byte < 256 for byte in data):
        raise AnswerError(f"{field}.bytes is {_shown(data)}, not a list of bytes")
    return TopScore(token, _string(entry.get("token"), f"{field}.token"), bytes(data), float(logprob))


def _string(value: Any, field: str) -> str:
    if type(value) is not str:
        raise AnswerError(f"{field} is {_shown(value)}, not a string")
    return value


def _is_count(value: Any) -> bool:
    return type(value) is int and 0 <= value <= _MOST_TOKENS


def _object(value: Any, field: str) -> dict[str, Any]:
    if type(value) is not dict:
        raise AnswerError(f"{field} is {_shown(value)}, not an object")
    return value


def _list(answer: dict[str, Any], name: str) -> list[Any]:
    value = answer.get(name)
    if type(value) is not list:
        raise AnswerError(f"{name} is {_shown(value)}, not a list")
    return value


def _items(answer: dict[str, Any], name: str, count: int) -> list[Any]:
    items = _list(answer, name)
    if len(items) != count:
        raise AnswerError(f"{name} has {len(items)} items for {count} texts")
    return items


def _shown(value: Any) -> str:
    if value is None:
        return "missing"
    if type(value) in (dict, list):
        return "an object" if type(value) is dict else "a list"
    text = repr(value)
    return text if len(text) <= _SHOWN_CHARACTERS else text[:_SHOWN_CHARACTERS] + "..."
