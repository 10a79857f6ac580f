"""Jobs that share places: each has its turn."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from server.batch.state.control import Control
from server.batch.state.turns import Turns
from tests.support.service import eventually

if TYPE_CHECKING:
    from collections.abc import Callable


class Job:
    """Runs in a thread of its own until it has made so many steps; `log` has the names of those that made one."""

    def __init__(self, turns: Turns, name: str, steps: int, log: list[str]) -> None:
        self.control = Control()
        self._turn = turns.of(self.control)
        self._name, self._steps, self._log = name, steps, log
        self.begun: bool | None = None
        self.thread = threading.Thread(target=self._run)
        self.thread.start()

    def _run(self) -> None:
        self.begun = self._turn.begin()
        try:
            for _ in range(self._steps if self.begun else 0):
                self._log.append(self._name)
                self.control.check()
        finally:
            self._turn.end()


def held(turns: Turns) -> Callable[[], None]:
    """Takes a place; the answer gives it back."""
    turn = turns.of(Control())
    assert turn.begin()
    return turn.end


def test_a_job_that_comes_later_has_its_turn_before_the_first_ends() -> None:
    turns, log = Turns(1, turn_s=0.0), []
    let_go = held(turns)
    first = Job(turns, "long", 1000, log)
    eventually(lambda: len(turns._waiting) == 1, "it waits")
    second = Job(turns, "short", 3, log)
    eventually(lambda: len(turns._waiting) == 2, "they wait")
    let_go()
    for job in (first, second):
        job.thread.join(60)
    assert log.count("short") == 3
    assert log.index("short") <= 2
    assert log[:6] == ["long", "short"] * 3


def test_a_turn_is_not_cut_short() -> None:
    turns, log = Turns(1, turn_s=3600.0), []
    let_go = held(turns)
    first = Job(turns, "long", 100, log)
    eventually(lambda: len(turns._waiting) == 1, "it waits")
    second = Job(turns, "short", 1, log)
    let_go()
    for job in (first, second):
        job.thread.join(60)
    assert log == ["long"] * 100 + ["short"]


def test_a_job_that_is_told_to_end_waits_no_longer() -> None:
    turns = Turns(1, turn_s=0.0)
    let_go = held(turns)
    waiting = Job(turns, "waits", 1, [])
    waiting.control.stop()
    waiting.thread.join(60)
    assert waiting.begun is False
    let_go()
    held(turns)()


def test_places_are_not_lost() -> None:
    turns, log = Turns(2, turn_s=0.0), []
    jobs = [Job(turns, str(number), 20, log) for number in range(6)]
    jobs[3].control.stop()
    for job in jobs:
        job.thread.join(60)
    give_back = [held(turns), held(turns)]
    for give in give_back:
        give()
