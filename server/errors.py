"""The one table of errors, as functions that make the contract's PredictionError.

Everything in the server that refuses or fails a call raises one of these, so that the transport has a declared
exception to send and the proxy has an HTTP status to answer with.
"""

from predictor.ttypes import ErrorCode, PredictionError

__all__ = [
    "ErrorCode",
    "PredictionError",
    "cancelled",
    "deadline_exceeded",
    "internal",
    "invalid_argument",
    "not_found",
    "overloaded",
    "too_large",
    "unavailable",
]


def invalid_argument(message: str) -> PredictionError:
    """The input is wrong; `message` says what and where."""
    return PredictionError(ErrorCode.INVALID_ARGUMENT, message)


def not_found(message: str) -> PredictionError:
    """No such model, version, stream or job."""
    return PredictionError(ErrorCode.NOT_FOUND, message)


def too_large(message: str) -> PredictionError:
    """Over a size limit; `message` names the limit and its setting."""
    return PredictionError(ErrorCode.TOO_LARGE, message)


def overloaded(message: str, retry_after_ms: int) -> PredictionError:
    """The queue is full; a new try makes sense after `retry_after_ms` milliseconds."""
    return PredictionError(ErrorCode.OVERLOADED, message, retry_after_ms)


def deadline_exceeded(message: str) -> PredictionError:
    """The deadline passed, time in the queue included."""
    return PredictionError(ErrorCode.DEADLINE_EXCEEDED, message)


def unavailable(message: str, retry_after_ms: int | None = None) -> PredictionError:
    """The model is loading, or the server is draining."""
    return PredictionError(ErrorCode.UNAVAILABLE, message, retry_after_ms)


def cancelled(message: str) -> PredictionError:
    """The caller went away, or cancelled."""
    return PredictionError(ErrorCode.CANCELLED, message)


def internal(message: str, request_id: str | None = None) -> PredictionError:
    """A fault of ours or of the model; the log has the details under `request_id`."""
    return PredictionError(ErrorCode.INTERNAL, message, None, request_id)
