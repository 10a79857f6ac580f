"""Media types and JSON Schemas: the words in which a route says what it takes and what it gives.

The headers that count are read by ourselves: the general readers take the square of a long header's length.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from aiohttp import hdrs

SERVER = "predictor"
"""The header Server of all answers: no versions of libraries, by which faults could be looked up."""

JSON = "application/json"
FORM = "application/x-www-form-urlencoded"
MULTIPART = "multipart/form-data"
TEXT = "text/plain"
HTML = "text/html"
EVENTS = "text/event-stream"
BINARY = "application/octet-stream"

Schema = Mapping[str, Any]

_LONGEST = 1024
"""Characters of a header in which parameters are looked for."""

STRING: Schema = {"type": "string"}
INTEGER: Schema = {"type": "integer"}
BOOLEAN: Schema = {"type": "boolean"}
NUMBER: Schema = {"type": ["number", "null"]}  # JSON has no infinity and no NaN: they become null

EVENT: Schema = {"type": "object", "properties": {"event": STRING, "data": STRING}, "required": ["data"]}
"""One of a stream of EVENTS, which a media type's schema describes one by one."""


def object_of(**properties: Schema) -> dict[str, Any]:
    """An object in which all these properties are."""
    return {"type": "object", "properties": properties, "required": list(properties)}


def array_of(items: Schema) -> dict[str, Any]:
    """A list of such items."""
    return {"type": "array", "items": items}


def content_type_of(headers: Mapping[str, str]) -> str:
    """The media type of a body, in lower case and without parameters; one that is none counts as text/plain."""
    value = headers.get(hdrs.CONTENT_TYPE)
    if value is None:
        return BINARY
    media_type = value.partition(";")[0].strip().lower()
    return media_type if media_type.count("/") == 1 else TEXT


def charset_of(headers: Mapping[str, str]) -> str | None:
    """The charset that a body's header names; None where it names none."""
    return _parameter_of(headers, "charset")


def boundary_of(headers: Mapping[str, str]) -> str | None:
    """What stands between the parts of a MULTIPART body; None where the header does not say it."""
    return _parameter_of(headers, "boundary")


def _parameter_of(headers: Mapping[str, str], wanted: str) -> str | None:
    for parameter in headers.get(hdrs.CONTENT_TYPE, "")[:_LONGEST].split(";")[1:]:
        name, _, value = parameter.partition("=")
        if name.strip().lower() == wanted:
            return value.strip().strip('"') or None
    return None
