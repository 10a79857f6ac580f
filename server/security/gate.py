"""The check in front of the handlers: every call of both ports passes here, where there are tokens."""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any

from predictor import Predictor
from predictor.ttypes import ErrorCode, GenerationChunk, ModelInfo, PredictionError, ServerStatus

from process.security.access import PERMISSION_DENIED, RIGHTS, AccessError, method_names

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from process.security.access import Access, Caller, Grant, Visit

METHODS = method_names(Predictor.Iface)
"""The contract's."""

_BYTES_OF_TOKEN = 4
"""About so many bytes of text are a token, of models that do not say how many they read."""

_ARGUMENTS = {name: list(inspect.signature(getattr(Predictor.Iface, name)).parameters)[1:] for name in METHODS}
_OPTIONS = {name: names.index("options") for name, names in _ARGUMENTS.items() if "options" in names}
_NAMED = frozenset(name for name, names in _ARGUMENTS.items() if names[:1] == ["name"])


class Gate:
    """Starts the calls that are allowed.

    `default_model(method)` names the model that answers a call that names none; None where there is none, which the
    handler then says.
    """

    def __init__(self, access: Access, default_model: Callable[[str], str | None]) -> None:
        self.access = access
        self._default_model = default_model

    def start(
        self, visit: Visit, name: str, function: Callable[..., Coroutine[Any, Any, Any]], values: tuple[Any, ...]
    ) -> Coroutine[Any, Any, Any]:
        """The call of a method of the contract, to be run at once; one that is refused raises PredictionError."""
        caller = visit.caller
        assert caller is not None
        if name in caller.grant.at_once:
            return function(*values)
        try:
            grant = caller.require(name)
            if grant.models is not None:
                self._require_model(grant, name, values)
        except AccessError as error:
            visit.refused(error.code, error.message, name)
            return _refused(error)
        work = function(*values)
        if name == "status" and "status" not in grant.may:
            work = _readiness(work)
        elif name == "list_models" and grant.models is not None:
            work = _usable(work, grant)
        return _metered(work, caller, values) if grant.metered else work

    def _require_model(self, grant: Grant, method: str, values: tuple[Any, ...]) -> None:
        if method in _OPTIONS:
            options = values[_OPTIONS[method]]
            model = options.model if options is not None else None
            if model is None:
                model = self._default_model(method)
                if model is None:
                    return
        elif method in _NAMED:
            model = values[0]
        elif method == "submit_batch":
            model = values[0].model
            if model is None:
                raise AccessError(PERMISSION_DENIED, f"{grant.shown} must name the model of a job")
        else:
            return
        if not grant.allows_model(model):
            raise AccessError(PERMISSION_DENIED, f"{grant.shown} may not use model {model[:64]!r}")


def error_of(error: AccessError) -> PredictionError:
    """The contract's error."""
    code = ErrorCode._NAMES_TO_VALUES[error.code]
    return PredictionError(code, error.message, error.retry_after_ms)


async def _refused(error: AccessError) -> Any:
    raise error_of(error)


async def _metered(work: Coroutine[Any, Any, Any], caller: Caller, values: tuple[Any, ...]) -> Any:
    """Watch a call to its end."""
    caller.calls += 1
    try:
        answer = await work
    finally:
        caller.calls -= 1
    caller.spend_tokens(_tokens(answer, values))
    return answer


async def _readiness(work: Coroutine[Any, Any, Any]) -> ServerStatus:
    """What everybody may know."""
    status: ServerStatus = await work
    reasons = [] if status.ready else ["the server is not ready"]
    return ServerStatus(
        version="", uptime_s=status.uptime_s, ready=status.ready, reasons=reasons, connections=0, models=[]
    )


async def _usable(work: Coroutine[Any, Any, Any], grant: Grant) -> list[ModelInfo]:
    """The models that the caller may use."""
    return [model for model in await work if grant.allows_model(model.name)]


def _tokens(answer: Any, values: tuple[Any, ...]) -> int:
    """How many tokens a call read and wrote: as the answer says, or about as many as its texts have."""
    if isinstance(answer, GenerationChunk):  # it counts from the text's beginning; the prompt was counted there
        return answer.token_count if answer.finish_reason is not None else 0
    written = getattr(answer, "token_count", None)
    if written is not None:
        return int(written) + (answer.prompt_tokens or 0)
    read = getattr(answer, "tokens", None)
    return int(read) if read is not None else sum(map(_size, values)) // _BYTES_OF_TOKEN + 1


def _size(value: Any) -> int:
    if isinstance(value, str):
        return len(value)
    if isinstance(value, list):
        return sum(map(_size, value))
    if isinstance(value, int):
        return _BYTES_OF_TOKEN
    return len(value.content or "") if hasattr(value, "content") else 0


assert set(METHODS) >= RIGHTS.keys()
