"""The server's own methods, with a loaded model, on the bulk lane of its queue."""

from __future__ import annotations

import asyncio
import time
from concurrent.futures import Future
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import orjson
from predictor.ttypes import ErrorCode, Lane, PredictionError

from server.batch.job import NO_MODEL, JobError, RowError
from server.batch.method import outcome
from server.calls import Call, Pending, drive
from server.models.base import Selection, Terms

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Sequence

    from server.batch.control import Control
    from server.batch.method import Answers, Result
    from server.models.base import Model
    from server.registry import Registry

_HOUR_NS = 3600 * 10**9
_WAIT_FOR_MODEL_S = 60.0
_POLL_S = 0.05
_QUEUE_POLL_S = 0.001
_QUEUE_SHARE = 4

# Lines at a time, and ahead. What Python does with a chunk of the first kind takes some tenths of a millisecond, in
# which the event loop has to wait; of the second kind it runs on the event loop itself.
_NATIVE_ROWS = (256, 2048)
_LOOP_ROWS = (32, 128)


@dataclass(frozen=True, slots=True)
class TextMethod:
    """One of the server's own methods."""

    field: str
    """Of the line's object that has the text; a line may also be just the text."""
    submit: Callable[[Any, str, Terms], Pending[Any]]
    result: Callable[[Any], bytes]


def _scores(name: str) -> Callable[[dict[str, float]], bytes]:
    def result(scores: dict[str, float]) -> bytes:
        ordered = dict(sorted(scores.items(), key=lambda item: item[1], reverse=True))
        return b'"%b":%b' % (name.encode(), orjson.dumps(ordered))

    return result


def _vector(vector: bytes) -> bytes:
    return b'"embedding":' + orjson.dumps(np.frombuffer(vector, "<f4"), option=orjson.OPT_SERIALIZE_NUMPY)


TEXT_METHODS = {
    "predict": TextMethod("doc", lambda model, text, terms: model.predict(text, terms), _scores("scores")),
    "reply": TextMethod(
        "message", lambda model, text, terms: model.reply([text], Selection(), terms), _scores("replies")
    ),
    "embed": TextMethod("text", lambda model, text, terms: model.embed(text, True, terms), _vector),
}
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
                    raise JobError(NO_MODEL + error.message) from None
            control.pause(_POLL_S)

    async def _find(self, method: str, name: str | None) -> Model:
        return self.registry.model(method, name)


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
        self.rows, self.rows_ahead = _NATIVE_ROWS if self._is_native else _LOOP_ROWS
        self.rows, self.rows_ahead = min(self.rows, room), min(self.rows_ahead, room)

    def renew(self, control: Control) -> None:
        """Look for the model anew. Raises JobError, StoppedError."""
        self._model = self._models.find(self._method, self._name, control)
        self._is_native = hasattr(self._model, "bulk")

    def instance(self, value: Any) -> str:
        """The text: the value itself or its field."""
        text = value.get(self._text.field) if type(value) is dict else value
        if type(text) is str:
            return text
        wanted = f"a string, or an object with the string {self._text.field!r}"
        raise RowError(ErrorCode.INVALID_ARGUMENT, f"wanted is {wanted}, not {orjson.dumps(value)[:100].decode()}")

    def start(self, instances: list[Any]) -> Answers:
        """Submit all of them to the bulk lane."""
        if self._is_native:
            return _NativeAnswers(self, instances)
        return _LoopAnswers(self._models.loop, self._predict(instances), self._text.result)

    def bulk(self, texts: list[str]) -> Any:
        """A native Bulk with as many of the texts submitted as there is room; None when the model is gone."""
        try:
            bulk = self._model.bulk(texts)  # type: ignore[attr-defined] # _is_native
            bulk.submit()
        except RuntimeError:  # closed
            return None
        return bulk

    @property
    def result_name(self) -> bytes:
        """What comes before a native result."""
        return _NATIVE_RESULTS[self._method]

    async def _predict(self, texts: list[str]) -> list[Any]:
        """The models' results, a RowError in place of one that there is not."""
        terms = Terms(Lane.BULK, time.monotonic_ns() + _HOUR_NS, None)
        waiting: list[Pending[Any] | RowError] = []
        try:
            for text in texts:
                waiting.append(await self._submitted(text, terms))
            return [await self._outcome(pending, text, terms) for pending, text in zip(waiting, texts, strict=True)]
        finally:
            for pending in waiting:
                if isinstance(pending, Pending):
                    pending.abandon()

    async def _submitted(self, text: str, terms: Terms) -> Pending[Any] | RowError:
        end = time.monotonic() + _WAIT_FOR_MODEL_S
        while True:
            try:
                model = self._models.registry.model(self._method, self._name)
                return self._text.submit(model, text, terms)
            except PredictionError as error:
                if error.code in (ErrorCode.NOT_FOUND, ErrorCode.UNAVAILABLE) and (
                    error.code == ErrorCode.NOT_FOUND or time.monotonic() > end
                ):
                    raise JobError(NO_MODEL + error.message) from None
                if error.code not in (ErrorCode.OVERLOADED, ErrorCode.UNAVAILABLE):
                    return RowError(error.code, error.message)
            await asyncio.sleep(_POLL_S)

    async def _outcome(self, pending: Pending[Any] | RowError, text: str, terms: Terms) -> Any:
        while not isinstance(pending, RowError):
            try:
                return await pending
            except PredictionError as error:
                if error.code != ErrorCode.UNAVAILABLE:  # that one: the model was swapped
                    return RowError(error.code, error.message)
                pending = await self._submitted(text, terms)
        return pending


class _NativeAnswers:
    """Results that a model's own threads gather, past the event loop."""

    def __init__(self, method: TextModel, texts: list[str]) -> None:
        self._method = method
        self._texts = texts
        self._bulk = method.bulk(texts)

    def wait(self, control: Control) -> Sequence[Result]:
        """The results. Where the model went away meanwhile, those of the next one of its name."""
        results = self._results(self._bulk, self._texts, control)
        while left := [place for place, result in enumerate(results) if _is_unavailable(result)]:
            control.pause(_POLL_S)
            self._method.renew(control)
            texts = [self._texts[place] for place in left]
            for place, result in zip(left, self._results(self._method.bulk(texts), texts, control), strict=True):
                results[place] = result
        return results

    def abandon(self) -> None:
        """They are predicted soon; nobody reads them."""

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
    """Results of a coroutine that the event loop drives."""

    def __init__(
        self, loop: asyncio.AbstractEventLoop, coroutine: Coroutine[Any, Any, list[Any]], result: Callable[[Any], bytes]
    ) -> None:
        self._loop = loop
        self._result = result
        self._future: Future[list[Any]] = Future()
        self._call: Call | None = None
        loop.call_soon_threadsafe(self._begin, coroutine)

    def wait(self, control: Control) -> Sequence[Result]:
        """The results, as JSON."""
        values = outcome(self._future, control)
        return [value if isinstance(value, RowError) else self._result(value) for value in values]

    def abandon(self) -> None:
        """Take what still waits out of the queue."""
        self._loop.call_soon_threadsafe(self._cancel)

    def _begin(self, coroutine: Coroutine[Any, Any, list[Any]]) -> None:
        self._call = drive(coroutine, self._on_done)

    def _on_done(self, values: list[Any] | None, error: BaseException | None) -> None:
        if error is not None:
            self._future.set_exception(error)
        else:
            self._future.set_result(values or [])

    def _cancel(self) -> None:
        if self._call is not None:
            self._call.cancel()


def _is_unavailable(result: Result) -> bool:
    return type(result) is RowError and result.code == ErrorCode.UNAVAILABLE
