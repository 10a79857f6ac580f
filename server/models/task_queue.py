"""The queue of ext for models whose batches are calls to elsewhere: each is a task on the event loop, not a thread."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import structlog

from ext import _batching
from server.errors import ModelError, PredictionError
from server.models.engine import Engine

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    Outcome = tuple[Any, int, Any]

log = structlog.get_logger()


class Item:
    """A request in the queue: what it asks for, and whoever waits for it."""

    __slots__ = ("_batch", "_error", "payload", "request")

    def __init__(self, payload: Any, request: Any) -> None:
        self.payload = payload
        self.request = request
        self._batch: _Batch | None = None
        self._error: PredictionError | None = None


class _Batch:
    """A task and how many still wait for it."""

    __slots__ = ("left", "task")

    def __init__(self, task: asyncio.Task[Any], left: int) -> None:
        self.task = task
        self.left = left

    def leave(self) -> None:
        """One less: the last one ends the work."""
        self.left -= 1
        if self.left == 0:
            self.task.cancel()


class TaskQueue:
    """What an Engine needs of a native engine. Belongs to the event loop that runs when it is made.

    `run` gets the items of a batch and gives for each its result or an exception; up to `capacity` run at a time. It is
    cancelled when all that wait for it have left, or their deadlines have passed. With the setting keeps_work it ends
    by itself at the deadline, with what there is or a TimeoutError.
    """

    def __init__(
        self, run: Callable[[Sequence[Item]], Awaitable[Sequence[Any]]], capacity: int, **settings: Any
    ) -> None:
        """`settings`: of ext's queue. Raises ModelError."""
        try:
            self._queue = _batching.Queue(capacity=capacity, **settings)
        except ValueError as error:
            raise ModelError(str(error)) from None
        self._run = run
        self._capacity = capacity
        self._items: dict[int, Item] = {}
        self._tasks: set[asyncio.Task[Any]] = set()
        self.fd = self._queue.fd
        self.stats = self._queue.stats
        self.times = self._queue.times
        self.drain = self._queue.drain

    def submit(self, payload: Any, tokens: int, lane: int, deadline_ns: int, request: Any, flow: int = 0) -> int:
        """The id, or minus the Admission."""
        item = Item(payload, request)
        request_id = self._queue.submit(item, tokens, lane, deadline_ns, request, flow)
        if request_id >= 0:
            self._items[request_id] = item
        return request_id

    def wake(self) -> bool:
        """Begin what has come. False: there is no outcome yet."""
        self._queue.wake()
        self._begin()
        return False

    def cancel(self, request_id: int) -> bool:
        """Take a request out, waiting or running."""
        item = self._items.pop(request_id, None)
        found = self._queue.cancel(request_id)
        if item is not None and item._batch is not None:
            item._batch.leave()
        return found

    def sweep(self) -> None:
        """Answer requests whose deadline has passed, and begin those of the bulk lane whose time has come."""
        self._queue.sweep()
        self._begin()

    def results(self) -> list[Outcome]:
        """(request, Status, value, message or PredictionError) of each that has ended since the last call."""
        return [self._outcome(*outcome) for outcome in self._queue.results()]

    def close(self) -> list[Outcome]:
        """End the queue, in which nothing runs any more. Any thread may call it."""
        return [self._outcome(*outcome) for outcome in self._queue.close()]

    def _outcome(self, request: Any, status: int, value: Any) -> Outcome:
        item = self._items.pop(request.id, None)
        if item is None:
            return request, status, value
        if item._batch is not None:
            item._batch.leave()
        return request, status, value if item._error is None else item._error

    def _begin(self) -> None:
        while len(self._tasks) < self._capacity and (batch := self._queue.try_take()) is not None:
            batch_id, items = batch
            self._start(batch_id, items)  # type: ignore[arg-type] # it gives what was submitted

    def _start(self, batch_id: int, items: Sequence[Item]) -> None:
        async def run() -> Sequence[Any]:
            return await self._run(items)

        task = asyncio.get_running_loop().create_task(run())
        self._tasks.add(task)
        running = _Batch(task, len(items))
        for item in items:
            item._batch = running

        def end(task: asyncio.Task[Sequence[Any]]) -> None:
            self._tasks.discard(task)
            outcomes = _outcomes(task, len(items))
            for item, outcome in zip(items, outcomes, strict=True):
                item._batch = None
                if isinstance(outcome, PredictionError):
                    item._error = outcome
            self._queue.finish(batch_id, outcomes)
            self._begin()

        task.add_done_callback(end)


def _outcomes(task: asyncio.Task[Sequence[Any]], count: int) -> Sequence[Any]:
    if task.cancelled():  # nobody waits for them
        return [RuntimeError("cancelled")] * count
    error = task.exception()
    if error is None:
        return task.result()
    if not isinstance(error, PredictionError):
        log.error("a call failed in a way that no one expects", exc_info=error)
    return [error] * count


class TaskEngine(Engine):
    """An Engine whose requests can fail with errors of their own."""

    def _error(self, request: Any, status: int, message: Any) -> PredictionError:
        return message if isinstance(message, PredictionError) else super()._error(request, status, message)
