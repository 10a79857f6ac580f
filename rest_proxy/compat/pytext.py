"""PyText's proxy: any method, any path, the query parameter `doc`; `label:score` lines for an answer.

A browser that opens / without a parameter gets the playground page instead.
"""

from __future__ import annotations

from functools import lru_cache
from operator import itemgetter
from typing import TYPE_CHECKING
from urllib.parse import parse_qsl, unquote_to_bytes

from predictor.ttypes import RequestOptions
from pydantic import ConfigDict, ValidationError

from process.version import VERSION
from rest_proxy.backend.contract import PREDICT
from rest_proxy.http.content import JSON, STRING, TEXT, array_of, object_of
from rest_proxy.http.errors import invalid_argument
from rest_proxy.http.pages import Page
from rest_proxy.http.requests import ModelRequest
from rest_proxy.http.responses import (
    ERROR,
    UTF_8_TEXT,
    ErrorFormat,
    best_first,
    json_error,
    json_response,
    prefers_json,
    text_error,
    text_response,
)
from rest_proxy.http.route import MODEL_ERRORS, Answer, Direct, Entrance, Example, Route
from rest_proxy.http.validation import what_is_wrong
from rest_proxy.routes.predictions import SCORES

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from aiohttp import web

    from rest_proxy.backend.pool import Pool
    from rest_proxy.config import Settings
    from rest_proxy.http.errors import HttpError
    from rest_proxy.http.fast.heads import Head

_VARY = {"Vary": "Accept"}
_GREETING = object_of(service=STRING, status=STRING, version=STRING, ready=STRING, paths=array_of(STRING))
_DESCRIPTION = (
    "A line `label:score` per label, sorted by label; JSON for `Accept: application/json`. An error is a line of "
    "text, or JSON likewise. `model`, `timeout_ms` and `lane` count too. / without a parameter is a page to try it on "
    "for a browser, and for others a list of the paths."
)


class PyText:
    """The answer to every path that no other route has."""

    def __init__(self, settings: Settings, pool: Pool, paths: Sequence[str]) -> None:
        self._settings = settings
        self._timeout_ms = settings.timeout_ms
        self._paths = paths
        self._pool = pool
        self._page = Page("playground.html")

    async def __call__(self, request: web.BaseRequest, request_id: str) -> web.Response:
        """The scores of the first `doc`, labels sorted by byte, each score as C's %g writes it; or JSON."""
        accept = request.headers.get("Accept", "")
        query = request.rel_url.raw_query_string
        doc = _doc(query)
        if doc is None:
            if query or request.method not in ("GET", "HEAD"):
                raise invalid_argument("Missing query parameter: doc")
            return await self._page(request, request_id) if "text/html" in accept else self._greet(request_id)
        if "&" in query:
            options = _Options.of(query).options(self._settings, request_id)
        else:
            options = RequestOptions(None, self._timeout_ms, None, request_id)
        scores = await self._pool.call(PREDICT, doc, options, timeout_ms=options.timeout_ms)
        if prefers_json(accept):
            return json_response({"scores": best_first(scores)}, request_id, headers=_VARY)
        return text_response(_lines(scores), request_id, headers=_VARY)

    def direct(self) -> Direct:
        """Of `doc` alone, for lines."""
        return Direct(
            read=_doc_alone,
            calls=self._pool.calls_of(PREDICT, self._timeout_ms),
            write=lambda scores: _lines(scores).encode(),
            headers={"Content-Type": UTF_8_TEXT, **_VARY},
        )

    def _greet(self, request_id: str) -> web.Response:
        """For who looks whether anybody is there, as balancers do."""
        about = {"service": "predictor", "status": "alive", "version": VERSION}
        greeting = {**about, "ready": "/readyz", "paths": list(self._paths)}
        return json_response(greeting, request_id, headers=_VARY)


def _lines(scores: dict[str, float]) -> str:
    """A line for each label, in the order of their code points, which is that of their UTF-8 bytes."""
    labels = tuple(scores)
    if len(labels) < 2:  # where itemgetter gives no tuple
        return "".join([f"{label}:{score:g}\n" for label, score in scores.items()])
    form, values = _form_of_lines(labels)
    return form % values(scores)


@lru_cache(maxsize=64)
def _form_of_lines(labels: tuple[str, ...]) -> tuple[str, Callable[[dict[str, float]], tuple[float, ...]]]:
    """The lines with a %g, which in Python is C's, for each score, and what gives the scores in their order."""
    ordered = sorted(labels)
    return "".join([f"{label.replace('%', '%%')}:%g\n" for label in ordered]), itemgetter(*ordered)


def _doc_alone(head: Head, _body: bytes) -> str | None:
    """The one field of a query, where the client reads lines."""
    query = head.raw_query_string
    if not query.startswith("doc=") or "&" in query or prefers_json(head.block.accept):
        return None
    return _decoded(query[4:].replace("+", " "))


def _decoded(text: str) -> str:
    """ASCII with `%XX` for bytes of UTF-8; by a codec in C, which knows them as `\\xXX`, where nothing is wrong."""
    text = text.replace("%20", " ")  # most are
    if "%" not in text:
        return text
    if "\\" not in text:
        try:
            return text.replace("%", "\\x").encode().decode("unicode_escape").encode("latin-1").decode(errors="replace")
        except UnicodeDecodeError:  # a % that is followed by something else
            pass
    return unquote_to_bytes(text).decode(errors="replace")


class _Options(ModelRequest):
    """What else counts in PyText's query; other fields are ignored, as they were."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    @classmethod
    def of(cls, query: str) -> _Options:
        """Of a whole query. Raises HttpError."""
        try:
            return cls.model_validate(
                dict(reversed(parse_qsl(query, keep_blank_values=True)))
            )  # the first of a name wins
        except ValidationError as error:
            raise what_is_wrong(error) from None


def has_doc(query: str) -> bool:
    """Whether a query is PyText's."""
    return "doc" in query and _doc(query) is not None


def _doc(query: str) -> str | None:
    """The first `doc`; bytes that are no UTF-8 are replaced."""
    if query.startswith("doc=") and "&" not in query and query.isascii():
        return _decoded(query[4:].replace("+", " "))
    fields = parse_qsl(query, keep_blank_values=True)
    return next((value for name, value in fields if name == "doc"), None)


def _error(error: HttpError, request: web.BaseRequest, request_id: str) -> web.Response:
    """An error as the client reads answers."""
    return (json_error if prefers_json(request.headers.get("Accept", "")) else text_error)(error, request_id)


ERRORS = ErrorFormat("TextOrJsonError", _error, {TEXT: STRING, JSON: ERROR})


def routes(settings: Settings, pool: Pool, paths: Sequence[str]) -> list[Route]:
    """Every path that no other route has; `paths` are all that there are, to greet with."""
    doc = {**STRING, "description": "The document; the first one counts."}
    pytext = PyText(settings, pool, paths)
    return [
        Route(
            path="/",
            methods=(),
            answer=pytext,
            direct=pytext.direct(),
            name="classify",
            summary="Classify one document, as PyText's proxy did, whatever the method",
            description=_DESCRIPTION,
            tag="pytext",
            request={"type": "object", "properties": {"doc": doc}},
            example=Example({"doc": "set an alarm"}),
            answers=(
                Answer(
                    {TEXT: STRING, JSON: {"anyOf": [object_of(scores=SCORES), _GREETING]}},
                    examples={TEXT: "alarm/set_alarm:-0.0513\nweather/find:-4.21\n"},
                ),
            ),
            errors=MODEL_ERRORS,
            entrance=Entrance.OPEN,  # of it, the greeting alone: predictions are calls
            small=True,
            error_format=ERRORS,
        )
    ]
