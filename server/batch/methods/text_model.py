"""The server's own methods, with a loaded model, on the bulk lane of its queue."""

from __future__ import annotations

import asyncio
import time
from concurrent.futures import Future
from functools import partial
from typing import TYPE_CHECKING, Any

from predictor.ttypes import ErrorCode, Lane, PredictionError

from server.batch.methods.method import outcome
from server.batch.methods.text_methods import TEXT_METHODS
from server.batch.state.job import NO_MODEL, JobError, RowError
from server.calls import Call, drive
from server.models.requests import RequestContext

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Sequence

    from server.batch.methods.method import Answers, Result
    from server.batch.state.control import Control
    from server.models.model import Model
    from server.models.registry import Registry

_HOUR_NS = 3600 * 10**9
_WAIT_FOR_MODEL_S = 60.0
_POLL_S = 0.05
_QUEUE_POLL_S = 0.001
_QUEUE_SHARE = 4

# Lines at a time, and ahead. What Python does with a chunk of the first kind takes some tenths of a millisecond, in
# which the event loop has to wait; of the second kind it runs on the event loop itself.
_NATIVE_ROWS = (256, 2048)
_LOOP_ROWS = (32, 128)

# What comes before a result that the model's own threads write.
_NATIVE_RESULTS = {"predict": b'"scores":', "embed": b'"embedding":'}


class Models:
    """The loaded models, for the threads of jobs."""

    def __init__(self, registry: Registry, loop: asyncio.AbstractEventLoop) -> None:
        self.registry = registry
        self.loop = loop

    def find(self, method: str, name: str | None, control: Control) -> Model:
        """The model that serves the method; while it is loading this waits. Raises JobError, StoppedError."""
        end = time.monotonic() + _WAIT_FOR_MODEL_S
        while True:
            try:
                return asyncio.run_coroutine_threadsafe(self._find(method, name), self.loop).result()
            except PredictionError as error:
                if error.code != ErrorCode.UNAVAILABLE or time.monotonic() > end:
                    raise _no_model(error) from None
            control.pause(_POLL_S)

    async def _find(self, method: str, name: str | None) -> Model:
        return self.registry.model(TEXT_METHODS[method].capability, name)


class TextModel:
    """A loaded model, or whichever takes its name while the job runs."""

    bare = False
    exact = False

    def __init__(self, models: Models, method: str, name: str | None, control: Control) -> None:
        """Raises JobError, StoppedError."""
        self._models = models
        self._name = name
        self._method = method
        self._text = TEXT_METHODS[method]
        self.renew(control)
        room = max(1, self._model.limits.queue_items // _QUEUE_SHARE)  # the queue is there for others too
        self.rows, self.rows_ahead = _NATIVE_ROWS if self.is_native else _LOOP_ROWS
        self.rows, self.rows_ahead = min(self.rows, room), min(self.rows_ahead, room)

    def renew(self, control: Control) -> None:
        """Look for the model anew. Raises JobError, StoppedError."""
        self._model = self._models.find(self._method, self._name, control)
        self.is_native = hasattr(self._model, "bulk") and self._method in _NATIVE_RESULTS

    def instance(self, value: Any) -> Any:
        """The text, with options where the method has some."""
        return self._text.instance(value)

    def start(self, instances: list[Any]) -> Answers:
        """Submit all of them to the bulk lane."""
        return _NativeAnswers(self, instances) if self.is_native else self.start_on_loop(instances)

    def start_on_loop(self, instances: list[Any]) -> Answers:
        """The same for a model without threads that gather results."""
        return _LoopAnswers(self._models.loop, [self._answer(instance) for instance in instances], self._text.result)

    def bulk(self, texts: list[str]) -> Any:
        """A native Bulk with as many of the texts submitted as there is room; None when the model is gone."""
        try:
            bulk = self._model.bulk(texts)  # type: ignore[attr-defined] # is_native
            bulk.submit()
        except RuntimeError:  # closed
            return None
        return bulk

    @property
    def result_name(self) -> bytes:
        """What comes before a native result."""
        return _NATIVE_RESULTS[self._method]

    async def _answer(self, instance: Any) -> Any:
        """The model's result, or a RowError. Raises JobError when there is no model."""
        now = time.monotonic()
        context = RequestContext(Lane.BULK, time.monotonic_ns() + _HOUR_NS, None)
        while True:
            try:
                model = self._models.registry.model(self._text.capability, self._name)
            except PredictionError as error:
                if error.code != ErrorCode.UNAVAILABLE or time.monotonic() > now + _WAIT_FOR_MODEL_S:
                    raise _no_model(error) from None
            else:
                try:
                    return await self._text.call(model, instance, context)
                except PredictionError as error:
                    # the queue is full, or the model is being swapped
                    if error.code not in (ErrorCode.OVERLOADED, ErrorCode.UNAVAILABLE):
                        return RowError(error.code, error.message)
            await asyncio.sleep(_POLL_S)


class _NativeAnswers:
    """Results that a model's own threads gather, past the event loop."""

    def __init__(self, method: TextModel, texts: list[str]) -> None:
        self._method = method
        self._texts = texts
        self._bulk = method.bulk(texts)
        self._on_loop: Answers | None = None

    def wait(self, control: Control) -> Sequence[Result]:
        """The results. Where the model went away meanwhile, those of the next one of its name."""
        results = self._results(self._bulk, self._texts, control)
        while left := [place for place, result in enumerate(results) if _is_unavailable(result)]:
            control.pause(_POLL_S)
            self._method.renew(control)
            for place, result in zip(left, self._anew([self._texts[place] for place in left], control), strict=True):
                results[place] = result
        return results

    def abandon(self) -> None:
        """The model's own threads predict them soon; nobody reads them."""
        if self._on_loop is not None:
            self._on_loop.abandon()

    def _anew(self, texts: list[str], control: Control) -> Sequence[Result]:
        if self._method.is_native:
            return self._results(self._method.bulk(texts), texts, control)
        self._on_loop = self._method.start_on_loop(texts)
        return self._on_loop.wait(control)

    def _results(self, bulk: Any, texts: list[str], control: Control) -> list[Result]:
        try:
            while bulk is not None and not bulk.submit():
                control.pause(_QUEUE_POLL_S)
        except RuntimeError:  # closed
            bulk = None
        if bulk is None:
            return [RowError(ErrorCode.UNAVAILABLE, "the model is gone")] * len(texts)
        while not bulk.wait(_POLL_S):
            control.check()
        results = bulk.results(self._method.result_name)
        return [result if type(result) is bytes else RowError(*result) for result in results]


class _LoopAnswers:
    """Results of coroutines that the event loop drives, all at a time."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        coroutines: list[Coroutine[Any, Any, Any]],
        result: Callable[[Any], bytes],
    ) -> None:
        self._loop = loop
        self._result = result
        self._values: list[Any] = [None] * len(coroutines)
        self._missing = len(coroutines)
        self._calls: list[Call] = []
        self._future: Future[None] = Future()
        loop.call_soon_threadsafe(self._begin, coroutines)

    def wait(self, control: Control) -> Sequence[Result]:
        """The results, as JSON."""
        outcome(self._future, control)
        return [value if isinstance(value, RowError) else self._result(value) for value in self._values]

    def abandon(self) -> None:
        """Take what still waits out of the queue."""
        self._loop.call_soon_threadsafe(self._cancel)

    def _begin(self, coroutines: list[Coroutine[Any, Any, Any]]) -> None:
        if not coroutines:
            self._future.set_result(None)
        for place, coroutine in enumerate(coroutines):
            self._calls.append(drive(coroutine, partial(self._on_done, place)))

    def _on_done(self, place: int, value: Any, error: BaseException | None) -> None:
        self._values[place] = value
        self._missing -= 1
        if self._future.done():
            return
        if error is not None:
            self._future.set_exception(error)
        elif self._missing == 0:
            self._future.set_result(None)

    def _cancel(self) -> None:
        for call in self._calls:
            call.cancel()


def _no_model(error: PredictionError) -> JobError:
    return JobError(NO_MODEL + error.message.removeprefix("options.model: "))


def _is_unavailable(result: Result) -> bool:
    return type(result) is RowError and result.code == ErrorCode.UNAVAILABLE
