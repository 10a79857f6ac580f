"""Errors as OpenAI's clients read them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rest_proxy.http.content import JSON, STRING, object_of
from rest_proxy.http.responses import ErrorFormat, error_headers, json_response

if TYPE_CHECKING:
    from aiohttp import web

    from rest_proxy.http.errors import HttpError


_CODES = {"NOT_FOUND": "model_not_found", "UNAUTHENTICATED": "invalid_api_key"}


def error_object(error: HttpError, _request_id: str) -> dict[str, Any]:
    """An error as JSON has it; the request's id is in the header that OpenAI's clients look at."""
    kind = "server_error" if error.status >= 500 else "invalid_request_error"
    if error.status == 429:
        kind = "rate_limit_error"
    code = _CODES.get(error.code) or error.code.lower()
    if _is_over_the_context(error):
        code = "context_length_exceeded"
    content = {"message": error.message, "type": kind, "param": error.field, "code": code}
    if error.setting is not None:
        content["setting"] = error.setting
    return {"error": content}


def _error(error: HttpError, _request: web.BaseRequest, request_id: str) -> web.Response:
    status = 400 if _is_over_the_context(error) else error.status
    return json_response(error_object(error, request_id), request_id, status, error_headers(error))


def _is_over_the_context(error: HttpError) -> bool:
    """Whether a prompt has more tokens than the model reads. OpenAI's status for it is 400."""
    is_prompt = (error.field or "").partition("[")[0] in ("prompt", "messages")
    return error.code == "TOO_LARGE" and is_prompt and error.setting in (None, "max_tokens")


def _schema() -> dict[str, Any]:
    error = object_of(message=STRING, type=STRING, param={"type": ["string", "null"]}, code=STRING)
    error["properties"]["setting"] = {**STRING, "description": "Ours: the setting whose limit was hit."}
    return object_of(error=error)


ERRORS = ErrorFormat("OpenAiError", _error, {JSON: _schema()})
