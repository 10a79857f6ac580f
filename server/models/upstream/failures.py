"""What becomes of a call that failed, for the queue that it came from."""

from __future__ import annotations

from server.errors import PredictionError
from server.upstream.errors import AnswerError, UpstreamError


def failure(error: UpstreamError, server: str) -> Exception:
    """What callers are told; of the server's own faults, what only the log is."""
    text = f"the upstream server at {server}: {error}"
    if isinstance(error, AnswerError):
        return RuntimeError(text)
    found = error.prediction_error()
    told: Exception = PredictionError(found.code, text, found.retry_after_ms)
    return told
