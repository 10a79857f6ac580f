"""The server's own methods, with a loaded model, on the bulk lane of its queue."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any

import orjson
from predictor.ttypes import ErrorCode, Lane, PredictionError

from server.batch.methods.loop_results import LoopResults
from server.batch.methods.text_methods import TEXT_METHODS
from server.batch.state.errors import RowError
from server.models.requests import RequestContext

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from server.batch.methods.loaded_models import LoadedModels
    from server.batch.pipeline.method import PendingResults, Result
    from server.batch.state.control import Control

_HOUR_NS = 3600 * 10**9
_POLL_S = 0.05
_QUEUE_POLL_S = 0.001
_QUEUE_SHARE = 4

# Lines of a chunk, and in progress. What Python does with a chunk of the first kind takes some tenths of a millisecond,
# in which the event loop has to wait; of the second kind it runs on the event loop itself.
_NATIVE_ROWS = (256, 2048)
_LOOP_ROWS = (32, 128)


class TextModel:
    """A Method of a loaded model, or of whichever takes its name while the job runs."""

    result_bytes = 0  # of vectors for each token it may be megabytes, which the first ones show
    bare = False
    exact = False

    def __init__(self, models: LoadedModels, method: str, name: str | None, control: Control) -> None:
        """Raises JobError, StoppedError."""
        self._models = models
        self._name = name
        self._method = TEXT_METHODS[method]
        self.renew(control)
        share = max(1, self._model.limits.queue_items // _QUEUE_SHARE)  # the queue is there for others too
        rows, rows_ahead = _NATIVE_ROWS if self.is_native else _LOOP_ROWS
        self.rows, self.rows_ahead = min(rows, share), min(rows_ahead, share)

    def renew(self, control: Control) -> None:
        """Look for the model anew. Raises JobError, StoppedError."""
        self._model = self._models.find(self._method.capability, self._name, control)
        self.is_native = hasattr(self._model, "bulk") and self.result_name is not None

    @property
    def result_name(self) -> bytes | None:
        """What comes before a result that the model's own threads write; None where they cannot."""
        return self._method.native_result

    def instance(self, value: Any) -> Any:
        """The text, with options where the method has some."""
        return self._method.instance(value)

    def submit(self, instances: list[Any]) -> PendingResults:
        """Submit all of them to the bulk lane."""
        native = self.is_native and all(type(instance) is str for instance in instances)  # options are Python's matter
        return _NativeResults(self, instances) if native else self.submit_on_loop(instances)

    def submit_on_loop(self, instances: list[Any]) -> PendingResults:
        """The same for a model without threads that gather results."""
        coroutines = [self._predict(instance) for instance in instances]
        return LoopResults(self._models.loop, coroutines, self._method.result)

    def bulk(self, texts: list[str]) -> Any:
        """A native Bulk with as many of the texts submitted as there is room; None when the model is gone."""
        try:
            bulk = self._model.bulk(texts)  # type: ignore[attr-defined] # is_native
            bulk.submit()
        except RuntimeError:  # closed
            return None
        return bulk

    async def _predict(self, instance: Any) -> Any:
        """The model's result, or a RowError. Raises JobError when there is no model."""
        capability, models = self._method.capability, self._models
        context = RequestContext(Lane.BULK, time.monotonic_ns() + _HOUR_NS, None)
        while True:
            model = models.find_now(capability, self._name) or await models.find_on_loop(capability, self._name)
            try:
                return await self._method.call(model, instance, context)
            except PredictionError as error:
                # the queue is full, or the model is being swapped
                if error.code not in (ErrorCode.OVERLOADED, ErrorCode.UNAVAILABLE):
                    return RowError(error.code, error.message)
            await asyncio.sleep(_POLL_S)


class _NativeResults:
    """Results that a model's own threads gather, past the event loop."""

    def __init__(self, method: TextModel, texts: list[str]) -> None:
        self._method = method
        self._texts = texts
        self._bulk = method.bulk(texts)
        self._on_loop: PendingResults | None = None

    def wait(self, control: Control) -> Sequence[Result]:
        """The results. Where the model went away meanwhile, those of the next one of its name."""
        results = self._results(self._bulk, self._texts, control)
        while left := [place for place, result in enumerate(results) if _is_unavailable(result)]:
            control.pause(_POLL_S)
            self._method.renew(control)
            for place, result in zip(left, self._again([self._texts[place] for place in left], control), strict=True):
                results[place] = result
        return results

    def cancel(self) -> None:
        """The model's own threads predict them soon; nobody reads them."""
        if self._on_loop is not None:
            self._on_loop.cancel()

    def _again(self, texts: list[str], control: Control) -> Sequence[Result]:
        if self._method.is_native:
            return self._results(self._method.bulk(texts), texts, control)
        self._on_loop = self._method.submit_on_loop(texts)
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
        return [_finite(result) if type(result) is bytes else RowError(*result) for result in results]


def _finite(result: bytes) -> Result:
    """The result, if all its numbers are finite: those that are not are null in it."""
    if b"null" in result and None in _numbers(orjson.loads(b"{%b}" % result)):
        return RowError(ErrorCode.INTERNAL, "the model gave numbers that are NaN or infinite")
    return result


def _numbers(value: dict[str, Any]) -> Collection[Any]:
    (numbers,) = value.values()
    return numbers.values() if isinstance(numbers, dict) else numbers


def _is_unavailable(result: Result) -> bool:
    return type(result) is RowError and result.code == ErrorCode.UNAVAILABLE
