"""Errors as HTTP answers: the one table of the contract's ErrorCode, and what goes wrong before a call is made."""

from __future__ import annotations

import re

import structlog
from predictor.ttypes import ErrorCode, PredictionError
from thrift.Thrift import TApplicationException

STATUS = {
    ErrorCode.INVALID_ARGUMENT: 400,
    ErrorCode.NOT_FOUND: 404,
    ErrorCode.TOO_LARGE: 413,
    ErrorCode.OVERLOADED: 429,
    ErrorCode.DEADLINE_EXCEEDED: 504,
    ErrorCode.UNAVAILABLE: 503,
    ErrorCode.CANCELLED: 499,
    ErrorCode.INTERNAL: 500,
}

_OPTION = re.compile(r"\b(?:generation_|embed_|reply_)?options\.(?=([a-z_]+))")

log = structlog.get_logger(__name__)


class HttpError(Exception):
    """A request that gets an error for an answer.

    `code` is an ErrorCode and `status` its HTTP status, unless HTTP has a narrower one (405, 415). `retry_after_ms`
    becomes the header Retry-After, and `allow` the header Allow. `field` names the part of the request that is wrong,
    where it is one.
    """

    def __init__(
        self,
        code: int,
        message: str,
        *,
        status: int | None = None,
        retry_after_ms: int | None = None,
        allow: str | None = None,
        field: str | None = None,
    ) -> None:
        super().__init__(message)
        self.code: str = ErrorCode._VALUES_TO_NAMES.get(code, "INTERNAL")
        self.message = message
        self.status = STATUS.get(code, 500) if status is None else status
        self.retry_after_ms = retry_after_ms
        self.allow = allow
        self.field = field


def invalid_argument(message: str, *, field: str | None = None) -> HttpError:
    """The request is wrong; `message` says what and where."""
    return HttpError(ErrorCode.INVALID_ARGUMENT, message, field=field)


def too_large(message: str) -> HttpError:
    """Over a limit; `message` names the limit and its setting."""
    return HttpError(ErrorCode.TOO_LARGE, message)


def method_not_allowed(method: str, path: str, allowed: str) -> HttpError:
    """`allowed` lists the methods of the path, comma-separated."""
    message = f"{path} does not answer {method}; use {allowed}"
    return HttpError(ErrorCode.INVALID_ARGUMENT, message, status=405, allow=allowed)


def unsupported_media_type(content_type: str, supported: str) -> HttpError:
    """`supported` names the types that the path takes."""
    message = f"content type {content_type!r} is not one of this path; use {supported}"
    return HttpError(ErrorCode.INVALID_ARGUMENT, message, status=415)


def unsupported_encoding(encoding: str, supported: str) -> HttpError:
    """`supported` names the ways in which a body may be packed."""
    message = f"content encoding {encoding[:64]!r} is not known here; use {supported}, or none"
    return HttpError(ErrorCode.INVALID_ARGUMENT, message, status=415)


def one_line(reason: object) -> str:
    """A library's words, which may be many lines or long, for a message of ours."""
    return " ".join(str(reason).split())[:200]


def explain(error: Exception, path: str, request_id: str) -> HttpError:
    """What went wrong with a request, as its answer; what nobody foresaw is logged with the request's path and id."""
    if isinstance(error, HttpError):
        return error
    if isinstance(error, PredictionError):
        option = _OPTION.match(error.message)
        message = _OPTION.sub("", error.message)  # a request has its fields in no struct here
        field = option and option[1]
        return HttpError(error.code, message, retry_after_ms=error.retry_after_ms, field=field)
    if isinstance(error, UnicodeEncodeError):
        return invalid_argument(f"the text is not valid Unicode: {error.reason} at character {error.start}")
    if isinstance(error, TApplicationException) and error.type == TApplicationException.UNKNOWN_METHOD:
        return HttpError(ErrorCode.NOT_FOUND, f"the server does not have this method: {error.message}")
    if isinstance(error, TApplicationException):
        return HttpError(ErrorCode.INTERNAL, f"the server failed: {error}")
    log.error("a request failed", path=path[:256], request_id=request_id, exc_info=error)
    return HttpError(ErrorCode.INTERNAL, f"a fault of the proxy; its log has the details under {request_id}")
