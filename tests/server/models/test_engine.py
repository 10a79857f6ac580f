"""An engine on the event loop, in front of the real C++ queue; the test is its worker."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any

import pytest
from predictor.ttypes import FinishReason, Lane
from structlog.testing import capture_logs

from ext import _batching, _generator
from ext._batching import ManualClock, Queue
from process.timing import TIMES, Times
from server.calls import drive
from server.errors import ErrorCode, PredictionError
from server.models.engine import Engine, _Rate
from server.models.requests import RequestContext
from tests.server.waiting import error_of, result

if TYPE_CHECKING:
    from server.calls import Pending

FAR_NS = 3600 * 10**9


def context(request_id: str | None = None, timeout_ns: int = FAR_NS, lane: int = 0) -> RequestContext:
    return RequestContext(lane, time.monotonic_ns() + timeout_ns, request_id)


class Harness:
    """An engine and its queue."""

    def __init__(self, clock: ManualClock | None = None, **settings: Any) -> None:
        self.queue = Queue(clock, max_tokens=10, **settings)
        self.engine = Engine(self.queue, 10)

    def submit(self, text: str, tokens: int = 1, **options: Any) -> Pending[Any]:
        return self.engine.submit(text, tokens, context=context(**options))

    def work(self, *results: object) -> list[object]:
        """Run the next batch, which gives these results; its payloads."""
        taken = self.queue.try_take()
        assert taken is not None
        batch_id, payloads = taken
        self.queue.finish(batch_id, list(results))
        return payloads

    async def close(self) -> None:
        await self.engine.close()


async def test_results_reach_those_who_wait_for_them() -> None:
    harness = Harness()
    first, second = harness.submit("a"), harness.submit("b", lane=0)
    assert harness.work({"label": 1.0}, {"label": 2.0}) == ["a", "b"]
    assert await result(second) == {"label": 2.0}
    assert await result(first) == {"label": 1.0}
    assert harness.engine.stats()["completed"] == 2
    await harness.close()


async def test_who_wants_to_know_learns_how_long_it_took() -> None:
    """Of several requests at a time the longest counts, and others' are not counted."""
    clock, times = ManualClock(), Times()
    harness = Harness(clock, batch_items=1)

    def submit() -> Pending[Any]:
        return harness.engine.submit("a", 1, context=RequestContext(0, FAR_NS, None))

    others = submit()
    before = TIMES.set(times)
    own = [submit(), submit()]
    TIMES.reset(before)
    for _ in range(3):
        clock.advance(5)
        taken = harness.queue.try_take()
        assert taken is not None
        clock.advance(7)
        harness.queue.finish(taken[0], ["done"])
        await asyncio.sleep(0.001)
    assert [await result(pending) for pending in (others, *own)] == ["done"] * 3
    assert (times.queue_ns, times.model_ns) == (29_000_000, 7_000_000)
    await harness.close()


async def test_errors_of_the_model() -> None:
    harness = Harness()
    waiting = [harness.submit("bad text"), harness.submit("poison", request_id="mine"), harness.submit("poison")]
    with capture_logs() as entries:
        harness.work(ValueError("not this"), RuntimeError("secret details"), RuntimeError("secret details"))
        bad_input, named, unnamed = [await error_of(pending) for pending in waiting]
    assert (bad_input.code, bad_input.message) == (ErrorCode.INVALID_ARGUMENT, "not this")
    assert (named.code, named.request_id) == (ErrorCode.INTERNAL, "mine")
    assert unnamed.request_id not in (None, "", "mine")
    assert "secret" not in named.message + unnamed.message
    assert [entry["request_id"] for entry in entries] == ["mine", unnamed.request_id]
    assert all("secret details" in entry["error"] for entry in entries)
    await harness.close()


async def test_refusals() -> None:
    harness = Harness(queue_items=1)
    with pytest.raises(PredictionError) as caught:
        harness.submit("a", tokens=11)
    assert (caught.value.code, caught.value.message) == (
        ErrorCode.TOO_LARGE,
        "the text has more than 10 tokens (setting max_tokens)",
    )
    with pytest.raises(PredictionError) as caught:
        harness.submit("a", timeout_ns=0)
    assert caught.value.code == ErrorCode.DEADLINE_EXCEEDED
    pending = harness.submit("a")
    with pytest.raises(PredictionError) as caught:
        harness.submit("b")
    assert (caught.value.code, caught.value.retry_after_ms) == (ErrorCode.OVERLOADED, 100)
    assert caught.value.setting == "queue_items"
    harness.engine.drain()
    with pytest.raises(PredictionError) as caught:
        harness.submit("c")
    assert caught.value.code == ErrorCode.UNAVAILABLE
    assert caught.value.retry_after_ms > 0
    harness.work("done")
    assert await result(pending) == "done"
    await harness.close()


async def test_a_queue_may_be_full_of_tokens() -> None:
    harness = Harness(queue_tokens=10)
    pending = harness.submit("a", tokens=6)
    with pytest.raises(PredictionError) as caught:
        harness.submit("b", tokens=5)
    assert (caught.value.code, caught.value.setting) == (ErrorCode.OVERLOADED, "queue_tokens")
    harness.work("done")
    assert await result(pending) == "done"
    await harness.close()


async def test_a_deadline_in_the_queue_and_one_while_the_model_runs() -> None:
    clock = ManualClock()
    harness = Harness(clock, batch_items=1)
    soon = RequestContext(0, 50_000_000, None)
    running = harness.engine.submit("a", 1, context=soon)
    taken = harness.queue.try_take()
    assert taken is not None
    waiting = harness.engine.submit("b", 1, context=soon)
    clock.advance(50)
    late = await error_of(running)
    expired = await error_of(waiting)
    assert late.code == expired.code == ErrorCode.DEADLINE_EXCEEDED
    assert "while the model ran" in late.message
    assert "in the queue" in expired.message
    harness.queue.finish(taken[0], ["too late"])
    assert harness.engine.stats()["expired"] == 2
    await harness.close()


async def test_an_abandoned_request_leaves_the_queue() -> None:
    harness = Harness()
    staying = harness.submit("a")

    async def ask() -> None:
        await harness.submit("b")

    drive(ask(), lambda *_: pytest.fail("a cancelled call reports nothing")).cancel()
    stats = harness.engine.stats()
    assert (stats["waiting"], stats["cancelled"]) == (1, 1)
    assert harness.work("done") == ["a"]
    assert await result(staying) == "done"
    await harness.close()


async def test_one_callers_trouble_is_not_its_batch_mates() -> None:
    harness = Harness()
    broken, mate = harness.submit("a", request_id="broken"), harness.submit("b")

    def stumble(_: object) -> None:
        raise ZeroDivisionError("in the caller's code")

    broken.add_done_callback(stumble)
    with capture_logs() as entries:
        harness.work("first", "second")
        assert await result(mate) == "second"
    (entry,) = entries
    assert entry["request_id"] == "broken"
    await harness.close()


async def test_close_waits_for_what_was_accepted() -> None:
    harness = Harness()
    pending = harness.submit("a")
    closing = asyncio.create_task(harness.close())
    await asyncio.sleep(0.05)
    assert not closing.done()
    harness.work("done")
    assert await result(pending) == "done"
    await asyncio.wait_for(closing, 10)
    assert not asyncio.get_running_loop().remove_reader(harness.queue.fd), "it still reads from the queue"


def test_rate_gives_the_time_that_a_queue_takes() -> None:
    now = [0.0]
    rate = _Rate(lambda: now[0])
    assert rate.milliseconds_for(32) == 100, "nothing is known yet"
    rate.count(250)
    assert rate.milliseconds_for(32) == 100, "no second has passed"
    now[0] = 1.0
    rate.count(250)  # 500 in a second: half of one in a millisecond
    assert rate.milliseconds_for(32) == 64
    assert rate.milliseconds_for(0) == 1
    assert rate.milliseconds_for(10**9) == 10_000
    now[0] = 3.0
    rate.count(4000)  # 2,000 a second over the last two
    assert rate.milliseconds_for(32) == 16


@pytest.mark.parametrize(
    ("codes", "contract"),
    [(_batching.Lane, Lane), (_generator.FinishReason, FinishReason), (_batching.Status, ErrorCode)],
)
def test_the_extensions_codes_are_the_contracts(codes: Any, contract: Any) -> None:
    """They travel from one to the other as numbers."""
    named = {code.name: int(code) for code in codes if code is not _batching.Status.OK}
    assert named == {name: contract._NAMES_TO_VALUES[name] for name in named}
    assert len(named) == len(codes) - (codes is _batching.Status)
