"""The one table of errors, as functions that make the contract's PredictionError.

Everything in the server that refuses or fails a call raises one of these, so that the transport has a declared
exception to send and the proxy has an HTTP status to answer with.

`field` is the path of the argument that is wrong or over a limit (`options.top_k`, `texts[3]`), `setting` the server's
setting whose limit was hit or that would help. Both are data of the error, for programs. They are put into its text
here and nowhere else: `field: message (setting name)`.
"""

from __future__ import annotations

import asyncio
import uuid
from typing import Any

from predictor.ttypes import ErrorCode, PredictionError

__all__ = [
    "ErrorCode",
    "ModelError",
    "PredictionError",
    "at",
    "cancelled",
    "deadline_exceeded",
    "internal",
    "invalid_argument",
    "not_found",
    "over_rate",
    "overloaded",
    "presentable",
    "too_large",
    "unavailable",
    "with_setting",
]


class ModelError(Exception):
    """A model cannot be loaded; the message says why, for people."""


def invalid_argument(message: str, *, field: str | None = None, setting: str | None = None) -> PredictionError:
    """The input is wrong; `message` says what."""
    return _error(ErrorCode.INVALID_ARGUMENT, message, field, setting)


def not_found(message: str, *, field: str | None = None) -> PredictionError:
    """No such model, version, stream or job."""
    return _error(ErrorCode.NOT_FOUND, message, field)


def too_large(message: str, *, field: str | None = None, setting: str | None = None) -> PredictionError:
    """Over a size limit; `message` names the limit, `setting` what sets it."""
    return _error(ErrorCode.TOO_LARGE, message, field, setting)


def overloaded(message: str, retry_after_ms: int, *, setting: str | None = None) -> PredictionError:
    """The queue is full; a new try makes sense after `retry_after_ms` milliseconds."""
    return _error(ErrorCode.OVERLOADED, message, None, setting, retry_after_ms)


def over_rate(rate: float, wait_s: float) -> PredictionError:
    """An address sends more than `rate` requests a second; a new try makes sense after `wait_s` seconds."""
    message = f"over {rate:g} requests a second come from this address"
    return _error(ErrorCode.OVERLOADED, message, None, "requests_per_address", int(wait_s * 1000) + 1)


def deadline_exceeded(message: str, *, setting: str | None = None) -> PredictionError:
    """The deadline passed, time in the queue included."""
    return _error(ErrorCode.DEADLINE_EXCEEDED, message, None, setting)


def unavailable(message: str, retry_after_ms: int | None = None, *, setting: str | None = None) -> PredictionError:
    """The model is loading, or the server is draining."""
    return _error(ErrorCode.UNAVAILABLE, message, None, setting, retry_after_ms)


def cancelled(message: str) -> PredictionError:
    """The caller went away, or cancelled."""
    return PredictionError(ErrorCode.CANCELLED, message)


def internal(message: str, request_id: str | None = None) -> PredictionError:
    """A fault of ours or of the model; the log has the details under `request_id`."""
    return PredictionError(ErrorCode.INTERNAL, message, None, request_id)


def presentable(error: BaseException, method: str, log: Any) -> PredictionError:
    """What the caller of `method` gets to see of an error: of a fault of ours only the id that the log knows it by."""
    if isinstance(error, PredictionError):
        return error
    if isinstance(error, asyncio.CancelledError):
        return cancelled("the call was cancelled")
    request_id = uuid.uuid4().hex
    log.error("call failed", method=method, request_id=request_id, exc_info=error)
    return internal(f"internal error; the server's log knows it as {request_id}", request_id)


def at(error: PredictionError, field: str) -> PredictionError:
    """The same error, of the argument `field`: who raised it knew the value, but not which argument it is."""
    message = f"{field}: {error.message}"
    return PredictionError(error.code, message, error.retry_after_ms, error.request_id, field, error.setting)


def with_setting(error: PredictionError, setting: str) -> PredictionError:
    """The same error, with the setting that would help: who raised it did not know that it was the setting's doing."""
    message = f"{error.message} (setting {setting})"
    return PredictionError(error.code, message, error.retry_after_ms, error.request_id, error.field, setting)


def _error(
    code: int, message: str, field: str | None, setting: str | None = None, retry_after_ms: int | None = None
) -> PredictionError:
    if field is not None:
        message = f"{field}: {message}"
    if setting is not None:
        message = f"{message} (setting {setting})"
    return PredictionError(code, message, retry_after_ms, None, field, setting)
