"""The examples of the proxy's routes as requests, and its OpenAPI document as a judge of answers."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

import jsonschema
import pytest

from rest_proxy.http.content import EVENTS, JSON
from rest_proxy.openapi.operation import documented_methods

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from rest_proxy.http.route import Route


def example_requests(
    routes: Iterable[Route], path_fields: Mapping[str, str]
) -> Iterator[tuple[Route, str, str, dict[str, Any] | None]]:
    """(route, method, path with its query, the body as an object or None) of each example and each of its methods.

    `path_fields`: what stands for a field of a path; the name of a model is the example's.
    """
    for route in routes:
        of_path = {
            **path_fields,
            **{key: name for key, name in route.example.fields.items() if key in ("name", "file")},
        }
        for method in documented_methods(route):
            fields = {name: value for name, value in route.example.fields.items() if f"{{{name}}}" not in route.path}
            path = route.path.format_map(of_path)
            if method == "POST":
                yield route, method, path, fields
            else:
                yield route, method, f"{path}?{urlencode(fields, doseq=True)}" if fields else path, None


def check_answer(
    document: Mapping[str, Any], method: str, path: str, status: int, content_type: str, body: bytes
) -> None:
    """The answer is of a status, a media type and a form that the document has; another value of JSON is not."""
    response = document["paths"][path][method.lower()]["responses"][str(status)]
    if "$ref" in response:
        response = document["components"]["responses"][response["$ref"].rpartition("/")[2]]
    media_type = content_type.partition(";")[0]
    schema = {**response["content"][media_type]["schema"], "components": document["components"]}
    values = [json.loads(body) if media_type == JSON else body.decode()]
    if media_type == EVENTS:
        values = [_event(text) for text in values[0].split("\n\n") if text]
    for value in values:
        jsonschema.validate(value, schema)
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate([[[[value]]]], schema)


def _event(text: str) -> dict[str, str]:
    return dict(line.split(": ", 1) for line in text.splitlines())
