"""Results of coroutines that the event loop drives, for the thread of a job."""

from __future__ import annotations

from concurrent.futures import Future
from functools import partial
from typing import TYPE_CHECKING, Any

from server.batch.state.errors import RowError
from server.calls import Call, drive

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable, Coroutine, Sequence

    from server.batch.pipeline.method import Result
    from server.batch.state.control import Control


class LoopResults:
    """PendingResults: all coroutines are driven at a time. Each returns a value for `result_of`, or a RowError."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        coroutines: list[Coroutine[Any, Any, Any]],
        result_of: Callable[[Any], bytes],
    ) -> None:
        self._loop = loop
        self._result_of = result_of
        self._values: list[Any] = [None] * len(coroutines)
        self._missing = len(coroutines)
        self._calls: list[Call] = []
        self._done: Future[None] = Future()
        loop.call_soon_threadsafe(self._start, coroutines)

    def wait(self, control: Control) -> Sequence[Result]:
        """The results, as JSON."""
        control.result_of(self._done)
        return [value if isinstance(value, RowError) else self._result_of(value) for value in self._values]

    def cancel(self) -> None:
        """Take what still waits out of the queue."""
        self._loop.call_soon_threadsafe(self._cancel)

    def _start(self, coroutines: list[Coroutine[Any, Any, Any]]) -> None:
        if not coroutines:
            self._done.set_result(None)
        for place, coroutine in enumerate(coroutines):
            self._calls.append(drive(coroutine, partial(self._on_done, place)))

    def _on_done(self, place: int, value: Any, error: BaseException | None) -> None:
        self._values[place] = value
        self._missing -= 1
        if self._done.done():
            return
        if error is not None:
            self._done.set_exception(error)
        elif self._missing == 0:
            self._done.set_result(None)

    def _cancel(self) -> None:
        for call in self._calls:
            call.cancel()
