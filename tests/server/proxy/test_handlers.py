"""Calls of the HTTP routes that the process's own handlers answer."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
import structlog
from predictor.ttypes import ErrorCode, PredictionError, RequestOptions, ServerStatus

from rest_proxy.backend.contract import EMBED_IDS, PREDICT, PREDICT_BATCH
from rest_proxy.config import Address, Settings
from server.calls import Pending
from server.proxy.handlers import HandlerPool

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine


class Handlers:
    """Its methods answer when the test says so."""

    def __init__(self) -> None:
        self.waiting: list[Pending[Any]] = []
        self.gone = 0

    async def predict(self, doc: str, _options: RequestOptions | None) -> dict[str, float]:
        """What the test gives, or at once what the text asks for."""
        if doc == "at once":
            return {"a": 1.0}
        if doc == "fault":
            raise ZeroDivisionError("a secret")
        self.waiting.append(Pending(self._leave))
        answer: dict[str, float] = await self.waiting[-1]
        return answer

    async def predict_batch(self, docs: list[str], _options: RequestOptions | None) -> list[dict[str, float]]:
        """One for each text."""
        return [{"a": 1.0}] * len(docs)

    async def embed_ids(self, ids: list[list[int]], _options: RequestOptions | None, _embed_options: None) -> Any:
        """What came."""
        return ids

    def _leave(self) -> None:
        self.gone += 1


@pytest.fixture
def handlers() -> Handlers:
    """One."""
    return Handlers()


@pytest.fixture
async def pool(handlers: Handlers) -> HandlerPool:
    """Calls that are 20 ms late are given up."""
    return pool_of(handlers)


async def no_message(_message: bytes) -> bytes:
    """None of these tests sends one."""
    raise AssertionError


def pool_of(handlers: object, *reasons: str) -> HandlerPool:
    status = ServerStatus("1", 0.0, not reasons, list(reasons), 0, [])
    settings, log = Settings(grace_ms=20), structlog.get_logger()
    return HandlerPool(handlers, lambda: status, settings, Address("127.0.0.1", 9090), log, no_message)


async def in_task(_pool: HandlerPool, call: Coroutine[Any, Any, Any]) -> Any:
    """As aiohttp runs a request."""
    return await asyncio.get_running_loop().create_task(call)


async def without_task(pool: HandlerPool, call: Coroutine[Any, Any, Any]) -> Any:
    """As the short way of small requests runs one."""
    answer = asyncio.get_running_loop().create_future()

    def done(value: Any, error: BaseException | None) -> None:
        answer.set_exception(error) if error else answer.set_result(value)

    asyncio.get_running_loop().call_soon(pool.run, call, done)
    return await answer


class RunningCall:
    """A call that `pool.begin` has started, from a pass of the loop."""

    def __init__(self, pool: HandlerPool, text: str, timeout_ms: int = 1000) -> None:
        self.outcomes: list[tuple[Any, BaseException | None]] = []
        self.handle = pool.begin(
            PREDICT, text, None, timeout_ms=timeout_ms, on_done=lambda *outcome: self.outcomes.append(outcome)
        )


ways = pytest.mark.parametrize("way", [in_task, without_task])


@ways
async def test_an_answer_that_is_there_at_once(pool: HandlerPool, way: Any) -> None:
    assert await way(pool, pool.call(PREDICT, "at once", None, timeout_ms=1000)) == {"a": 1.0}
    assert pool.upstreams[0].calls == 0


@ways
async def test_an_answer_that_comes_later(pool: HandlerPool, handlers: Handlers, way: Any) -> None:
    calling = asyncio.create_task(way(pool, pool.call(PREDICT, "later", None, timeout_ms=1000)))
    await until(lambda: handlers.waiting)
    assert pool.upstreams[0].calls == 1
    handlers.waiting[0].resolve({"b": 2.0})
    assert await calling == {"b": 2.0}
    assert pool.upstreams[0].calls == 0


@ways
async def test_a_refusal(pool: HandlerPool, handlers: Handlers, way: Any) -> None:
    calling = asyncio.create_task(way(pool, pool.call(PREDICT, "later", None, timeout_ms=1000)))
    await until(lambda: handlers.waiting)
    handlers.waiting[0].fail(PredictionError(ErrorCode.OVERLOADED, "full"))
    with pytest.raises(PredictionError) as caught:
        await calling
    assert caught.value.code == ErrorCode.OVERLOADED


@ways
async def test_a_fault_is_told_by_its_id_alone(pool: HandlerPool, way: Any) -> None:
    with pytest.raises(PredictionError) as caught:
        await way(pool, pool.call(PREDICT, "fault", None, timeout_ms=1000))
    assert caught.value.code == ErrorCode.INTERNAL
    assert caught.value.request_id in caught.value.message
    assert "secret" not in caught.value.message


@ways
async def test_a_call_that_is_late_is_given_up(pool: HandlerPool, handlers: Handlers, way: Any) -> None:
    with pytest.raises(PredictionError) as caught:
        await way(pool, pool.call(PREDICT, "later", None, timeout_ms=10))
    assert caught.value.code == ErrorCode.DEADLINE_EXCEEDED
    assert "10 ms and 20 ms grace" in caught.value.message
    assert handlers.gone == 1
    handlers.waiting[0].resolve({"b": 2.0})  # too late: for nobody


async def test_who_goes_away_takes_the_work_along(pool: HandlerPool, handlers: Handlers) -> None:
    calling = asyncio.create_task(pool.call(PREDICT, "later", None, timeout_ms=1000))
    await until(lambda: handlers.waiting)
    calling.cancel()
    with pytest.raises(asyncio.CancelledError):
        await calling
    running = SimpleNamespace(call=None)
    asyncio.get_running_loop().call_soon(
        lambda: setattr(running, "call", pool.run(pool.call(PREDICT, "later", None, timeout_ms=1000), print))
    )
    await until(lambda: len(handlers.waiting) == 2)
    running.call.cancel()
    assert handlers.gone == 2
    assert pool.upstreams[0].calls == 0


async def test_begun_calls_are_answered_and_counted(pool: HandlerPool, handlers: Handlers) -> None:
    assert RunningCall(pool, "at once").outcomes == [({"a": 1.0}, None)]
    later, refused = RunningCall(pool, "later"), RunningCall(pool, "later")
    assert pool.upstreams[0].calls == 2
    handlers.waiting[0].resolve({"b": 2.0})
    handlers.waiting[1].fail(PredictionError(ErrorCode.OVERLOADED, "full"))
    assert later.outcomes == [({"b": 2.0}, None)]
    [(value, error)] = refused.outcomes
    assert value is None
    assert isinstance(error, PredictionError)
    assert error.code == ErrorCode.OVERLOADED
    assert pool.upstreams[0].calls == 0


async def test_a_begun_call_that_is_late_is_given_up(pool: HandlerPool, handlers: Handlers) -> None:
    call = RunningCall(pool, "later", timeout_ms=10)
    await until(lambda: call.outcomes)
    [(_, error)] = call.outcomes
    assert isinstance(error, PredictionError)
    assert error.code == ErrorCode.DEADLINE_EXCEEDED
    assert "10 ms and 20 ms grace" in error.message
    assert (handlers.gone, pool.upstreams[0].calls) == (1, 0)


async def test_a_begun_call_that_is_cancelled_tells_nobody(pool: HandlerPool, handlers: Handlers) -> None:
    call = RunningCall(pool, "later")
    call.handle.cancel()
    assert (handlers.gone, pool.upstreams[0].calls, call.outcomes) == (1, 0, [])


async def test_a_fault_of_a_begun_call_is_told_by_its_id_alone(pool: HandlerPool) -> None:
    [(_, error)] = RunningCall(pool, "fault").outcomes
    assert isinstance(error, PredictionError)
    assert error.code == ErrorCode.INTERNAL
    assert "secret" not in error.message


@pytest.mark.parametrize(
    ("method", "arguments"),
    [
        (PREDICT, ("\ud800", None)),
        (PREDICT, ("a", RequestOptions(model="\udcff"))),
        (PREDICT_BATCH, (["a", "\udcff"], None)),
    ],
)
async def test_text_that_is_no_unicode_is_refused_as_over_thrift(
    pool: HandlerPool, method: Any, arguments: tuple[Any, ...]
) -> None:
    with pytest.raises(UnicodeEncodeError):
        await pool.call(method, *arguments, timeout_ms=1000)


async def test_lists_of_numbers_pass(pool: HandlerPool) -> None:
    assert await pool.call(EMBED_IDS, [[1, 2], [3]], None, None, timeout_ms=1000) == [[1, 2], [3]]


async def test_what_operators_see(handlers: Handlers) -> None:
    (ready,) = pool_of(handlers).upstreams
    assert (str(ready.address), ready.reachable, ready.ready, ready.reason) == ("127.0.0.1:9090", True, True, None)
    pool = pool_of(handlers, "model a is loading", "model b is loading")
    await pool.probe()
    (loading,) = pool.upstreams
    assert (loading.ready, loading.reason) == (False, "model a is loading; model b is loading")
    assert loading.status is not None


async def until(condition: Callable[[], Any]) -> None:
    async with asyncio.timeout(60):
        while not condition():  # noqa: ASYNC110 - what it waits for happens in this loop
            await asyncio.sleep(0)
