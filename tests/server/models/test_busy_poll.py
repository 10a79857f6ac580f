"""Staying awake after a lone request: bounded, prolonged by the next one, off at 0."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from server.models.busy_poll import BusyPoll

if TYPE_CHECKING:
    import pytest

LONG_US = 20_000


class CountingLoop:
    """Of a loop and a clock, all that BusyPoll uses: callbacks wait until `run_pass` runs them, a quarter later."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.ready: list[object] = []
        self.now_ns = 0
        monkeypatch.setattr("server.models.busy_poll.time", self)

    def monotonic_ns(self) -> int:
        return self.now_ns

    def call_soon(self, callback: object) -> None:
        self.ready.append(callback)

    def run_pass(self) -> bool:
        ready, self.ready = self.ready, []
        for callback in ready:
            callback()  # type: ignore[operator]
        self.now_ns += LONG_US * 1000 // 4
        return bool(ready)

    def passes(self) -> int:
        """How many there are before it would sleep."""
        return next(passes for passes in range(100) if not self.run_pass())


def test_it_polls_for_its_time_and_then_sleeps(monkeypatch: pytest.MonkeyPatch) -> None:
    loop = CountingLoop(monkeypatch)
    BusyPoll(loop, LONG_US).begin()  # type: ignore[arg-type]
    assert loop.passes() == 5


def test_beginning_again_prolongs_it_without_polling_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    loop = CountingLoop(monkeypatch)
    busy_poll = BusyPoll(loop, LONG_US)  # type: ignore[arg-type]
    busy_poll.begin()
    loop.run_pass()
    loop.run_pass()
    busy_poll.begin()
    assert len(loop.ready) == 1
    assert loop.passes() == 5


def test_what_is_in_vain_again_and_again_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    loop = CountingLoop(monkeypatch)
    busy_poll = BusyPoll(loop, LONG_US)  # type: ignore[arg-type]

    def polls() -> bool:
        busy_poll.begin()
        return loop.passes() > 0

    assert [polls() for _ in range(4)] == [True] * 4
    assert [polls() for _ in range(32)] == [False] * 31 + [True], "now and then it is tried again"
    assert [polls() for _ in range(31)] == [False] * 31
    busy_poll.begin()
    loop.run_pass()
    busy_poll.begin()  # the next request has come in time
    loop.passes()
    assert [polls() for _ in range(3)] == [True] * 3
    assert not polls()


def test_at_0_it_never_polls(monkeypatch: pytest.MonkeyPatch) -> None:
    loop = CountingLoop(monkeypatch)
    BusyPoll(loop, 0).begin()  # type: ignore[arg-type]
    assert not loop.ready


async def test_other_callbacks_of_the_loop_go_on_meanwhile() -> None:
    BusyPoll(asyncio.get_running_loop(), 10**9).begin()
    for _ in range(3):
        await asyncio.sleep(0.001)
