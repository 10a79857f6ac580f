"""A route in Swagger 2.0 (https://swagger.io/specification/v2/), for clients that know nothing newer."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rest_proxy.http.content import JSON
from rest_proxy.openapi.operation import error_statuses, request_schema

if TYPE_CHECKING:
    from rest_proxy.http.content import Schema
    from rest_proxy.http.route import Route


def swagger_document(route: Route, title: str, description: str) -> dict[str, Any]:
    """The description of a route that takes and gives JSON objects."""
    [method] = route.methods
    request = request_schema(route)
    name = request["title"].removesuffix("Request")
    failure = route.error_format.content[JSON]
    answers = {
        str(answer.status): {"description": answer.description, "schema": answer.content[JSON]}
        for answer in route.answers
    }
    errors = {
        str(status): {"description": meaning, "schema": failure}
        for status, meaning in error_statuses(route, method).items()
    }
    payload = {"name": "payload", "in": "body", "required": True, "schema": {"$ref": f"#/definitions/{name}"}}
    operation = {
        "operationId": f"{method.lower()}_{route.tag.replace('-', '_')}",
        "summary": route.summary,
        "tags": [route.tag],
        "parameters": [payload],
        "responses": {**answers, **errors, "default": {"description": "What is wrong", "schema": failure}},
    }
    return {
        "swagger": "2.0",
        "info": {"title": title, "version": "1.0", "description": description},
        "basePath": "/",
        "consumes": [JSON],
        "produces": [JSON],
        "tags": [{"name": route.tag}],
        "paths": {route.path: {method.lower(): operation}},
        "definitions": {
            name: {
                "type": "object",
                "properties": {name: _in_swagger_2(field) for name, field in request["properties"].items()},
                "required": request["required"],
                "example": dict(route.example.fields),
            }
        },
    }


def _in_swagger_2(field: Schema) -> dict[str, Any]:
    """A field that may be null as one that may be left out, and one of several types as any.

    Swagger 2.0 has neither null nor a choice of types.
    """
    described = {name: value for name, value in field.items() if name not in ("anyOf", "title")}
    if described.get("default", described) is None:
        del described["default"]
    described |= next((kind for kind in field.get("anyOf", ()) if kind.get("type") != "null"), {})
    described.pop("anyOf", None)
    if "exclusiveMinimum" in described:
        described |= {"minimum": described["exclusiveMinimum"], "exclusiveMinimum": True}
    return described
