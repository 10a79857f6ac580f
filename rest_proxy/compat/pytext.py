"""PyText's proxy: any method, any path, the query parameter `doc`; `label:score` lines for an answer.

A browser that opens / without a parameter gets the playground page instead.
"""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import parse_qsl, unquote_to_bytes

from predictor.ttypes import RequestOptions

from rest_proxy.backend.contract import PREDICT
from rest_proxy.http.content import JSON, STRING, TEXT, object_of
from rest_proxy.http.errors import invalid_argument
from rest_proxy.http.pages import Page
from rest_proxy.http.responses import (
    ERROR,
    ErrorFormat,
    best_first,
    json_error,
    json_response,
    prefers_json,
    text_error,
    text_response,
)
from rest_proxy.http.route import MODEL_ERRORS, Answer, Example, Route
from rest_proxy.routes.predictions import SCORES

if TYPE_CHECKING:
    from aiohttp import web

    from rest_proxy.backend.pool import Pool
    from rest_proxy.config import Settings
    from rest_proxy.http.errors import HttpError

_VARY = {"Vary": "Accept"}
_DESCRIPTION = (
    "A line `label:score` per label, sorted by label; JSON for `Accept: application/json`. An error is a line of "
    "text, or JSON likewise. A browser that opens / without a parameter gets a page to try it on."
)


class PyText:
    """The answer to every path that no other route has."""

    def __init__(self, settings: Settings, pool: Pool) -> None:
        self._timeout_ms = settings.timeout_ms
        self._pool = pool
        self._page = Page("playground.html")

    async def __call__(self, request: web.BaseRequest, request_id: str) -> web.Response:
        """The scores of the first `doc`, labels sorted by byte, each score as C's %g writes it; or JSON."""
        accept = request.headers.get("Accept", "")
        doc = _doc(request.rel_url.raw_query_string)
        if doc is None:
            if _opens_page(request, accept):
                return await self._page(request, request_id)
            raise invalid_argument("Missing query parameter: doc")
        options = RequestOptions(None, self._timeout_ms, None, request_id)
        scores = await self._pool.call(PREDICT, doc, options, timeout_ms=self._timeout_ms)
        if prefers_json(accept):
            return json_response({"scores": best_first(scores)}, request_id, headers=_VARY)
        # code points sort as their UTF-8 bytes do, and Python's %g is C's
        lines = "".join([f"{label}:{score:g}\n" for label, score in sorted(scores.items())])
        return text_response(lines, request_id, headers=_VARY)


def _doc(query: str) -> str | None:
    """The first `doc`; bytes that are no UTF-8 are replaced."""
    if query.startswith("doc=") and "&" not in query and query.isascii():
        return unquote_to_bytes(query[4:].replace("+", " ")).decode(errors="replace")
    fields = parse_qsl(query, keep_blank_values=True)
    return next((value for name, value in fields if name == "doc"), None)


def _opens_page(request: web.BaseRequest, accept: str) -> bool:
    url = request.rel_url
    return (
        request.method in ("GET", "HEAD") and url.raw_path == "/" and not url.raw_query_string and "text/html" in accept
    )


def _error(error: HttpError, request: web.BaseRequest, request_id: str) -> web.Response:
    """An error as the client reads answers."""
    return (json_error if prefers_json(request.headers.get("Accept", "")) else text_error)(error, request_id)


ERRORS = ErrorFormat("TextOrJsonError", _error, {TEXT: STRING, JSON: ERROR})


def routes(settings: Settings, pool: Pool) -> list[Route]:
    """Every path that no other route has."""
    doc = {**STRING, "description": "The document; the first one counts."}
    return [
        Route(
            path="/",
            methods=(),
            answer=PyText(settings, pool),
            name="classify",
            summary="Classify one document, as PyText's proxy did, whatever the method",
            description=_DESCRIPTION,
            tag="pytext",
            request={"type": "object", "properties": {"doc": doc}},
            example=Example({"doc": "set an alarm"}),
            answers=(
                Answer(
                    {TEXT: STRING, JSON: object_of(scores=SCORES)},
                    examples={TEXT: "alarm/set_alarm:-0.0513\nweather/find:-4.21\n"},
                ),
            ),
            errors=MODEL_ERRORS,
            small=True,
            error_format=ERRORS,
        )
    ]
