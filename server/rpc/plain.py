"""`predict` of a text without options: the same as Handler.predict, without a coroutine and what belongs to one."""

from __future__ import annotations

from math import isfinite
from time import monotonic_ns
from typing import TYPE_CHECKING, Any

from predictor.ttypes import Lane, RequestOptions

from process.options import REQUEST_ID, TIMEOUT_MS
from server.errors import PredictionError
from server.models.capabilities import Capability
from server.models.requests import RequestContext
from server.rpc.admission import explained

if TYPE_CHECKING:
    from collections.abc import Callable

    from server.calls import PlainCall
    from server.config import Settings
    from server.models.answers import Checks
    from server.models.model import Model
    from server.models.registry import Registry
    from server.models.requests import Answer

_CLASSIFY = Capability.CLASSIFY
_FIELD = "doc"
_LONGEST_ID = int(REQUEST_ID.maximum or 0)
_TIMEOUT_NAMED = RequestOptions(timeout_ms=1)


class PlainPredict:
    """Begins such calls with the default model."""

    def __init__(self, registry: Registry, settings: Settings, checks: Checks) -> None:
        self._registry = registry
        self._defaults: object = None
        self._model: Model | None = None
        self._begin: Callable[..., bool] | None = None
        self._timeout_ns = settings.timeout_ms * 1_000_000
        self._timeouts_ms = range(int(TIMEOUT_MS.minimum or 0), settings.max_timeout_ms + 1)
        self._checks = checks

    def takes_timeout(self, timeout_ms: int) -> bool:
        """See PlainMethod."""
        return timeout_ms in self._timeouts_ms

    def begin(self, text: str, deadline_ns: int | None, flow: int, call: PlainCall, answer: Answer | None) -> bool:
        """See PlainMethod."""
        if call.request_id is not None and len(call.request_id) > _LONGEST_ID:
            return False
        defaults = self._registry.defaults
        if defaults is not self._defaults:
            self._defaults, self._model = defaults, defaults.get(_CLASSIFY)
            self._begin = getattr(self._model, "begin_predict", None)
        if self._begin is None:
            return False
        call.model = self._model
        try:
            return self._begin(text, deadline_ns or monotonic_ns() + self._timeout_ns, flow, call, answer)
        except PredictionError as error:
            call.fail(error)
            return True

    def checked(self, call: PlainCall, value: dict[str, float]) -> dict[str, float]:
        """See PlainMethod: scores, if all are finite."""
        if not isfinite(sum(value.values())):
            raise self._checks.failure(call.model, RequestContext(Lane.INTERACTIVE, 0, call.request_id))
        return value

    @staticmethod
    def explained(error: Any, *, timeout_named: bool) -> Any:
        """See PlainMethod."""
        if isinstance(error, PredictionError):
            return explained(error, _FIELD, _TIMEOUT_NAMED if timeout_named else None)
        return error
