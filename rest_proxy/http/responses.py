"""Answers: JSON and plain text, results and errors."""

from __future__ import annotations

import math
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import orjson
from aiohttp import web
from pydantic_core import to_json

if TYPE_CHECKING:
    from collections.abc import Mapping

    from rest_proxy.http.errors import HttpError

REQUEST_ID = "X-Request-Id"
_JSON = "application/json"
_TEXT = "text/plain; charset=utf-8"


def json_response(
    value: Any, request_id: str, status: int = 200, headers: Mapping[str, str] | None = None, end: bytes = b"\n"
) -> web.Response:
    """`value` as JSON; a number that JSON does not have (infinity, not a number) becomes null."""
    body = to_json(value, inf_nan_mode="null") + end
    return web.Response(
        body=body, status=status, headers={"Content-Type": _JSON, REQUEST_ID: request_id, **(headers or {})}
    )


def numbers_response(value: Any, request_id: str) -> web.Response:
    """As json_response, for many numbers: NumPy's arrays in `value` are lists, float32 in as few digits as it needs."""
    body = orjson.dumps(value, option=orjson.OPT_SERIALIZE_NUMPY | orjson.OPT_APPEND_NEWLINE)
    return web.Response(body=body, headers={"Content-Type": _JSON, REQUEST_ID: request_id})


def text_response(
    text: str, request_id: str, status: int = 200, headers: Mapping[str, str] | None = None
) -> web.Response:
    """`text` as plain text in UTF-8."""
    return web.Response(
        body=text.encode(), status=status, headers={"Content-Type": _TEXT, REQUEST_ID: request_id, **(headers or {})}
    )


def json_error(error: HttpError, request_id: str) -> web.Response:
    """The form of every error in JSON: {"error": {"code", "message", "request_id"}}."""
    return json_response(error_object(error, request_id), request_id, error.status, error_headers(error))


def text_error(error: HttpError, request_id: str) -> web.Response:
    """The message on a line."""
    return text_response(f"{error.message}\n", request_id, error.status, error_headers(error))


def error_object(error: HttpError, request_id: str) -> dict[str, Any]:
    """An error as JSON has it."""
    return {"error": {"code": error.code, "message": error.message, "request_id": request_id}}


def error_headers(error: HttpError) -> dict[str, str]:
    """Retry-After in whole seconds, rounded up (RFC 9110, section 10.2.3), and Allow."""
    headers = {}
    if error.retry_after_ms is not None:
        headers["Retry-After"] = str(max(1, math.ceil(error.retry_after_ms / 1000)))
    if error.allow is not None:
        headers["Allow"] = error.allow
    return headers


def best_first(scores: dict[str, float]) -> dict[str, float]:
    """The scores with the highest in front."""
    return dict(sorted(scores.items(), key=lambda item: item[1], reverse=True))


@lru_cache(maxsize=256)
def prefers_json(accept: str) -> bool:
    """Whether a header Accept asks for JSON rather than plain text (RFC 9110, section 12.5.1); a tie goes to JSON."""
    qualities: dict[str, float] = {}
    for choice in accept.split(","):
        media_type, *parameters = (part.strip().lower() for part in choice.split(";"))
        quality = next((part[2:] for part in parameters if part.startswith("q=")), "1")
        try:
            qualities[media_type] = float(quality)
        except ValueError:
            qualities[media_type] = 0.0
    return qualities.get(_JSON, 0.0) > 0 and qualities[_JSON] >= qualities.get("text/plain", 0.0)
