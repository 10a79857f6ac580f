"""SavedModels by their location: JSON values in, JSON values out."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Any

from predictor.ttypes import BatchStage, ErrorCode, PredictionError

from server.batch.state.errors import JobError, RowError
from server.batch.storage.errors import LocationError, StorageError
from server.errors import ModelError
from server.tensorflow.location import is_url
from server.tensorflow.predictor import InstanceError, SavedModelPredictor, open_predictor

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from concurrent.futures import Future

    from server.batch.pipeline.method import PendingResults, Result
    from server.batch.state.control import Control
    from server.batch.storage.access import Storage

_CALL_S = 600.0


class SavedModel:
    """A Method: a line is an instance as in `instances` of TensorFlow Serving's REST API, a result its prediction."""

    rows = 256
    rows_ahead = 1024
    bare = True
    exact = True

    def __init__(self, predictor: SavedModelPredictor, loop: asyncio.AbstractEventLoop) -> None:
        self.result_bytes = predictor.result_bytes
        self._predictor = predictor
        self._loop = loop

    def instance(self, value: Any) -> Any:
        """Any value; whether it fits the model's signature is known when it is predicted."""
        return value

    def submit(self, instances: list[Any]) -> PendingResults:
        """Send them to TensorFlow."""
        predicted = self._predictor.predict_json(instances, timeout_s=_CALL_S)
        return _Predictions(asyncio.run_coroutine_threadsafe(predicted, self._loop))


class _Predictions:
    def __init__(self, future: Future[list[Any]]) -> None:
        self._future = future

    def wait(self, control: Control) -> Sequence[Result]:
        """The predictions as JSON."""
        try:
            return [_result(value) for value in control.result_of(self._future)]
        except PredictionError as error:
            raise JobError(BatchStage.PREDICTIONS, error.message) from None

    def cancel(self) -> None:
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
        if is_url(location):
            local = location
        else:
            try:
                local = str(stack.enter_context(storage.local_copy(location, control.check)))
            except (StorageError, LocationError) as error:
                raise JobError(BatchStage.MODEL, str(error)) from None
            control.check()
        yield SavedModel(stack.enter_context(_tensorflow(local, loop, control, start_s)), loop)


@contextlib.contextmanager
def _tensorflow(
    location: str, loop: asyncio.AbstractEventLoop, control: Control, start_s: float
) -> Iterator[SavedModelPredictor]:
    """The predictor lives on the event loop; this thread waits for its beginning and its end."""
    exits = contextlib.AsyncExitStack()
    opening = exits.enter_async_context(open_predictor(location, timeout_s=start_s, patient=True))
    future = asyncio.run_coroutine_threadsafe(opening, loop)
    try:
        yield control.result_of(future)
    except ModelError as error:
        raise JobError(BatchStage.TENSORFLOW, str(error)) from None
    except PredictionError as error:
        raise JobError(BatchStage.TENSORFLOW, error.message) from None
    finally:
        future.cancel()
        asyncio.run_coroutine_threadsafe(exits.aclose(), loop).result()


def _result(value: Any) -> Result:
    if isinstance(value, InstanceError):
        return RowError(ErrorCode.INVALID_ARGUMENT, value.message)
    json: bytes = value
    return json
