"""SavedModels by their location: JSON values in, JSON values out."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Any

import orjson
from predictor.ttypes import ErrorCode, PredictionError

from server.batch.methods.method import outcome
from server.batch.state.job import NO_MODEL, NO_PREDICTIONS, NO_TENSORFLOW, JobError, RowError
from server.batch.storage.storage import LocationError, StorageError
from server.errors import ModelError
from server.tensorflow.predictor import InstanceError, SavedModelPredictor, open_predictor

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from concurrent.futures import Future

    from server.batch.methods.method import Answers, Result
    from server.batch.state.control import Control
    from server.batch.storage.storage import Storage

TFSERVING = "tfserving://"

_CALL_S = 600.0


class SavedModel:
    """A line is an instance as TensorFlow Serving's REST API has it in a list `instances`, a result its prediction."""

    rows = 256
    rows_ahead = 1024
    bare = True
    exact = True

    def __init__(self, predictor: SavedModelPredictor, loop: asyncio.AbstractEventLoop) -> None:
        self._predictor = predictor
        self._loop = loop

    def instance(self, value: Any) -> Any:
        """Any value; whether it fits the model's signature is known when it is predicted."""
        return value

    def start(self, instances: list[Any]) -> Answers:
        """Send them to TensorFlow."""
        predicted = self._predictor.predict_each(instances, timeout_s=_CALL_S)
        return _Predictions(asyncio.run_coroutine_threadsafe(predicted, self._loop))


class _Predictions:
    def __init__(self, future: Future[list[Any]]) -> None:
        self._future = future

    def wait(self, control: Control) -> Sequence[Result]:
        """The predictions as JSON."""
        try:
            return [_result(value) for value in outcome(self._future, control)]
        except PredictionError as error:
            raise JobError(NO_PREDICTIONS + error.message) from None

    def abandon(self) -> None:
        """Stop waiting."""
        self._future.cancel()


@contextlib.contextmanager
def opened(
    location: str, storage: Storage, loop: asyncio.AbstractEventLoop, control: Control, start_s: float
) -> Iterator[SavedModel]:
    """TensorFlow with the model, until the end of the block. Raises JobError, StoppedError.

    `start_s` seconds are what it may take to start.
    """
    with contextlib.ExitStack() as stack:
        if location.startswith(TFSERVING):
            local = location
        else:
            try:
                local = str(stack.enter_context(storage.local_copy(location, control.check)))
            except (StorageError, LocationError) as error:
                raise JobError(f"{NO_MODEL}{error}") from None
            control.check()
        yield SavedModel(stack.enter_context(_tensorflow(local, loop, control, start_s)), loop)


@contextlib.contextmanager
def _tensorflow(
    location: str, loop: asyncio.AbstractEventLoop, control: Control, start_s: float
) -> Iterator[SavedModelPredictor]:
    """The predictor lives on the event loop; this thread waits for its beginning and its end."""
    exits = contextlib.AsyncExitStack()
    opening = exits.enter_async_context(open_predictor(location, timeout_s=start_s))
    future = asyncio.run_coroutine_threadsafe(opening, loop)
    try:
        yield outcome(future, control)
    except (ModelError, PredictionError) as error:
        raise JobError(f"{NO_TENSORFLOW}{error}") from None
    finally:
        future.cancel()
        asyncio.run_coroutine_threadsafe(exits.aclose(), loop).result()


def _result(value: Any) -> Result:
    if isinstance(value, InstanceError):
        return RowError(ErrorCode.INVALID_ARGUMENT, value.message)
    return orjson.dumps(value)
