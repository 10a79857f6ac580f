"""What keeps a server answering while models are loaded and closed: nobody waits for ever, whatever a model does."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import structlog

from server.errors import ModelError, unavailable
from server.models.trial.trials import Trials

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from server.config import Settings
    from server.models.model import Model

    Loaded = tuple[Model, str]

log = structlog.get_logger()

_LEAST_CLOSE_S = 1.0
_RETRY_MS = 10_000


class Guard:
    """Of one server. What a thread runs cannot be ended: it is left alone, and no further one is begun beside it."""

    def __init__(self, settings: Settings) -> None:
        self.trials = Trials(settings)
        self._load_s = settings.model_trial_s
        self._close_s = max(_LEAST_CLOSE_S, settings.drain_timeout_ms / 1000)
        self._leaving = asyncio.Event()
        self._why = ""
        self._left: set[asyncio.Task[Any]] = set()

    @property
    def is_at_rest(self) -> bool:
        """Whether nothing was left alone that still runs."""
        return not self._left

    def stop(self, why: str) -> None:
        """End trials, and refuse what is being loaded: UNAVAILABLE says why."""
        self._why = why
        self._leaving.set()
        self.trials.stop(why)

    def require_going_on(self) -> None:
        """Raise UNAVAILABLE where nothing can be loaded any more."""
        if self._leaving.is_set():
            raise unavailable(self._why)
        if self._left:
            raise unavailable(
                "a model that was loaded or unloaded before still runs; restart the server where it does not end",
                _RETRY_MS,
            )

    async def loaded(self, loading: Coroutine[Any, Any, Loaded], location: str, *, is_program: bool) -> Loaded:
        """What loading gives. Raises what it raises; ModelError for a program that takes too long; UNAVAILABLE."""
        within_s = self._load_s if is_program else None
        task, leaving = asyncio.ensure_future(loading), asyncio.ensure_future(self._leaving.wait())
        try:
            await asyncio.wait((task, leaving), timeout=within_s, return_when=asyncio.FIRST_COMPLETED)
        except asyncio.CancelledError:
            task.cancel()
            raise
        finally:
            leaving.cancel()
        if task.done():
            return task.result()
        self._leave(task, _close_late)
        if self._leaving.is_set():
            raise unavailable(self._why)
        raise ModelError(f"{location}: unlike its trial, its loading takes over {within_s:g} s (setting model_trial_s)")

    async def closed(self, model: Model) -> None:
        """Close a model. One that does not end in time is closed when it does."""
        closing = asyncio.ensure_future(model.close())
        await asyncio.wait((closing,), timeout=self._close_s)
        if closing.done():
            closing.result()
            return
        log.warning("a model still runs, and is closed when it is done (setting drain_timeout_ms)", kind=model.kind)
        self._leave(closing, _log_failure)

    def _leave(self, task: asyncio.Task[Any], then: Callable[[asyncio.Task[Any]], object]) -> None:
        self._left.add(task)
        task.add_done_callback(self._left.discard)
        task.add_done_callback(then)


def _close_late(loading: asyncio.Task[Loaded]) -> None:
    """Nobody waits any more for what was loaded."""
    if not loading.cancelled() and loading.exception() is None:
        asyncio.ensure_future(loading.result()[0].close()).add_done_callback(_log_failure)


def _log_failure(task: asyncio.Task[Any]) -> None:
    if not task.cancelled() and (error := task.exception()) is not None:
        log.error("a model could not be closed", error=str(error))
