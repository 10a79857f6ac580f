"""Staying awake after a lone request: bounded, prolonged by the next one, off at 0."""

from __future__ import annotations

import asyncio
import time

from server.models.linger import Linger

LONG_US = 20_000


async def passes_while(seconds: float) -> int:
    """How often the loop went round in this time, when nothing but it decides."""
    loop = asyncio.get_running_loop()
    rounds = 0
    end = time.monotonic() + seconds
    done = loop.create_future()

    def count() -> None:
        nonlocal rounds
        rounds += 1
        if time.monotonic() < end:
            loop.call_later(0.001, count)
        else:
            done.set_result(None)

    count()
    await done
    return rounds


class CountingLoop:
    """Of a loop, all that Linger uses: callbacks wait until `run_pass` runs them."""

    def __init__(self) -> None:
        self.ready: list[object] = []

    def call_soon(self, callback: object) -> None:
        self.ready.append(callback)

    def run_pass(self) -> bool:
        ready, self.ready = self.ready, []
        for callback in ready:
            callback()  # type: ignore[operator]
        return bool(ready)


def test_it_polls_for_its_time_and_then_sleeps() -> None:
    loop = CountingLoop()
    Linger(loop, LONG_US).begin()  # type: ignore[arg-type]
    began = time.monotonic()
    passes = 0
    while loop.run_pass():
        passes += 1
    assert passes > 2
    assert time.monotonic() - began >= 0.9 * LONG_US / 1e6


def test_beginning_again_prolongs_it_without_polling_twice() -> None:
    loop = CountingLoop()
    linger = Linger(loop, LONG_US)  # type: ignore[arg-type]
    linger.begin()
    time.sleep(0.5 * LONG_US / 1e6)
    linger.begin()
    assert len(loop.ready) == 1
    again = time.monotonic()
    while loop.run_pass():
        pass
    assert time.monotonic() - again >= 0.9 * LONG_US / 1e6


def test_at_0_it_never_polls() -> None:
    loop = CountingLoop()
    Linger(loop, 0).begin()  # type: ignore[arg-type]
    assert not loop.ready


async def test_other_callbacks_of_the_loop_go_on_meanwhile() -> None:
    Linger(asyncio.get_running_loop(), LONG_US).begin()
    assert await passes_while(LONG_US / 1e6) > 2
