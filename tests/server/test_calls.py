"""Calls in progress: coroutines driven without tasks."""

from __future__ import annotations

import asyncio
import gc
from typing import Any

import pytest

from server.calls import Pending, drive


class Outcome:
    """What `drive` reports; counts how often."""

    def __init__(self) -> None:
        self.reports: list[tuple[Any, BaseException | None]] = []

    def __call__(self, value: Any, error: BaseException | None) -> None:
        self.reports.append((value, error))

    @property
    def value(self) -> Any:
        """The result of a call that ended well, once."""
        ((value, error),) = self.reports
        assert error is None
        return value

    @property
    def error(self) -> BaseException | None:
        """The error of a call that failed, once."""
        ((value, error),) = self.reports
        assert value is None
        return error


async def wait_for(pending: Pending[Any]) -> Any:
    return await pending


def test_a_call_that_waits_for_nothing_ends_at_once() -> None:
    async def answer() -> int:
        return 42

    outcome = Outcome()
    drive(answer(), outcome)
    assert outcome.value == 42


def test_a_call_goes_on_when_its_result_is_there() -> None:
    pending: Pending[str] = Pending()
    outcome = Outcome()
    drive(wait_for(pending), outcome)
    assert outcome.reports == []
    assert not pending.done()
    pending.resolve("scores")
    assert pending.done()
    assert outcome.value == "scores"


def test_a_result_that_is_there_before_it_is_awaited() -> None:
    pending: Pending[str] = Pending()
    pending.resolve("early")
    outcome = Outcome()
    drive(wait_for(pending), outcome)
    assert outcome.value == "early"


def test_none_is_a_result() -> None:
    pending: Pending[None] = Pending()
    outcome = Outcome()
    drive(wait_for(pending), outcome)
    pending.resolve(None)
    assert pending.done()
    assert outcome.reports == [(None, None)]


@pytest.mark.parametrize("early", [False, True])
def test_an_error_is_raised_where_the_call_waits(early: bool) -> None:
    pending: Pending[str] = Pending()

    async def recover() -> str:
        try:
            return await pending
        except KeyError as error:
            return f"recovered from {error.args[0]}"

    outcome = Outcome()
    if early:
        pending.fail(KeyError("trouble"))
    drive(recover(), outcome)
    if not early:
        pending.fail(KeyError("trouble"))
    assert outcome.value == "recovered from trouble"


def test_an_error_ends_a_call_that_does_not_expect_it() -> None:
    pending: Pending[str] = Pending()
    outcome = Outcome()
    drive(wait_for(pending), outcome)
    error = KeyError("trouble")
    pending.fail(error)
    assert outcome.error is error


def test_a_panic_ends_a_call() -> None:
    """Those of libraries written in Rust are no Exceptions."""

    class PanicException(BaseException):
        pass

    async def panic() -> None:
        raise PanicException("called `Option::unwrap()` on a `None` value")

    outcome = Outcome()
    drive(panic(), outcome)
    assert isinstance(outcome.error, PanicException)


def test_a_call_may_wait_many_times() -> None:
    steps: list[Pending[int]] = [Pending() for _ in range(3)]

    async def add() -> int:
        return sum([await step for step in steps])

    outcome = Outcome()
    drive(add(), outcome)
    for number, step in enumerate(steps):
        assert outcome.reports == []
        step.resolve(10**number)
    assert outcome.value == 111


def test_cancelling_a_call_abandons_what_it_waits_for() -> None:
    abandoned: list[str] = []
    pending: Pending[str] = Pending(lambda: abandoned.append("left the queue"))
    cleaned: list[str] = []

    async def answer() -> str:
        try:
            return await pending
        finally:
            cleaned.append("cleaned up")

    outcome = Outcome()
    call = drive(answer(), outcome)
    call.cancel()
    assert abandoned == ["left the queue"]
    assert cleaned == ["cleaned up"]
    pending.resolve("too late")
    call.cancel()
    assert outcome.reports == []
    assert abandoned == ["left the queue"]


def test_what_is_done_is_not_abandoned() -> None:
    abandoned: list[str] = []
    for settle in (lambda pending: pending.resolve(1), lambda pending: pending.fail(KeyError())):
        pending: Pending[int] = Pending(lambda: abandoned.append("no"))
        settle(pending)
        pending.abandon()
    assert abandoned == []


def test_cancelling_a_call_that_has_ended_does_nothing() -> None:
    outcome = Outcome()
    pending: Pending[int] = Pending()
    call = drive(wait_for(pending), outcome)
    pending.resolve(1)
    call.cancel()
    assert outcome.value == 1


async def test_a_call_may_wait_for_what_asyncio_has() -> None:
    async def answer() -> str:
        await asyncio.sleep(0)
        await asyncio.sleep(0.001)
        return await asyncio.get_running_loop().create_task(task())

    async def task() -> str:
        return "from a task"

    done = asyncio.Event()
    outcome = Outcome()

    def report(value: Any, error: BaseException | None) -> None:
        outcome(value, error)
        done.set()

    drive(answer(), report)
    await asyncio.wait_for(done.wait(), 10)
    assert outcome.value == "from a task"


async def test_a_task_that_is_cancelled_is_an_error_of_the_call() -> None:
    task = asyncio.get_running_loop().create_task(asyncio.sleep(3600))

    async def answer() -> None:
        await task

    outcome = Outcome()
    drive(answer(), outcome)
    task.cancel()
    await asyncio.wait([task])
    await asyncio.sleep(0)
    assert isinstance(outcome.error, asyncio.CancelledError)


async def test_an_error_that_comes_after_the_call_was_cancelled_is_not_asyncios_to_log() -> None:
    """As of a thread, which cannot be cancelled."""
    loop = asyncio.get_running_loop()
    told: list[dict[str, Any]] = []
    loop.set_exception_handler(lambda _, context: told.append(context))

    async def handler(future: asyncio.Future[None]) -> None:
        await future

    future: asyncio.Future[None] = loop.create_future()
    ended: list[Any] = []
    drive(handler(future), lambda value, error: ended.append((value, error))).cancel()
    future.set_exception(KeyError("no such job"))
    await asyncio.sleep(0)
    del future
    gc.collect()
    await asyncio.sleep(0)
    assert (ended, told) == ([], [])
