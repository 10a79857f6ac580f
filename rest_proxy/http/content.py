"""Media types and JSON Schemas: the words in which a route says what it takes and what it gives."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

JSON = "application/json"
FORM = "application/x-www-form-urlencoded"
MULTIPART = "multipart/form-data"
TEXT = "text/plain"
HTML = "text/html"
EVENTS = "text/event-stream"
BINARY = "application/octet-stream"

Schema = Mapping[str, Any]

STRING: Schema = {"type": "string"}
INTEGER: Schema = {"type": "integer"}
BOOLEAN: Schema = {"type": "boolean"}
NUMBER: Schema = {"type": ["number", "null"]}  # JSON has no infinity and no NaN: they become null


def object_of(**properties: Schema) -> dict[str, Any]:
    """An object in which all these properties are."""
    return {"type": "object", "properties": properties, "required": list(properties)}


def array_of(items: Schema) -> dict[str, Any]:
    """A list of such items."""
    return {"type": "array", "items": items}
