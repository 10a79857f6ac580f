"""How the queue's two lanes share its workers, or a generator's slots."""

from __future__ import annotations

import random

import pytest

from tests.ext.queue.harness import BULK, MS, Harness


class Shift:
    """Workers, or a generator's slots, at a harness. A bulk batch takes `took_ms` there, an interactive one no time."""

    def __init__(self, harness: Harness, places: int, took_ms: int) -> None:
        self.harness = harness
        self.places = places
        self.took = took_ms
        self.running: list[tuple[int, tuple[int, list[object]]]] = []

    def work(self, milliseconds: int, request_every: int | None = None) -> float:
        """How many places bulk holds on average, while an interactive request comes each `request_every` ms."""
        busy = 0
        for millisecond in range(milliseconds):
            if request_every is not None and millisecond % request_every == 0:
                self.harness.submit("one")
            for end, taken in [each for each in self.running if each[0] <= self.harness.clock.now_ns]:
                self.running.remove((end, taken))
                self.harness.queue.finish(*taken)
            while len(self.running) < self.places and (begun := self.harness.queue.try_take()) is not None:
                if begun[1][0] == "bulk":
                    self.running.append((self.harness.clock.now_ns + self.took * MS, begun))
                else:
                    self.harness.queue.finish(*begun)
            busy += len(self.running)
            self.harness.clock.advance(1)
        return busy / milliseconds


@pytest.mark.parametrize("took_ms", [12, 60])
@pytest.mark.parametrize("places", [1, 2, 3, 8])
@pytest.mark.parametrize("share", [0.1, 0.25, 0.5])
def test_bulk_takes_its_share_of_the_time_while_somebody_else_is_there(share: float, places: int, took_ms: int) -> None:
    """Also when nothing else is to be done: what it leaves is the cores' time for those who wait."""
    harness = Harness(bulk_items=1, bulk_share=share, capacity=places)
    for _ in range(4000):
        harness.submit("bulk", lane=BULK)
    shift = Shift(harness, places, took_ms)
    assert shift.work(100) == places, "alone it has all the time"
    shift.work(600, request_every=10)  # what ran is run to its end
    assert shift.work(6000, request_every=10) == pytest.approx(share * places, rel=0.02)
    shift.work(100)
    assert shift.work(100) == places, "alone again"


@pytest.mark.parametrize("share", [1e-12, 5e-324])
def test_bulk_with_hardly_any_share_waits_until_nobody_else_is_there(share: float) -> None:
    harness = Harness(bulk_items=1, bulk_share=share)
    for _ in range(100):
        harness.submit("bulk", lane=BULK)
    shift = Shift(harness, places=1, took_ms=4)
    shift.work(10, request_every=5)
    assert shift.work(1000, request_every=10) == 0
    shift.work(30)
    assert shift.work(10) == 1


def take_bulk(harness: Harness) -> int:
    """How many bulk batches begin now."""
    count = 0
    while harness.take():
        count += 1
    return count


def test_bulk_holds_its_share_of_many_places_at_once_however_long_it_takes() -> None:
    """A generator's slots: texts of any length hold some of them side by side, and do not wait for each other."""
    harness = Harness(batch_items=1, bulk_share=0.25, capacity=16)
    harness.submit("long", lane=BULK)
    long = harness.queue.try_take()
    assert long
    harness.clock.advance(20_000)
    harness.queue.finish(*long)
    harness.submit("one")
    assert harness.run() == ["one"]
    for _ in range(20):
        harness.submit("bulk", lane=BULK)
    assert take_bulk(harness) == 4
    harness.clock.advance(19)
    assert take_bulk(harness) == 0
    harness.clock.advance(1)
    assert take_bulk(harness) == 16, "nobody asks any more"


@pytest.mark.parametrize("end", ["finish", "cancel", "expire"])
def test_the_interactive_lane_is_in_use_as_long_as_a_request_waits_or_runs(end: str) -> None:
    harness = Harness(batch_items=1, bulk_share=0.25, capacity=4, hold=0 if end == "finish" else 2)
    one = harness.submit("one", timeout_ms=200)
    running = harness.queue.try_take()
    harness.clock.advance(100)
    if end != "finish":
        assert running is None
        harness.queue.cancel(one) if end == "cancel" else harness.clock.advance(100)
        harness.queue.sweep()
    for _ in range(6):
        harness.submit("bulk", lane=BULK)
    assert take_bulk(harness) == 1
    harness.clock.advance(19)
    assert take_bulk(harness) == 0
    if running is not None:
        harness.clock.advance(50)
        assert take_bulk(harness) == 0
        harness.queue.finish(*running)
        harness.clock.advance(19)
        assert take_bulk(harness) == 0
    harness.clock.advance(1)
    assert take_bulk(harness) == 5


def test_bulk_batches_are_short() -> None:
    harness = Harness(batch_items=8, bulk_items=3)
    for i in range(8):
        harness.submit(f"bulk {i}", lane=BULK)
        harness.submit(f"one {i}")
    assert len(harness.run()) == 8
    assert [len(harness.run()) for _ in range(3)] == [3, 3, 2]


@pytest.mark.parametrize("share", [0.1, 0.25, 0.5])
def test_nobody_starves_under_arrivals_that_suit_others_better(share: float) -> None:
    """Requests of the crowd's length never end; odd ones are served by age all the same, in both lanes."""
    chance = random.Random(3)
    harness = Harness(batch_items=4, bulk_share=share, max_padding=0, free_padding=0)
    waiting: tuple[list[str], list[str]] = ([], [])
    longest_wait = 2 + 9 / min(share, 1 - share)  # batches: a batch costs 1 to 9 tokens
    turn = [0, 0]
    for step in range(500):
        for lane, requests in enumerate(waiting):
            while len(requests) < 100:
                requests.append(f"{lane}: {step}.{len(requests)}")
                harness.submit(requests[-1], 1 if chance.random() < 0.9 else chance.randint(2, 9), lane)
        batch = [str(payload) for payload in harness.run()]
        lane = int(batch[0][0])
        assert waiting[lane][0] in batch, "the oldest must be served first"
        waiting[lane][:] = [request for request in waiting[lane] if request not in batch]
        turn[lane] = step
        assert step - min(turn) <= longest_wait
