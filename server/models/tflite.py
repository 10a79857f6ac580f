"""TensorFlow Lite files: Smart Reply's graph, and any other that reads one text.

Strings with their float32 scores serve `reply`; a float32 vector serves `embed`, or, where a file FILE.labels.txt lies
beside it with one label a line, `predict`. Smart Reply's graph has an executor of its own; other graphs are driven from
Python, by threads that take batches from the queue; the interpreter computes without the GIL, one text at a time.
"""

from __future__ import annotations

import asyncio
import threading
from typing import TYPE_CHECKING, Any

from ext import _batching, _smart_reply
from server.errors import ModelError
from server.models import smart_reply
from server.models.capabilities import Capability
from server.models.engine import Engine, EngineModel
from server.models.labels_file import labels_beside
from server.models.message_cost import MessageCost
from server.models.requests import ReplyFilter
from server.models.smart_reply_engine import open_file

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from server.calls import Pending
    from server.config import Settings
    from server.models.requests import Classification, Reading, RequestContext
    from server.models.smart_reply import SmartReplyModel
    from server.models.text_graph import TextGraph

    Answer = Callable[[Sequence[str], ReplyFilter], Any]

_CAPABILITIES = {"replies": Capability.REPLY, "vector": Capability.EMBED, "labels": Capability.CLASSIFY}


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
            self.dimensions = graphs[0].sample[0].size
            self.details["dimensions"] = str(self.dimensions)
        self.normalized = False
        # Daemons: where the process ends without close(), they wait in the queue without the GIL.
        self._threads = [threading.Thread(target=_work, args=(queue, graph.answer), daemon=True) for graph in graphs]
        for thread in self._threads:
            thread.start()

    def predict(self, doc: str, classification: Classification, context: RequestContext) -> Pending[dict[str, float]]:
        """Label -> score."""
        return self._submit((doc,), ReplyFilter(), context)

    def embed(self, text: str, reading: Reading, context: RequestContext) -> Pending[bytes]:
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
    file = await asyncio.to_thread(open_file, path)
    try:
        if file.is_smart_reply:
            return await smart_reply.load(file, settings)
        file.check_tensors()
    except _smart_reply.ModelError as error:
        raise ModelError(str(error)) from None
    cost = MessageCost(settings)
    labels = await asyncio.to_thread(labels_beside, path)
    return TfliteModel(await asyncio.to_thread(_graphs, file.content, labels, settings.workers), cost)


def _graphs(content: bytes, labels: Sequence[str] | None, count: int) -> list[TextGraph]:
    from server.models import text_graph  # needs numpy and a runtime, which Smart Reply does not

    return text_graph.open_graphs(content, labels, count)


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
