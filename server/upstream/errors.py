"""How a call of an upstream server can fail."""

from __future__ import annotations

from server.errors import PredictionError, internal, invalid_argument, not_found, overloaded, too_large, unavailable

DEFAULT_RETRY_MS = 1000

_LONGEST_RETRY_MS = 3_600_000
_SHOWN_CHARACTERS = 500


class UpstreamError(Exception):
    """A call failed; the message says why, for people."""

    def prediction_error(self) -> PredictionError:
        """What the caller is told."""
        return internal(str(self))


class AnswerError(UpstreamError):
    """The server failed, or what it answered is no answer."""


class DeniedError(AnswerError):
    """The server does not accept our API key."""


class PassingError(UpstreamError):
    """Another try may succeed."""

    def __init__(self, message: str, retry_after_ms: int | None = None) -> None:
        super().__init__(message)
        self.retry_after_ms = DEFAULT_RETRY_MS if retry_after_ms is None else retry_after_ms


class UnavailableError(PassingError):
    """The server cannot be reached, went away, or is loading."""

    def prediction_error(self) -> PredictionError:
        """UNAVAILABLE."""
        return unavailable(str(self), self.retry_after_ms)


class BusyError(PassingError):
    """The server has too much to do."""

    def prediction_error(self) -> PredictionError:
        """OVERLOADED."""
        return overloaded(str(self), self.retry_after_ms)


class RefusedError(UpstreamError):
    """The server does not take this request; maybe others."""

    def __init__(self, message: str, status: int) -> None:
        super().__init__(message)
        self.status = status

    def prediction_error(self) -> PredictionError:
        """INVALID_ARGUMENT, TOO_LARGE or NOT_FOUND, whose field only the caller knows."""
        if self.status == 404:
            return not_found(str(self))
        return too_large(str(self)) if self.status == 413 else invalid_argument(str(self))


def shown(text: str) -> str:
    """What a server says, for a message: one line, of a bounded length, without control characters."""
    printable = (letter if letter.isprintable() else " " for letter in text[: 4 * _SHOWN_CHARACTERS])
    line = " ".join("".join(printable).split())
    return line if len(line) <= _SHOWN_CHARACTERS else line[:_SHOWN_CHARACTERS] + "..."


def milliseconds(retry_after: str | None) -> int | None:
    """Of a header Retry-After in seconds; None: there is none, or a date, which is as good."""
    try:
        seconds = float(retry_after or "")
    except ValueError:
        return None
    return round(min(seconds * 1000, _LONGEST_RETRY_MS)) if seconds >= 0 else None
