"""TensorFlow SavedModels that read one text each: in a process of their own, or on a TensorFlow server.

Their signature is string[n] -> float[n, d], which serves `embed`, or `predict` where a file FOLDER.labels.txt lies
beside the folder with one label a line; or string[n] -> string[n, k] and float[n, k], labels and their scores, which
serves `predict`. A batch is one call of the server's.
"""

from __future__ import annotations

import asyncio
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from ext import _batching
from server.errors import ErrorCode, ModelError, PredictionError
from server.models.capabilities import Capability
from server.models.engine import Engine, EngineModel
from server.models.labels_file import labels_beside
from server.models.message_cost import MessageCost
from server.tensorflow.caller import Caller
from server.tensorflow.client import ModelClient, UnreachableError
from server.tensorflow.location import is_url, parse_url

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from server.calls import Pending
    from server.config import Settings
    from server.models.requests import Classification, Reading, RequestContext
    from server.tensorflow.signature import Signature

    Arrays = Mapping[str, np.ndarray[Any, Any]]

_CAPABILITIES = {"vector": Capability.EMBED, "labels": Capability.CLASSIFY}
_EXAMPLES = "tensorflow/serving/predict"  # other methods read tf.Example messages, not texts
_SAMPLE = ("Hello", "How are you?")
_SAMPLE_S = 60.0
_SERVED = (
    "online a SavedModel reads string[n] and gives float[n, d], or string[n, k] with float[n, k]; batch jobs take any"
)


class Text(NamedTuple):
    """A request in the queue."""

    text: bytes
    deadline: float
    """On time.monotonic()'s clock."""


class TextReader:
    """Calls a SavedModel with texts. `output` is vector or labels."""

    def __init__(self, caller: Caller, labels: Sequence[str] | None) -> None:
        """Tries a sample. Raises ModelError when the signature cannot be served online."""
        self._caller = caller
        signature = caller.signature
        (self._input,) = _one_text(signature)
        self._names, self._numbers = _outputs(signature)
        self._labels = labels
        self.size = self._sampled_size()
        self.output = "vector" if self._names is None and labels is None else "labels"
        if labels is not None and (self._names is not None or len(labels) != self.size):
            raise ModelError(f"{len(labels)} labels in a file for {signature}, which gives {self.size} scores")

    def answers(self, texts: Sequence[Text]) -> list[Any]:
        """For each text what the method that it serves returns or, as a queue takes it, an exception."""
        deadline = max(text.deadline for text in texts)
        try:
            return self._read([text.text for text in texts], deadline)
        except PredictionError as error:
            gone = error.code == ErrorCode.UNAVAILABLE
            failure = ConnectionError(error.message) if gone else RuntimeError(error.message)
        except Exception as error:
            failure = RuntimeError(str(error))
        return [failure] * len(texts)

    def _read(self, texts: Sequence[bytes], deadline: float) -> list[Any]:
        array = np.empty(len(texts), dtype=object)
        array[:] = texts
        answers: list[Any] = []
        for part in self._caller.run({self._input: array}, len(texts), deadline):
            answers += [RuntimeError(str(part.refused))] if part.refused else self._rows(part.outputs, part.size)
        return answers

    def _rows(self, outputs: Arrays, count: int) -> list[Any]:
        numbers = outputs[self._numbers]
        if numbers.shape != (count, self.size):
            raise RuntimeError(f"numbers of shape {list(numbers.shape)} came instead of {[count, self.size]}")
        if self.output == "vector":
            return [row.tobytes() for row in np.ascontiguousarray(numbers, dtype="<f4")]
        rows = numbers.tolist()
        if self._names is None:
            assert self._labels is not None
            return [dict(zip(self._labels, row, strict=True)) for row in rows]
        names = outputs[self._names]
        if names.shape != numbers.shape:
            raise RuntimeError(f"{list(names.shape)} labels came for {list(numbers.shape)} scores")
        decoded = ([name.decode(errors="replace") for name in row] for row in names)
        return [dict(zip(labels, row, strict=True)) for labels, row in zip(decoded, rows, strict=True)]

    def _sampled_size(self) -> int:
        """How many numbers a text gives."""
        texts = np.array([text.encode() for text in _SAMPLE], dtype=object)
        try:
            parts = self._caller.run({self._input: texts}, len(texts), time.monotonic() + _SAMPLE_S)
        except PredictionError as error:
            raise ModelError(f"{self._caller.signature}: {error.message}") from None
        for part in parts:
            if part.refused is not None:
                raise ModelError(f"{self._caller.signature} fails on the text {_SAMPLE[0]!r}: {part.refused}")
            shape = part.outputs[self._numbers].shape
            if len(shape) != 2 or shape[0] != part.size or shape[1] == 0:
                raise ModelError(f"{self._caller.signature} gives {list(shape)} for {part.size} texts; {_SERVED}")
        return int(shape[1])


class SavedModel(EngineModel):
    """A SavedModel behind a queue; each worker thread has one call in progress."""

    equal_lengths_only = False

    def __init__(self, caller: Caller, reader: TextReader, cost: MessageCost, workers: int) -> None:
        try:
            queue = _batching.Queue(capacity=workers, **cost.queue_settings())
        except ValueError as error:
            raise ModelError(str(error)) from None
        super().__init__(Engine(queue, cost.max_tokens))
        self._caller = caller
        self._cost = cost
        self.kind = f"saved-model-{reader.output}"
        self.capabilities = (_CAPABILITIES[reader.output],)
        self.limits = cost.limits()
        self.details = {"input": "texts", "output": reader.output, "signature": str(caller.signature)}
        if reader.output == "vector":
            self.details["dimensions"] = str(reader.size)
        self.dimensions = reader.size
        self.normalized = False
        # Daemons: where the process ends without close(), they wait in the queue without the GIL.
        self._threads = [threading.Thread(target=_work, args=(queue, reader), daemon=True) for _ in range(workers)]
        for thread in self._threads:
            thread.start()

    def predict(self, doc: str, classification: Classification, context: RequestContext) -> Pending[dict[str, float]]:
        """Label -> score."""
        return self._submit(doc, context)

    def embed(self, text: str, reading: Reading, context: RequestContext) -> Pending[bytes]:
        """The text's vector; there is nothing that it would be cut to (see Model.embed)."""
        return self._submit(text, context)

    async def close(self) -> None:
        """Answer what was accepted, then end the threads and the process."""
        await super().close()
        for thread in self._threads:
            await asyncio.to_thread(thread.join)
        await asyncio.to_thread(self._caller.close)

    def _submit(self, text: str, context: RequestContext) -> Pending[Any]:
        payload = Text(text.encode(), context.deadline_ns / 1e9)
        return self._engine.submit(payload, self._cost.tokens_of([text]), context=context)


async def load(location: Path | str, settings: Settings) -> SavedModel:
    """Start the model's process, or find it on its server. Raises ModelError, OSError."""
    cost = MessageCost(settings)
    caller = await asyncio.to_thread(Caller, str(location), settings.tensorflow_start_s)
    try:
        await asyncio.to_thread(caller.start)
        labels = None if is_url(str(location)) else await asyncio.to_thread(labels_beside, Path(location))
        reader = await asyncio.to_thread(TextReader, caller, labels)
        return SavedModel(caller, reader, cost, settings.workers)
    except BaseException:
        await asyncio.to_thread(caller.close)
        raise


def remote_version(url: str) -> str:
    """The number of the version that a server answers with. Raises ModelError."""
    client = ModelClient(parse_url(url))
    try:
        return str(client.version())
    except UnreachableError as error:
        raise ModelError(str(error)) from None
    finally:
        client.close()


def _one_text(signature: Signature) -> list[str]:
    inputs = list(signature.inputs.values())
    texts = [port.name for port in inputs if port.type.name == "string" and not port.shape]
    if len(inputs) != 1 or len(texts) != 1 or signature.method not in ("", _EXAMPLES):
        raise ModelError(f"{signature} does not read texts; {_SERVED}")
    return texts


def _outputs(signature: Signature) -> tuple[str | None, str]:
    """Names of the outputs with labels, if there is one, and with numbers."""
    outputs = signature.outputs.values()
    texts = [port.name for port in outputs if port.type.name == "string"]
    numbers = [port.name for port in outputs if port.type.dtype.kind in "fV"]
    if len(numbers) != 1 or len(texts) > 1 or len(signature.outputs) != len(texts) + 1:
        raise ModelError(f"{signature} cannot be read; {_SERVED}")
    return (texts[0] if texts else None), numbers[0]


def _work(queue: _batching.Queue, reader: TextReader) -> None:
    while (batch := queue.take()) is not None:
        batch_id, texts = batch
        queue.finish(batch_id, reader.answers(texts))  # type: ignore[arg-type]
