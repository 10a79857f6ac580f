"""The queue whose batches are tasks of the event loop."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any

import pytest
from structlog.testing import capture_logs

from server.config import Settings
from server.errors import ErrorCode, ModelError, overloaded
from server.models.message_cost import MessageCost
from server.models.requests import RequestContext
from server.models.task_queue import TaskEngine, TaskQueue
from tests.server.waiting import error_of, result

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from server.models.task_queue import Item

BULK = 1


def context(timeout_s: float = 60, lane: int = 0) -> RequestContext:
    return RequestContext(lane, time.monotonic_ns() + int(timeout_s * 1e9), None)


class Work:
    """Batches that run until they may end; `outcome` makes a result of a payload."""

    def __init__(self, outcome: Callable[[Any], Any] = str.upper) -> None:
        self.outcome = outcome
        self.batches: list[list[Any]] = []
        self.cancelled = 0
        self.running = 0
        self.most = 0
        self.go_on = asyncio.Event()

    async def run(self, items: Sequence[Item]) -> list[Any]:
        payloads = [item.payload for item in items]
        self.batches.append(payloads)
        self.running += 1
        self.most = max(self.most, self.running)
        try:
            await self.go_on.wait()
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        finally:
            self.running -= 1
        return [self.outcome(payload) for payload in payloads]


def engine(work: Work, capacity: int = 2, **settings: Any) -> TaskEngine:
    cost = MessageCost(Settings(**settings))
    return TaskEngine(TaskQueue(work.run, capacity, **cost.queue_settings()), cost.max_tokens)  # type: ignore[arg-type]


async def until(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(30):
        while not condition():  # noqa: ASYNC110 - of whatever a test looks at
            await asyncio.sleep(0.002)


async def test_batches_run_beside_each_other_up_to_the_capacity() -> None:
    work = Work()
    queue = engine(work, batch_items=3)
    requests = [queue.submit(letter, 1, context=context()) for letter in "abcdefgh"]
    answers = asyncio.gather(*map(result, requests))
    await until(lambda: work.running == 2)
    assert work.batches == [["a", "b", "c"], ["d", "e", "f"]]
    assert queue.stats()["running"] == 6
    assert queue.stats()["waiting"] == 2
    work.go_on.set()
    assert await answers == list("ABCDEFGH")
    assert work.most == 2
    assert queue.stats()["completed"] == 8
    await queue.close()


async def test_whoever_leaves_last_ends_the_work() -> None:
    work = Work()
    queue = engine(work)
    first, second = (queue.submit(letter, 1, context=context()) for letter in "ab")
    await until(lambda: work.running)
    first.abandon()
    first.abandon()
    await asyncio.sleep(0.05)
    assert work.running == 1
    second.abandon()
    await until(lambda: work.cancelled)
    await until(lambda: not queue.stats()["running"])
    assert queue.stats()["cancelled"] == 2
    await queue.close()


async def test_work_that_is_left_before_it_begins_does_not_stay() -> None:
    work = Work()
    queue = engine(work, capacity=1)
    request = queue.submit("a", 1, context=context())
    queue._wake()  # the task is there, and has not had its first turn
    request.abandon()
    work.go_on.set()
    assert await result(queue.submit("b", 1, context=context())) == "B"
    assert work.batches == [["b"]]
    await queue.close()


async def test_the_deadline_ends_the_work() -> None:
    work = Work()
    queue = engine(work)
    running = queue.submit("a", 1, context=context(0.05))
    error = await error_of(running)
    assert error.code == ErrorCode.DEADLINE_EXCEEDED
    await until(lambda: work.cancelled)
    assert queue.stats()["expired"] == 1
    await queue.close()


async def test_errors_of_their_own_and_of_nobody() -> None:
    work = Work(lambda payload: overloaded("so it is", 70) if payload == "a" else ValueError("so not"))
    work.go_on.set()
    queue = engine(work)
    error = await error_of(queue.submit("a", 1, context=context()))
    assert (error.code, error.message, error.retry_after_ms) == (ErrorCode.OVERLOADED, "so it is", 70)
    assert (await error_of(queue.submit("b", 1, context=context()))).code == ErrorCode.INVALID_ARGUMENT
    work.outcome = lambda payload: 1 / len(payload)
    with capture_logs() as logs:
        assert (await error_of(queue.submit("", 1, context=context()))).code == ErrorCode.INTERNAL
    assert [entry["event"] for entry in logs] == [
        "a call failed in a way that no one expects",
        "the model failed on a request",
    ]
    assert queue.stats()["failed"] == 3
    await queue.close()


async def test_the_queue_is_bounded() -> None:
    work = Work()
    queue = engine(work, capacity=1, queue_items=2, batch_items=1)
    requests = []
    for letter in "abc":
        requests.append(queue.submit(letter, 1, context=context()))
        await asyncio.sleep(0)
    with pytest.raises(Exception, match="the model's queue is full") as caught:
        queue.submit("d", 1, context=context())
    assert caught.value.code == ErrorCode.OVERLOADED  # type: ignore[attr-defined]
    work.go_on.set()
    assert await asyncio.gather(*map(result, requests)) == list("ABC")
    await queue.close()


async def test_bulk_work_gets_its_turn() -> None:
    work = Work()
    work.go_on.set()
    queue = engine(work)
    assert await result(queue.submit("a", 1, context=context(lane=BULK))) == "A"
    both = [queue.submit(letter, 1, context=context(lane=lane)) for letter, lane in (("b", BULK), ("c", 0))]
    assert await asyncio.gather(*map(result, both)) == ["B", "C"]
    await queue.close()


async def test_closing_answers_what_was_accepted() -> None:
    work = Work()
    queue = engine(work, capacity=1, batch_items=1)
    answers = asyncio.gather(*(result(queue.submit(letter, 1, context=context())) for letter in "abc"))
    closing = asyncio.create_task(queue.close())
    await until(lambda: work.running)
    assert not closing.done()
    work.go_on.set()
    assert await answers == list("ABC")
    await closing
    with pytest.raises(Exception, match="the model is being unloaded"):
        queue.submit("d", 1, context=context())


async def test_settings_that_do_not_fit() -> None:
    with pytest.raises(ModelError, match="batch_items"):
        TaskQueue(Work().run, 1, batch_items=0)
