"""Errors as HTTP answers: the one table of the contract's ErrorCode, and what goes wrong before a call is made.

An error's text is made in one place: `field: message (setting name)`. Field and setting are data beside it, so that no
program needs to read the text.
"""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING

import structlog
from predictor.ttypes import ErrorCode, PredictionError
from thrift.Thrift import TApplicationException

if TYPE_CHECKING:
    from collections.abc import Mapping

STATUS = {
    ErrorCode.INVALID_ARGUMENT: 400,
    ErrorCode.UNAUTHENTICATED: 401,
    ErrorCode.PERMISSION_DENIED: 403,
    ErrorCode.NOT_FOUND: 404,
    ErrorCode.TOO_LARGE: 413,
    ErrorCode.OVERLOADED: 429,
    ErrorCode.DEADLINE_EXCEEDED: 504,
    ErrorCode.UNAVAILABLE: 503,
    ErrorCode.CANCELLED: 499,
    ErrorCode.INTERNAL: 500,
}

MEANING = {
    ErrorCode.INVALID_ARGUMENT: "The request is wrong; `field` says where.",
    ErrorCode.UNAUTHENTICATED: "A token is needed, and none is given, or one that is not known.",
    ErrorCode.PERMISSION_DENIED: "The caller is known, but may not do this.",
    ErrorCode.NOT_FOUND: "There is no such model, job or method.",
    ErrorCode.TOO_LARGE: "The request is over a limit; `setting` names it.",
    ErrorCode.OVERLOADED: "There are too many requests at a time.",
    ErrorCode.DEADLINE_EXCEEDED: "The deadline passed, time in the queue included.",
    ErrorCode.UNAVAILABLE: "No server is ready, or the model is loading.",
    ErrorCode.CANCELLED: "The call was cancelled.",
    ErrorCode.INTERNAL: "The server or the proxy failed; its log has the details under the request's id.",
}

_SHOWN = 64  # characters of what was sent

_OF_CURL = ("", "application/x-www-form-urlencoded", "application/octet-stream")
"""Content types of JSON that is sent by who did not think of them."""

SAME_NAMES: Mapping[str, str] = MappingProxyType({})

log = structlog.get_logger(__name__)


class HttpError(Exception):
    """A request that gets an error for an answer.

    `code` is an ErrorCode and `status` its HTTP status, unless HTTP has a narrower one (405, 408, 415). `field` is the
    path of the request's field that is wrong or over a limit, such as `texts[3]`, with which the message begins, and
    `setting` the setting whose limit was hit. `retry_after_ms` becomes the header Retry-After, and `allow` the header
    Allow.
    """

    def __init__(
        self,
        code: int,
        message: str,
        *,
        field: str | None = None,
        setting: str | None = None,
        status: int | None = None,
        retry_after_ms: int | None = None,
        allow: str | None = None,
    ) -> None:
        super().__init__(message)
        self.code: str = ErrorCode._VALUES_TO_NAMES.get(code, "INTERNAL")
        self.message = message
        self.field = field
        self.setting = setting
        self.status = STATUS.get(code, 500) if status is None else status
        self.retry_after_ms = retry_after_ms
        self.allow = allow


def invalid_argument(message: str, *, field: str | None = None, setting: str | None = None) -> HttpError:
    """The request is wrong; `message` says what is."""
    return HttpError(ErrorCode.INVALID_ARGUMENT, _text(message, field, setting), field=field, setting=setting)


def too_large(message: str, *, setting: str, field: str | None = None) -> HttpError:
    """Over a limit; `message` names the limit."""
    return HttpError(ErrorCode.TOO_LARGE, _text(message, field, setting), field=field, setting=setting)


def refused(code: str, message: str, retry_after_ms: int | None = None) -> HttpError:
    """A caller may not do this, or not now: `code` is UNAUTHENTICATED, PERMISSION_DENIED or OVERLOADED."""
    return HttpError(ErrorCode._NAMES_TO_VALUES[code], message, retry_after_ms=retry_after_ms)


def overloaded(message: str, *, setting: str, retry_after_ms: int = 1000) -> HttpError:
    """Too much at a time; a new try makes sense after `retry_after_ms`."""
    text = _text(message, None, setting)
    return HttpError(ErrorCode.OVERLOADED, text, setting=setting, retry_after_ms=retry_after_ms)


def body_too_late(timeout_ms: int, announced: int | None, came: int) -> HttpError:
    """The body did not arrive in time; `announced`: how many bytes its header Content-Length says, if there is one."""
    text = f"the body took over {timeout_ms} ms"
    if announced is not None and came < announced:
        text += f": its header Content-Length says {announced} bytes, and {came} came"
    message = _text(text, None, "body_timeout_ms")
    return HttpError(ErrorCode.DEADLINE_EXCEEDED, message, setting="body_timeout_ms", status=408)


def method_not_allowed(method: str, path: str, allowed: str) -> HttpError:
    """`allowed` lists the methods of the path, comma-separated."""
    message = f"{path} does not answer {method}; use {allowed}"
    return HttpError(ErrorCode.INVALID_ARGUMENT, message, status=405, allow=allowed)


def unsupported_media_type(content_type: str | None, supported: str) -> HttpError:
    """`content_type`: the header, None where there is none; `supported` names the types that the path takes."""
    if content_type is None:
        message = f"the body has no content type; say Content-Type: {supported}"
    else:
        message = f"content type {content_type[:_SHOWN]!r} is not supported by this path; use {supported}"
    media_type = (content_type or "").partition(";")[0].strip().lower()
    if "json" in supported and media_type in _OF_CURL:
        message += ": send JSON with curl --json, which says so"  # and curl --data does not
    return HttpError(ErrorCode.INVALID_ARGUMENT, message, status=415)


def unsupported_encoding(encoding: str, supported: str) -> HttpError:
    """`supported` names the ways in which a body may be compressed."""
    message = f"content encoding {encoding[:64]!r} is not supported; use {supported}, or none"
    return HttpError(ErrorCode.INVALID_ARGUMENT, message, status=415)


def one_line(reason: object) -> str:
    """A library's words, which may be many lines or long, for a message of ours."""
    return " ".join(str(reason).split())[:200]


def request_field(field: str, names: Mapping[str, str] = SAME_NAMES) -> str:
    """The field of a request that became the field of a call.

    A request has its fields in no struct: `options.top_k` is `top_k`. `names` has those that are named otherwise, whole
    (`texts[0]`) or without their index (`texts`).
    """
    struct, _, path = field.partition(".")
    if not path or not struct.endswith(("options", "request")):  # an argument's own, as in messages[3].role
        path = field
    name, bracket, index = path.partition("[")
    return names.get(path) or f"{names.get(name, name)}{bracket}{index}"


def refusal(error: PredictionError, names: Mapping[str, str] = SAME_NAMES) -> HttpError:
    """The server's error as an answer that names the request's own field; for `names` see `request_field`."""
    message, field = error.message, error.field
    if field is not None:
        message = message.removeprefix(f"{field}: ")  # with which it begins, by the contract
        field = request_field(field, names)
        message = f"{field}: {message}"
    return HttpError(error.code, message, field=field, setting=error.setting, retry_after_ms=error.retry_after_ms)


def explain(error: Exception, path: str, request_id: str, names: Mapping[str, str] = SAME_NAMES) -> HttpError:
    """What went wrong with a request, as its answer; what nobody foresaw is logged with the request's path and id."""
    if isinstance(error, HttpError):
        return error
    if isinstance(error, PredictionError):
        return refusal(error, names)
    if isinstance(error, UnicodeEncodeError):
        return invalid_argument(f"the text is not valid Unicode: {error.reason} at character {error.start}")
    if isinstance(error, TApplicationException) and error.type == TApplicationException.UNKNOWN_METHOD:
        return HttpError(ErrorCode.NOT_FOUND, f"the server does not have this method: {error.message}")
    if isinstance(error, TApplicationException):
        return HttpError(ErrorCode.INTERNAL, f"the server failed: {error}")
    log.error("a request failed", path=path[:256], request_id=request_id, exc_info=error)
    return HttpError(ErrorCode.INTERNAL, f"the proxy failed; its log has the details under the request id {request_id}")


def _text(message: str, field: str | None, setting: str | None) -> str:
    text = message if field is None else f"{field}: {message}"
    return text if setting is None else f"{text} (setting {setting})"
