"""What is wrong with a request, in words that need no knowledge of the library that found it."""

from __future__ import annotations

import difflib
from itertools import islice
from typing import TYPE_CHECKING, Any

from rest_proxy.http.errors import invalid_argument

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from pydantic import ValidationError

    from rest_proxy.http.errors import HttpError

_SHOWN = 64  # characters of a value or a name
_COMPARED = 64  # names of a request that are compared with one

# pydantic's types of errors (https://docs.pydantic.dev/latest/errors/validation_errors/); others keep its own words.
_EXPECTED = {
    "string_type": "a string",
    "int_type": "an integer",
    "int_parsing": "an integer",
    "int_from_float": "an integer",
    "float_type": "a number",
    "float_parsing": "a number",
    "bool_type": "true or false",
    "bool_parsing": "true or false",
    "list_type": "a list",
    "dict_type": "an object",
    "model_type": "an object",
    "literal_error": "{expected}",
}
_MESSAGES = {
    "missing": "this field is required",
    "extra_forbidden": "there is no such field",
    "finite_number": "must be a finite number, got {got}",
    "greater_than": "must be over {gt}, got {got}",
    "greater_than_equal": "must be at least {ge}, got {got}",
    "less_than_equal": "must be at most {le}, got {got}",
    "string_too_short": "must have at least {min_length} characters",
    "string_too_long": "must have at most {max_length} characters",
    "too_short": "must have at least {min_length} items, got {actual_length}",
    "too_long": "must have at most {max_length} items, got {actual_length}",
}
_JSON_TYPES = ((bool, "a boolean"), (int, "a number"), (float, "a number"), (list, "a list"), (dict, "an object"))


_ALIKE = (
    ("text", "doc", "message", "prompt", "input", "inputs", "sentence"),
    ("texts", "docs", "messages", "documents", "inputs", "input", "sentences", "passages"),
    ("max_tokens", "max_new_tokens", "max_completion_tokens", "max_length"),
    ("top_k", "top_n"),
    ("candidate_labels", "labels"),
    ("raw_scores", "return_raw_scores"),
)
"""What interfaces of other services, or routes of this one, call the same thing."""


def what_is_wrong(
    error: ValidationError,
    known: Collection[str] = (),
    given: Collection[str] = (),
    content_length: str | None = None,
) -> HttpError:
    """The first thing that is, with the path of its field.

    `known` are the fields that there are, `given` those of the request, and `content_length` the header of a body in
    JSON, which may have cut it.
    """
    first = error.errors(include_url=False)[0]
    kind, place, details = first["type"], first["loc"], first.get("ctx", {})
    if "index" in details:
        place = (*place, details["index"])
    path = "".join(f"[{part}]" if isinstance(part, int) else f".{part[:_SHOWN]}" for part in place).lstrip(".")
    message = _message(kind, details, first["input"]) or first["msg"]
    if kind == "extra_forbidden" and len(place) == 1:
        near = _meant(path, [name for name in known if name not in given])
        message += f"; did you mean {near}?" if near else ""
    elif kind == "missing" and len(place) == 1:
        near = _meant(path, [name for name in islice(given, _COMPARED) if name not in known])
        message += f"; is it what you sent as {near[:_SHOWN]}?" if near else ""
    elif kind == "json_invalid" and "EOF" in message:
        message += _cut(content_length)
    return invalid_argument(message, field=path or None)


def _meant(name: str, others: Sequence[str]) -> str | None:
    """Which of the others may be the same thing, by what it is called elsewhere, or by its letters."""
    for group in _ALIKE:
        if name in group and (same := [other for other in group if other in others]):
            return same[0]
    return next(iter(difflib.get_close_matches(name, others, 1)), None)


def _cut(content_length: str | None) -> str:
    if content_length is None:
        return "; the JSON ends too early"
    return f"; the JSON ends too early: the header Content-Length says {content_length[:_SHOWN]} bytes"


def expected_text(value: Any) -> str:
    """What is wrong with a value that should be a text."""
    return f"expected a string, got {json_type(value)}"


def json_type(value: Any) -> str:
    """What JSON calls a value that does not fit; a string is shown, because it may come from a query."""
    if isinstance(value, str):
        return repr(value[:_SHOWN])
    return next((name for kind, name in _JSON_TYPES if isinstance(value, kind)), "null")


def _message(kind: str, details: dict[str, Any], value: Any) -> str | None:
    if kind in _EXPECTED:
        return f"expected {_EXPECTED[kind].format_map(details)}, got {json_type(value)}"
    if kind in _MESSAGES:
        got = str(value)[:_SHOWN] if isinstance(value, int | float) else ""  # of a missing field it is all there is
        return _MESSAGES[kind].format_map({**details, "got": got})
    return None
