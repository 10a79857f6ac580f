"""An operation of the OpenAPI document: a route asked with one of its methods."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from predictor.ttypes import ErrorCode
from pydantic import BaseModel

from rest_proxy.http.content import FORM, JSON, MULTIPART, STRING
from rest_proxy.http.errors import MEANING, STATUS
from rest_proxy.http.route import Entrance

if TYPE_CHECKING:
    from collections.abc import Mapping

    from rest_proxy.http.content import Schema
    from rest_proxy.http.responses import ErrorFormat
    from rest_proxy.http.route import Answer, Route

_PATH_FIELD = re.compile(r"\{(\w+)\}")
_COMPONENT = "#/components/schemas/{model}"
_WITH_BODY = ("POST", "PUT", "PATCH")
_BODY_ERRORS = {
    408: "The body did not arrive within the setting body_timeout_ms.",
    413: MEANING[ErrorCode.TOO_LARGE],
    415: "The body has a media type or a compression that the path does not take.",
}
_RETRY_AFTER = {"Retry-After": {"description": "Seconds.", "schema": {"type": "integer", "minimum": 1}}}
_RETRY_STATUSES = (STATUS[ErrorCode.OVERLOADED], STATUS[ErrorCode.UNAVAILABLE])


def documented_methods(route: Route) -> list[str]:
    """HEAD goes without saying; of a route for any method only GET is described."""
    return [method for method in route.methods or ("GET",) if method != "HEAD"]


def operation(route: Route, method: str) -> dict[str, Any]:
    """The operation; its errors are components, see `error_responses`."""
    by_query = method not in _WITH_BODY
    name = f"{route.name}ByQuery" if by_query and "POST" in route.methods else route.name
    described: dict[str, Any] = {"operationId": name, "summary": route.summary, "tags": [route.tag]}
    if route.description:
        described["description"] = route.description
    schema = request_schema(route)
    parameters = _path_parameters(route) + (_query_parameters(schema, route.example.fields) if by_query else [])
    if parameters:
        described["parameters"] = parameters
    if schema and not by_query:
        of_path = _PATH_FIELD.findall(route.path)
        example = {field: value for field, value in route.example.fields.items() if field not in of_path}
        bodies = {
            media_type: {"schema": _as_text(schema) if media_type in (FORM, MULTIPART) else schema, "example": example}
            for media_type in route.request_types
        }
        if further := further_schemas(route):
            bodies[JSON] = {"schema": {"anyOf": [schema, *further]}, "example": example}
        described["requestBody"] = {"required": True, "content": bodies}
    component = f"#/components/responses/{route.error_format.name}"
    errors = {str(status): {"$ref": f"{component}{status}"} for status in error_statuses(route, method)}
    answers = {str(answer.status): _answer(answer) for answer in route.answers}
    described["responses"] = {**answers, **{status: errors[status] for status in errors if status not in answers}}
    described["responses"]["default"] = {"$ref": component}
    return described


def merge(described: dict[str, Any], other: Mapping[str, Any]) -> None:
    """Add what another route with the same path and method takes and gives."""
    described["description"] = f"{described['description']} {other['description']}"
    described["parameters"] = [*described["parameters"], *other["parameters"]]
    for status, response in other["responses"].items():
        same = described["responses"].setdefault(status, response)
        if "content" in same and "content" in response:
            for part in ("headers", "content"):
                same[part] = {**response.get(part, {}), **same.get(part, {})}


def request_schema(route: Route, ref_template: str = _COMPONENT) -> dict[str, Any]:
    """The JSON Schema of the request; empty where it says nothing. What it refers to is in `request_components`."""
    schema = _whole_schema(route, ref_template)
    schema.pop("$defs", None)
    return schema


def further_schemas(route: Route) -> list[dict[str, Any]]:
    """The JSON Schemas of what else a body in JSON may be. What they refer to is in `request_components`."""
    schemas = _further(route)
    for schema in schemas:
        schema.pop("$defs", None)
    return schemas


def request_components(route: Route) -> dict[str, Any]:
    """The schemas that the schemas of requests refer to."""
    components: dict[str, Any] = {}
    for schema in (_whole_schema(route, _COMPONENT), *_further(route)):
        components |= schema.get("$defs", {})
    return components


def error_statuses(route: Route, method: str) -> dict[int, str]:
    """The HTTP statuses of the route's errors, each with its meaning."""
    codes = {*route.errors, ErrorCode.PERMISSION_DENIED}
    if route.entrance is not Entrance.OPEN:
        codes.add(ErrorCode.UNAUTHENTICATED)
    if route.request:
        codes.add(ErrorCode.INVALID_ARGUMENT)
    if route.bounded:
        codes.add(ErrorCode.OVERLOADED)
    statuses = {STATUS[code]: MEANING[code] for code in codes}
    if route.request and method in _WITH_BODY:
        statuses |= _BODY_ERRORS
    return dict(sorted(statuses.items()))


def error_responses(error_format: ErrorFormat, statuses: Mapping[int, str]) -> dict[str, Any]:
    """The components of an API's errors: one for each status, and one for all."""
    name = error_format.name
    codes = ", ".join(f"{ErrorCode._VALUES_TO_NAMES[code]} {status}" for code, status in STATUS.items())
    every = f"{codes}. OVERLOADED and UNAVAILABLE may come with Retry-After, in seconds."
    content = {
        media_type: {"schema": {"$ref": f"#/components/schemas/{name}"} if media_type == JSON else schema}
        for media_type, schema in error_format.content.items()
    }
    responses = {name: {"description": every, "headers": _RETRY_AFTER, "content": content}}
    for status, meaning in statuses.items():
        headers = {"headers": _RETRY_AFTER} if status in _RETRY_STATUSES else {}
        responses[f"{name}{status}"] = {"description": meaning, **headers, "content": content}
    return responses


def _further(route: Route) -> list[dict[str, Any]]:
    return [request.model_json_schema(ref_template=_COMPONENT) for request in route.further_requests]


def _whole_schema(route: Route, ref_template: str) -> dict[str, Any]:
    if isinstance(route.request, type) and issubclass(route.request, BaseModel):
        return route.request.model_json_schema(ref_template=ref_template)
    return dict(route.request or {})


def _path_parameters(route: Route) -> list[dict[str, Any]]:
    return [_parameter(name, "path", STRING, route.example.fields) for name in _PATH_FIELD.findall(route.path)]


def _query_parameters(schema: Schema, example: Mapping[str, Any]) -> list[dict[str, Any]]:
    properties = schema.get("properties", {})
    return [
        _parameter(name, "query", _without_default(_without_null(details)), example)
        for name, details in properties.items()
    ]


def _as_text(schema: Schema) -> Schema:
    """An object's schema for a form, which has no null: a field that is not given is not there."""
    fields = {name: _without_null(details) for name, details in schema.get("properties", {}).items()}
    return {**schema, "properties": fields}


def _without_null(schema: Schema) -> Schema:
    kinds = [kind for kind in schema.get("anyOf", ()) if kind.get("type") != "null"]
    if len(kinds) == len(schema.get("anyOf", ())):
        return schema
    others = {name: value for name, value in schema.items() if name != "anyOf"}
    if others.get("default", others) is None:
        del others["default"]
    return {**others, **kinds[0]} if len(kinds) == 1 else {**others, "anyOf": kinds}


def _without_default(schema: Schema) -> Schema:
    """With the default in words: Swagger UI sends one that it can read, also of options that only go with others."""
    default = schema.get("default")
    if default is None:
        return schema
    described = f"{schema.get('description', '')} Default: {default}.".lstrip()
    return {name: value for name, value in schema.items() if name != "default"} | {"description": described}


def _parameter(name: str, place: str, schema: Schema, example: Mapping[str, Any]) -> dict[str, Any]:
    required = {"required": True} if place == "path" else {}
    shown = {"example": example[name]} if name in example else {}
    return {"name": name, "in": place, **required, "schema": schema, **shown}


def _answer(answer: Answer) -> dict[str, Any]:
    content = {
        media_type: {
            "schema": schema,
            **({"example": answer.examples[media_type]} if media_type in answer.examples else {}),
        }
        for media_type, schema in answer.content.items()
    }
    described: dict[str, Any] = {"description": answer.description, "content": content}
    if answer.headers:
        described["headers"] = {name: {"schema": schema} for name, schema in answer.headers.items()}
    return described
