"""The pieces that the description of the HTTP interface is made of."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from predictor.ttypes import ErrorCode

from rest_proxy.http.errors import STATUS
from rest_proxy.http.requests import FORM, JSON, MULTIPART

if TYPE_CHECKING:
    from rest_proxy.http.requests import Asked

TEXT = "text/plain"
EVENTS = "text/event-stream"
STRING = {"type": "string"}


def error_answer(error: dict[str, Any] | None = None) -> dict[str, Any]:
    """The answer when something is wrong; `error` is its content where that is not of our own form."""
    statuses = ", ".join(f"{ErrorCode._VALUES_TO_NAMES[code]} {status}" for code, status in STATUS.items())
    content = error or _error()
    return {
        "description": f"{statuses}. OVERLOADED and UNAVAILABLE may come with Retry-After, in seconds.",
        "headers": {"Retry-After": {"schema": {"type": "integer", "minimum": 1}}},
        "content": {JSON: {"schema": content}},
    }


def _error() -> dict[str, Any]:
    codes = {"enum": [ErrorCode._VALUES_TO_NAMES[code] for code in STATUS]}
    return object_of(error=object_of(code=codes, message=STRING, request_id=STRING))


def operation(name: str, summary: str, responses: dict[str, Any], error: str = "Error") -> dict[str, Any]:
    """An operation with its answers, and one of the common ones for errors."""
    default = {"$ref": f"#/components/responses/{error}"}
    return {"operationId": name, "summary": summary, "responses": {**responses, "default": default}}


def by_query_or_body(name: str, summary: str, kind: type[Asked], answer: dict[str, Any]) -> dict[str, Any]:
    """GET with `kind`'s fields in the query, and POST with them in a body of any form."""
    fields = kind.model_json_schema()
    get, post = operation(f"{name}ByQuery", summary, answer), operation(name, summary, answer)
    get["parameters"] = [parameter(field, details) for field, details in fields["properties"].items()]
    post["requestBody"] = body(fields, JSON, FORM, MULTIPART)
    return {"get": get, "post": post}


def body(fields: dict[str, Any], *content_types: str) -> dict[str, Any]:
    """A body that must be there, of one of these types."""
    return {"required": True, "content": {content_type: {"schema": fields} for content_type in content_types}}


def parameter(name: str, details: dict[str, Any]) -> dict[str, Any]:
    """A parameter of the query."""
    return {"name": name, "in": "query", "schema": details}


def object_of(**properties: Any) -> dict[str, Any]:
    """An object in which all these properties are."""
    return {"type": "object", "properties": properties, "required": list(properties)}


def answer_of(description: str, content_type: str, content: dict[str, Any], status: str = "200") -> dict[str, Any]:
    """An answer with one type of content."""
    return {status: {"description": description, "content": {content_type: {"schema": content}}}}


def ok(content: dict[str, Any]) -> dict[str, Any]:
    """200 with JSON."""
    return answer_of("The answer", JSON, content)
