"""The description of the HTTP interface: OpenAPI 3.1 (https://spec.openapis.org/oas/v3.1.0), made from the routes."""

from __future__ import annotations

import asyncio
from importlib import metadata
from typing import TYPE_CHECKING, Any

from rest_proxy.http.content import JSON
from rest_proxy.http.responses import REQUEST_ID, json_response
from rest_proxy.http.route import GET, Answer, Entrance, Route
from rest_proxy.openapi.operation import (
    documented_methods,
    error_responses,
    error_statuses,
    merge,
    operation,
    request_components,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from aiohttp import web

    from rest_proxy.config import Settings


_SECURITY = {
    "bearer": {"type": "http", "scheme": "bearer"},
    "apiKey": {"type": "apiKey", "in": "header", "name": "x-api-key"},
}


class OpenApi:
    """GET /openapi.json."""

    def __init__(self, settings: Settings, others: Sequence[Route]) -> None:
        self.route = Route(
            path="/openapi.json",
            methods=GET,
            answer=self,
            name="openapi",
            summary="This description",
            tag="operations",
            answers=(Answer({JSON: {"type": "object"}}),),
            bounded=False,
            entrance=Entrance.OPEN,
        )
        self._settings = settings
        self._others = tuple(others)
        self._document: dict[str, Any] | None = None

    async def __call__(self, _request: web.BaseRequest, request_id: str) -> web.Response:
        """The description, for the limits that this proxy runs with; made when it is first asked for."""
        if self._document is None:
            self._document = await asyncio.to_thread(document, self._settings, (*self._others, self.route))
        return json_response(self._document, request_id)


def document(settings: Settings, routes: Sequence[Route]) -> dict[str, Any]:
    """The whole description as a JSON object."""
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Prediction service",
            "version": _version(),
            "description": f"Every path answers with the header {REQUEST_ID}: the request's own, or a new one. "
            "Any path with the parameter `doc` that is not described here answers as `/` does. "
            f"Limits: {settings.max_body_bytes} bytes body, "
            f"{settings.max_line_bytes} bytes URL, {settings.max_docs} documents, {settings.max_timeout_ms} ms.",
        },
        "security": [{}, *({name: []} for name in _SECURITY)],  # where the server asks for tokens
        "paths": _paths(routes),
        "components": _components(routes),
    }


def _version() -> str:
    try:
        return metadata.version("predictor-service")
    except metadata.PackageNotFoundError:  # run from a checkout that is not installed
        return "0"


def _paths(routes: Sequence[Route]) -> dict[str, Any]:
    paths: dict[str, Any] = {}
    for route in routes:
        operations = paths.setdefault(route.path, {})
        for method in documented_methods(route):
            described = operation(route, method)
            if operations.setdefault(method.lower(), described) is not described:
                merge(operations[method.lower()], described)
    return paths


def _components(routes: Sequence[Route]) -> dict[str, Any]:
    schemas: dict[str, Any] = {}
    responses: dict[str, Any] = {}
    for route in routes:
        schemas |= request_components(route)
        schemas |= (
            {route.error_format.name: route.error_format.content[JSON]} if JSON in route.error_format.content else {}
        )
        for method in documented_methods(route):
            responses |= error_responses(route.error_format, error_statuses(route, method))
    return {"schemas": schemas, "responses": responses, "securitySchemes": _SECURITY}
