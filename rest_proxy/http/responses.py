"""Answers: JSON and plain text, results and errors."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from operator import itemgetter
from typing import TYPE_CHECKING, Any

import orjson
from aiohttp import web
from predictor.ttypes import ErrorCode
from pydantic_core import to_json

from rest_proxy.http.content import JSON, STRING, TEXT, object_of
from rest_proxy.http.errors import STATUS

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from process.timing import Times
    from rest_proxy.http.content import Schema
    from rest_proxy.http.errors import HttpError

REQUEST_ID = "X-Request-Id"
SERVER_TIMING = "Server-Timing"
_SECOND = itemgetter(1)
_LONGEST = 1024
"""Characters of a header Accept that are looked at."""
UTF_8_TEXT = f"{TEXT}; charset=utf-8"


class Whole(web.Response):
    """An answer with its whole body. It becomes one of aiohttp's when somebody looks at more of it than its status.

    To make one of those takes as long as to read the request, and the short way of small requests needs none.
    """

    def __init__(self, body: bytes, headers: Mapping[str, str], status: int = 200) -> None:
        self.plain_body = body
        self.plain_headers = headers
        self._status = status

    def __getattr__(self, name: str) -> Any:
        """Called for what is not there yet."""
        if "_state" in self.__dict__:
            raise AttributeError(name)
        super().__init__(body=self.plain_body, status=self._status, headers=self.plain_headers)
        return getattr(self, name)


def with_timing(response: web.StreamResponse, times: Times | None, seconds: float) -> web.StreamResponse:
    """The answer with the header Server-Timing: milliseconds, with those of the models' work where it is known.

    A stream, whose head is written before its end is known, is left as it is.
    """
    parts = [f"total;dur={seconds * 1e3:.3f}"]
    if times is not None and times.model_ns:
        parts += [f"queue;dur={times.queue_ns / 1e6:.3f}", f"model;dur={times.model_ns / 1e6:.3f}"]
    value = ", ".join(parts)
    if isinstance(response, Whole):
        return Whole(response.plain_body, {**response.plain_headers, SERVER_TIMING: value}, response.status)
    if not response.prepared:
        response.headers[SERVER_TIMING] = value
    return response


def json_response(
    value: Any, request_id: str, status: int = 200, headers: Mapping[str, str] | None = None, end: bytes = b"\n"
) -> web.Response:
    """`value` as JSON; a number that JSON does not have (infinity, not a number) becomes null."""
    return Whole(json_bytes(value, end), {"Content-Type": JSON, REQUEST_ID: request_id, **(headers or {})}, status)


def json_bytes(value: Any, end: bytes = b"\n") -> bytes:
    """The body of json_response. orjson takes a third of the time, and writes the same, but for what it cannot."""
    try:
        return orjson.dumps(value) + end
    except TypeError:
        return to_json(value, inf_nan_mode="null") + end


def scores_body(field: str) -> Callable[[dict[str, float] | bytes], bytes]:
    """What writes the body of json_response({field: best_first(scores)}), in as few steps as that can be done in.

    Bytes are the scores' JSON.
    """
    beginning = f'{{"{field}":'.encode()

    def write(scores: dict[str, float] | bytes) -> bytes:
        if isinstance(scores, bytes):
            return b"%b%b}\n" % (beginning, scores)
        best = {field: dict(sorted(scores.items(), key=_SECOND, reverse=True))}
        try:
            return orjson.dumps(best, option=orjson.OPT_APPEND_NEWLINE)
        except TypeError:
            return json_bytes(best)

    return write


def numbers_response(value: Any, request_id: str) -> web.Response:
    """As json_response, for many numbers: NumPy's arrays in `value` are lists, float32 in as few digits as it needs."""
    body = orjson.dumps(value, option=orjson.OPT_SERIALIZE_NUMPY | orjson.OPT_APPEND_NEWLINE)
    return Whole(body, {"Content-Type": JSON, REQUEST_ID: request_id})


def text_response(
    text: str, request_id: str, status: int = 200, headers: Mapping[str, str] | None = None
) -> web.Response:
    """`text` as plain text in UTF-8."""
    return Whole(text.encode(), {"Content-Type": UTF_8_TEXT, REQUEST_ID: request_id, **(headers or {})}, status)


def json_error(error: HttpError, request_id: str) -> web.Response:
    """Our own form of an error."""
    return json_response(error_object(error, request_id), request_id, error.status, error_headers(error))


def text_error(error: HttpError, request_id: str) -> web.Response:
    """The message on a line."""
    return text_response(f"{error.message}\n", request_id, error.status, error_headers(error))


def error_object(error: HttpError, request_id: str) -> dict[str, Any]:
    """{"error": {"code", "message", "request_id"}}, with "field" and "setting" where they are known."""
    content = {"code": error.code, "message": error.message, "request_id": request_id}
    if error.field is not None:
        content["field"] = error.field
    if error.setting is not None:
        content["setting"] = error.setting
    return {"error": content}


def error_headers(error: HttpError) -> dict[str, str]:
    """Retry-After in whole seconds, rounded up (RFC 9110, section 10.2.3), Allow, and WWW-Authenticate (11.6.1)."""
    headers = {}
    if error.status == 401:
        headers["WWW-Authenticate"] = "Bearer"
    if error.retry_after_ms is not None:
        headers["Retry-After"] = str(max(1, math.ceil(error.retry_after_ms / 1000)))
    if error.allow is not None:
        headers["Allow"] = error.allow
    return headers


def best_first(scores: dict[str, float]) -> dict[str, float]:
    """The scores with the highest in front."""
    return dict(sorted(scores.items(), key=_SECOND, reverse=True))


@dataclass(frozen=True, slots=True)
class ErrorFormat:
    """How the routes of an API say that something is wrong."""

    name: str
    """Its name in the OpenAPI document."""
    respond: Callable[[HttpError, web.BaseRequest, str], web.Response]
    content: Mapping[str, Schema]
    """The media types of such an answer, each with its JSON Schema."""


def _error_schema() -> Schema:
    codes = {"enum": [ErrorCode._VALUES_TO_NAMES[code] for code in STATUS]}
    error = object_of(code=codes, message=STRING, request_id=STRING)
    error["properties"] |= {
        "field": {**STRING, "description": "The field that is wrong; the message begins with it."},
        "setting": {**STRING, "description": "The setting whose limit was hit, or that would help."},
    }
    return object_of(error=error)


ERROR = _error_schema()
JSON_ERRORS = ErrorFormat("Error", lambda error, _request, request_id: json_error(error, request_id), {JSON: ERROR})


@lru_cache(maxsize=256)
def prefers_json(accept: str) -> bool:
    """Whether a header Accept asks for JSON rather than plain text (RFC 9110, section 12.5.1); a tie goes to JSON."""
    qualities: dict[str, float] = {}
    for choice in accept[:_LONGEST].split(","):
        media_type, *parameters = (part.strip().lower() for part in choice.split(";"))
        quality = next((part[2:] for part in parameters if part.startswith("q=")), "1")
        try:
            qualities[media_type] = float(quality)
        except ValueError:
            qualities[media_type] = 0.0
    return qualities.get(JSON, 0.0) > 0 and qualities[JSON] >= qualities.get(TEXT, 0.0)
