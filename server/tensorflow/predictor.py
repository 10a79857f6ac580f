"""A SavedModel for batch jobs: JSON values in, JSON values out."""

from __future__ import annotations

import asyncio
import contextlib
import math
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

from server.errors import internal
from server.tensorflow.caller import Caller
from server.tensorflow.client import RefusedError
from server.tensorflow.instances import InstanceError, batches, columns
from server.tensorflow.predictions import check_rows, json_rows, predictions
from server.tensorflow.predictions import columns as column_values

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Mapping, Sequence

    from server.tensorflow.predictions import Array

__all__ = ["InstanceError", "SavedModelPredictor", "open_predictor"]

_CALLS_AT_A_TIME = 4
_NUMBER_BYTES = 8


@contextlib.asynccontextmanager
async def open_predictor(
    location: str, *, timeout_s: float, signature_name: str | None = None, patient: bool = False
) -> AsyncIterator[SavedModelPredictor]:
    """The model of a SavedModel folder, or at tfserving://HOST:PORT/NAME[/VERSION]. Raises ModelError.

    A folder is served by a child process, which is there within `timeout_s` seconds, and ends with the block. Without a
    name the signature is serving_default, or the only one. `patient`: calls wait for a server of others that restarts,
    as long as it may take to start.
    """
    loop = asyncio.get_running_loop()
    caller = await asyncio.to_thread(Caller, location, timeout_s, signature_name, patient=patient)
    threads = ThreadPoolExecutor(_CALLS_AT_A_TIME, "saved-model")
    try:
        await loop.run_in_executor(threads, caller.start)
        yield SavedModelPredictor(caller, threads)
    finally:
        await asyncio.shield(loop.run_in_executor(None, caller.close))
        threads.shutdown(wait=False)


class SavedModelPredictor:
    """Belongs to the event loop on which it was opened; several calls may be in progress."""

    def __init__(self, caller: Caller, threads: ThreadPoolExecutor) -> None:
        self._caller = caller
        self._threads = threads
        self._gives_rows = False

    @property
    def result_bytes(self) -> int:
        """What an answer has about in JSON; sizes that are not known count as 1."""
        outputs = self._caller.signature.outputs.values()
        return sum(math.prod(size or 1 for size in port.shape or ()) * _NUMBER_BYTES for port in outputs)

    @property
    def signature(self) -> str:
        """Inputs and outputs, for people."""
        return str(self._caller.signature)

    async def predict(self, instances: list[Any], *, timeout_s: float) -> list[Any]:
        """A JSON value for each instance, in their order.

        Raises InstanceError for the first that cannot be predicted, and PredictionError where it is nobody's fault
        among them.
        """
        answers = await self.predict_each(instances, timeout_s=timeout_s)
        for answer in answers:
            if isinstance(answer, InstanceError):
                raise answer
        return answers

    async def predict_each(self, instances: list[Any], *, timeout_s: float) -> list[Any]:
        """The same, with the InstanceError of an instance that cannot be predicted in its place."""
        answers: list[Any] = await self._in_thread(self._answers, instances, time.monotonic() + timeout_s, predictions)
        return answers

    async def predict_json(self, instances: list[Any], *, timeout_s: float) -> list[Any]:
        """The same as JSON's bytes, which take a fraction of the memory where answers are large."""
        answers: list[Any] = await self._in_thread(self._answers, instances, time.monotonic() + timeout_s, json_rows)
        return answers

    async def predict_columns(self, inputs: Any, *, timeout_s: float) -> Any:
        """TensorFlow Serving's column format: whole tensors in and out. Raises ValueError, PredictionError.

        `inputs` is the only input's value or an object with a value for each, and so is what comes out.
        """
        return await self._in_thread(self._columns, inputs, time.monotonic() + timeout_s)

    async def _in_thread(self, function: Callable[..., Any], *arguments: Any) -> Any:
        return await asyncio.get_running_loop().run_in_executor(self._threads, function, *arguments)

    def _answers(self, instances: Sequence[Any], deadline: float, rows_of: Callable[..., list[Any]]) -> list[Any]:
        signature = self._caller.signature
        found, errors = batches(signature, instances)
        answers: list[Any] = [errors.get(index) for index in range(len(instances))]
        for batch in found:
            indices = iter(batch.indices)
            start = 0
            for part in self._caller.run(batch.inputs, len(batch.indices), deadline):
                try:
                    if part.refused is None and part.size > 1 and not self._gives_rows:
                        self._check_rows(batch.inputs, start, deadline)
                    start += part.size
                    rows = rows_of(signature, part.outputs, part.size) if part.refused is None else [part.refused]
                except ValueError as error:
                    raise internal(f"{signature}: {error}") from None
                for row, index in zip(rows, indices, strict=False):
                    answers[index] = InstanceError(index, str(row)) if isinstance(row, Exception) else row
        return answers

    def _check_rows(self, inputs: Mapping[str, Array], place: int, deadline: float) -> None:
        """Ask once for a single instance: a constant that happens to have as many rows as there are instances is none
        of theirs. Raises ValueError."""
        one = {name: array[place : place + 1] for name, array in inputs.items()}
        with contextlib.suppress(RefusedError):
            check_rows(self._caller.signature, self._caller.call(one, deadline), 1)
            self._gives_rows = True

    def _columns(self, inputs: Any, deadline: float) -> Any:
        try:
            return column_values(self._caller.call(columns(self._caller.signature, inputs), deadline))
        except RefusedError as refused:
            raise ValueError(str(refused)) from None
