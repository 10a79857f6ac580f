"""What every prediction call begins with: which model answers it, and on which context its requests wait."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from predictor.ttypes import Lane

from process.options import LANE, REQUEST_ID, TIMEOUT_MS
from server.clients import CALLING
from server.errors import (
    ErrorCode,
    PredictionError,
    at,
    invalid_argument,
    with_setting,
)
from server.models.requests import RequestContext

if TYPE_CHECKING:
    from predictor.ttypes import RequestOptions

    from server.config import Settings
    from server.models.capabilities import Capability
    from server.models.model import Model
    from server.models.registry import Registry

# Here as a number: a call for every request would cost more than the look-up.
_REQUEST_ID_CHARACTERS = int(REQUEST_ID.maximum or 0)

_OF_ARGUMENT = (ErrorCode.INVALID_ARGUMENT, ErrorCode.TOO_LARGE)


_MIN_TIMEOUT_MS = TIMEOUT_MS.minimum


class Admission:
    """Checks the options of calls, and finds their models."""

    def __init__(self, registry: Registry, settings: Settings) -> None:
        self._model = registry.model
        self._timeout_ms = settings.timeout_ms
        self._timeout_ns = settings.timeout_ms * 1_000_000
        self._timeout_ms_of = settings.timeout_ms_of
        self._max_timeout_ms = settings.max_timeout_ms

    def admit(
        self, capability: Capability, options: RequestOptions | None, items: int = 1
    ) -> tuple[Model, RequestContext]:
        """The model that answers and the context on which the request waits. Raises PredictionError.

        `items`: how many requests to the model the call is, for the deadline of a caller who names none.
        """
        now = time.monotonic_ns()
        if options is None:
            timeout_ns = self._timeout_ns if items < 2 else self._timeout_ms_of(items) * 1_000_000
            context = RequestContext(Lane.INTERACTIVE, now + timeout_ns, None, CALLING.client)
            return self._model(capability, None), context
        lane = Lane.INTERACTIVE if options.lane is None else options.lane
        if lane not in Lane._VALUES_TO_NAMES:
            raise invalid_argument(f"must be 0 (INTERACTIVE) or 1 (BULK), got {lane}", field=f"options.{LANE.name}")
        timeout_ms = options.timeout_ms
        if timeout_ms is None:
            timeout_ms = self._timeout_ms if items < 2 else self._timeout_ms_of(items)
        elif not _MIN_TIMEOUT_MS <= timeout_ms <= self._max_timeout_ms:  # without a call: every request passes here
            wrong = TIMEOUT_MS.wrong(timeout_ms, self._max_timeout_ms) or ""
            raise invalid_argument(wrong, field=f"options.{TIMEOUT_MS.name}", setting=TIMEOUT_MS.maximum_of)
        request_id = options.request_id
        if request_id is not None and len(request_id) > _REQUEST_ID_CHARACTERS:
            wrong = REQUEST_ID.wrong(len(request_id)) or ""
            raise invalid_argument(wrong, field=f"options.{REQUEST_ID.name}")
        # As RequestContext(...) does it, in half the time.
        context = tuple.__new__(RequestContext, (lane, now + timeout_ms * 1_000_000, request_id, CALLING.client))
        return self._model(capability, options.model), context


def explained(error: PredictionError, field: str, options: RequestOptions | None) -> PredictionError:
    """The model's error with what only the call knows: the argument's name, and whose deadline it was."""
    if error.field is None and error.code in _OF_ARGUMENT:
        return at(error, field)
    if error.code == ErrorCode.DEADLINE_EXCEEDED and (options is None or options.timeout_ms is None):
        return with_setting(error, TIMEOUT_MS.name)
    return error
