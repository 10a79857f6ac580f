"""What a call can raise: a class for each code of the contract, and three for calls without an answer."""

from __future__ import annotations

from typing import Any

from predictor.ttypes import ErrorCode


class PredictorError(Exception):
    """Every error of this package but wrong arguments, which are TypeError and ValueError."""


class ConnectFailed(PredictorError, ConnectionError):  # noqa: N818 - named as Python's ConnectionError's kin
    """No connection could be made, so the server got nothing of the call."""


class ConnectionLost(PredictorError, ConnectionError):  # noqa: N818 - as above
    """The connection ended before the answer came. The server may have run the call, or not."""


class CallTimeout(PredictorError, TimeoutError):  # noqa: N818 - as above
    """No answer came in time, although a server ends calls at their deadlines by itself."""


class ProtocolError(PredictorError):
    """What the other side sent is no answer to the call: another service, or another version of this one."""


class CallError(PredictorError):
    """The server's own answer that the call failed; subclasses say why.

    `field` is the path of the argument that is wrong, such as texts[3], `setting` the server's setting whose limit was
    hit, `retry_after` the seconds after which a new try makes sense, `request_id` what the server's log knows the call
    by; each is None where the server does not say it. `code` is the contract's name of the failure.
    """

    def __init__(
        self,
        code: str,
        message: str,
        *,
        field: str | None = None,
        setting: str | None = None,
        retry_after: float | None = None,
        request_id: str | None = None,
    ) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.field = field
        self.setting = setting
        self.retry_after = retry_after
        self.request_id = request_id


class InvalidArgument(CallError, ValueError):  # noqa: N818 - the codes' names
    """The input is wrong; `field` says where."""


class Unauthenticated(CallError):  # noqa: N818
    """No token or certificate, or a wrong one."""


class PermissionDenied(CallError):  # noqa: N818
    """The server knows the caller, who may not do this."""


class NotFound(CallError, LookupError):  # noqa: N818
    """No such model, version, stream or job."""


class TooLarge(CallError, ValueError):  # noqa: N818
    """Over a size limit; `setting` names it, where one sets it."""


class Overloaded(CallError):  # noqa: N818
    """The queue is full; the call did not run."""


class DeadlineExceeded(CallError, TimeoutError):  # noqa: N818
    """The deadline passed, time in the queue included."""


class Unavailable(CallError):  # noqa: N818
    """The model is loading, or the server is draining; the call did not run."""


class Cancelled(CallError):  # noqa: N818
    """Somebody cancelled the call, such as a stream."""


class InternalError(CallError):
    """A fault of the server or of the model; the server's log has the details under `request_id`."""


BY_CODE: dict[str, type[CallError]] = {
    "INVALID_ARGUMENT": InvalidArgument,
    "UNAUTHENTICATED": Unauthenticated,
    "PERMISSION_DENIED": PermissionDenied,
    "NOT_FOUND": NotFound,
    "TOO_LARGE": TooLarge,
    "OVERLOADED": Overloaded,
    "DEADLINE_EXCEEDED": DeadlineExceeded,
    "UNAVAILABLE": Unavailable,
    "CANCELLED": Cancelled,
    "INTERNAL": InternalError,
}


def call_error(error: Any) -> CallError:
    """The contract's PredictionError as one of ours; a code that this version does not know stays a CallError."""
    code = ErrorCode._VALUES_TO_NAMES.get(error.code, str(error.code))
    retry_after = None if error.retry_after_ms is None else error.retry_after_ms / 1000
    return BY_CODE.get(code, CallError)(
        code,
        error.message,
        field=error.field,
        setting=error.setting,
        retry_after=retry_after,
        request_id=error.request_id,
    )
