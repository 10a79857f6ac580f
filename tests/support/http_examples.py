"""The examples of the routes as requests."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

from rest_proxy.openapi.operation import documented_methods

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from rest_proxy.http.route import Route


def example_requests(
    routes: Iterable[Route], here: Mapping[str, str]
) -> Iterator[tuple[Route, str, str, dict[str, Any] | None]]:
    """(route, method, path with its query, the body as an object or None); `here` has the fields of paths."""
    for route in routes:
        for method in documented_methods(route):
            fields = {name: value for name, value in route.example.fields.items() if f"{{{name}}}" not in route.path}
            path = route.path.format_map(here)
            if method == "POST":
                yield route, method, path, fields
            else:
                yield route, method, f"{path}?{urlencode(fields, doseq=True)}" if fields else path, None
