"""TensorFlow Lite files: Smart Reply's graph, and any other that reads one text.

One string in, and out: strings with their float32 scores serve `reply`; a float32 vector serves `embed`, or, where a
file FILE.labels.txt lies beside it with one label a line, `predict`. These graphs are driven from Python, by threads
that take batches from the queue; the interpreter computes without the GIL, one text at a time.
"""

from __future__ import annotations

import asyncio
import threading
from collections import defaultdict
from typing import TYPE_CHECKING, Any

import numpy as np

from ext import _batching, _tflite_ops
from server.errors import ModelError
from server.models import smart_reply
from server.models.capabilities import Capability
from server.models.engine import Engine, EngineModel
from server.models.labels_file import labels_beside
from server.models.message_cost import MessageCost
from server.models.requests import ReplyFilter, RequestContext
from server.models.smart_reply_engine import OPERATORS, best, described, open_interpreter, operators_of, read_model

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from server.calls import Pending
    from server.config import Settings
    from server.models.smart_reply import SmartReplyModel

    Answer = Callable[[Sequence[str], ReplyFilter], Any]

_CAPABILITIES = {"replies": Capability.REPLY, "vector": Capability.EMBED, "labels": Capability.CLASSIFY}
_SAMPLE = "Hello"


class TextGraph:
    """One interpreter, warm, and what its outputs are good for: `output` is replies, vector or labels."""

    def __init__(self, content: bytes, labels: Sequence[str] | None) -> None:
        self._interpreter = open_interpreter(content)
        self._labels = labels
        try:
            self._input, self._shape = self._text_input()
            _tflite_ops.verify_tensors(content)
            self._interpreter.allocate_tensors()
            self._outputs = sorted(self._interpreter.get_output_details(), key=lambda detail: detail["dtype"].__name__)
            self.sample = self._run(_SAMPLE)
        except (ValueError, RuntimeError, MemoryError) as error:
            raise ModelError(str(error)) from None
        self.output = self._kind_of_output()

    def answer(self, messages: Sequence[str], reply_filter: ReplyFilter) -> Any:
        """What the method that it serves returns. Raises RuntimeError when the graph fails."""
        if self.output == "replies":
            return best(self._replies(messages), reply_filter.max_replies, reply_filter.threshold)
        (values,) = self._run(messages[0])
        if values.size != self.sample[0].size:
            raise RuntimeError(f"{values.size} numbers came out instead of {self.sample[0].size}")
        if self._labels is None:
            return values.astype("<f4", copy=False).tobytes()
        return dict(zip(self._labels, values.ravel().tolist(), strict=True))

    def _replies(self, messages: Sequence[str]) -> dict[str, float]:
        """Best first, equals by text, as Smart Reply's own session orders them; empty texts count for nothing."""
        sums: defaultdict[str, float] = defaultdict(float)
        for message in messages:
            texts, scores = self._texts_and_scores(message)
            for text, score in zip(texts, scores, strict=True):
                if text:
                    sums[text.decode()] += score
        return dict(sorted(sums.items(), key=lambda pair: (-pair[1], pair[0].encode())))

    def _texts_and_scores(self, message: str) -> tuple[list[bytes], list[float]]:
        texts, scores = (values.ravel() for values in self._run(message))
        if texts.size != scores.size:
            raise RuntimeError(f"the graph gives {texts.size} replies and {scores.size} scores")
        return texts.tolist(), scores.tolist()

    def _run(self, text: str) -> list[Any]:
        """The outputs, strings before numbers."""
        value = np.array([text.encode()], dtype=object).reshape(self._shape)
        self._interpreter.set_tensor(self._input, value)
        self._interpreter.invoke()
        return [self._interpreter.get_tensor(detail["index"]) for detail in self._outputs]

    def _text_input(self) -> tuple[int, tuple[int, ...]]:
        """Index and shape of the input tensor."""
        inputs = self._interpreter.get_input_details()
        if len(inputs) != 1 or inputs[0]["dtype"] is not np.bytes_ or np.prod(inputs[0]["shape"]) != 1:
            raise ValueError(f"one string is all that a request carries, but the inputs are {described(inputs)}")
        index, shape = inputs[0]["index"], tuple(inputs[0]["shape"])
        if not shape:  # the runtime's Python takes no empty string for a scalar
            shape = (1,)
            self._interpreter.resize_tensor_input(index, shape)
        return index, shape

    def _kind_of_output(self) -> str:
        dtypes = [detail["dtype"] for detail in self._outputs]
        if dtypes == [np.bytes_, np.float32] and self.sample[0].size == self.sample[1].size:
            return "replies"
        if dtypes != [np.float32] or self.sample[0].size == 0:
            raise ModelError(
                "strings with as many float32 scores can be served, or one float32 vector, but the outputs are "
                f"{described(self._outputs)}"
            )
        if self._labels is None:
            return "vector"
        if len(self._labels) != self.sample[0].size:
            raise ModelError(f"{len(self._labels)} labels for {self.sample[0].size} scores")
        return "labels"


class TfliteModel(EngineModel):
    """A graph for each worker thread, behind one queue."""

    equal_lengths_only = False

    def __init__(self, graphs: Sequence[TextGraph], cost: MessageCost) -> None:
        try:
            queue = _batching.Queue(capacity=len(graphs), **cost.queue_settings())
        except ValueError as error:
            raise ModelError(str(error)) from None
        super().__init__(Engine(queue, cost.max_tokens))
        self._cost = cost
        output = graphs[0].output
        self.kind = f"tflite-{output}"
        self.capabilities = (_CAPABILITIES[output],)
        self.limits = cost.limits()
        self.details = {"input": "texts", "output": output, "device": "cpu"}
        if output == "vector":
            self.details["dimensions"] = str(graphs[0].sample[0].size)
        # Daemons: where the process ends without close(), they wait in the queue without the GIL.
        self._threads = [threading.Thread(target=_work, args=(queue, graph.answer), daemon=True) for graph in graphs]
        for thread in self._threads:
            thread.start()

    def predict(self, doc: str, context: RequestContext) -> Pending[dict[str, float]]:
        """Label -> score."""
        return self._submit((doc,), ReplyFilter(), context)

    def embed(self, text: str, truncate: bool, context: RequestContext) -> Pending[bytes]:
        """The text's vector; there is nothing that it would be cut to (see Model.embed)."""
        return self._submit((text,), ReplyFilter(), context)

    def reply(
        self, messages: Sequence[str], reply_filter: ReplyFilter, context: RequestContext
    ) -> Pending[dict[str, float]]:
        """Reply -> score for all messages together, best first."""
        return self._submit(messages, reply_filter, context)

    async def close(self) -> None:
        """Answer what was accepted, then end the threads."""
        await super().close()
        for thread in self._threads:
            await asyncio.to_thread(thread.join)

    def _submit(self, messages: Sequence[str], reply_filter: ReplyFilter, context: RequestContext) -> Pending[Any]:
        return self._engine.submit((messages, reply_filter), self._cost.tokens_of(messages), context=context)


async def load(path: Path, settings: Settings) -> SmartReplyModel | TfliteModel:
    """Smart Reply's model where the graph is its own, else one for any text graph. Raises ModelError, OSError."""
    content = await asyncio.to_thread(read_model, path)
    interpreter = await asyncio.to_thread(open_interpreter, content)
    if operators_of(interpreter) == OPERATORS:
        return await smart_reply.load(content, settings)
    cost = MessageCost(settings)
    labels = await asyncio.to_thread(labels_beside, path)
    graphs = [await asyncio.to_thread(TextGraph, content, labels) for _ in range(settings.workers)]
    return TfliteModel(graphs, cost)


def _work(queue: _batching.Queue, answer: Answer) -> None:
    while (batch := queue.take()) is not None:
        batch_id, payloads = batch
        queue.finish(batch_id, [_answered(answer, payload) for payload in payloads])


def _answered(answer: Answer, payload: Any) -> Any:
    """The answer or, as a queue takes it, the exception: one text's trouble is not its batch mates'."""
    try:
        return answer(*payload)
    except Exception as error:
        return RuntimeError(str(error))
