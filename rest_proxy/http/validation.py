"""What is wrong with a request, in words that need no knowledge of the library that found it."""

from __future__ import annotations

import difflib
from typing import TYPE_CHECKING, Any

from rest_proxy.http.errors import invalid_argument

if TYPE_CHECKING:
    from collections.abc import Collection

    from pydantic import ValidationError

    from rest_proxy.http.errors import HttpError

_SHOWN = 64  # characters of a value or a name

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


def what_is_wrong(error: ValidationError, known: Collection[str] = ()) -> HttpError:
    """The first thing that is, with the path of its field; `known` are the fields that there are."""
    first = error.errors(include_url=False)[0]
    place, details = first["loc"], first.get("ctx", {})
    if "index" in details:
        place = (*place, details["index"])
    path = "".join(f"[{part}]" if isinstance(part, int) else f".{part[:_SHOWN]}" for part in place).lstrip(".")
    message = _message(first["type"], details, first["input"]) or first["msg"]
    if first["type"] == "extra_forbidden" and len(place) == 1:
        near = difflib.get_close_matches(path, known, 1)
        message += f"; did you mean {near[0]}?" if near else ""
    return invalid_argument(message, field=path or None)


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
        return _MESSAGES[kind].format_map({**details, "got": str(value)[:_SHOWN]})
    return None
