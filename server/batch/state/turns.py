"""Which of the jobs that have begun run: so many at a time, in turns."""

from __future__ import annotations

import threading
import time
from collections import deque
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from server.batch.state.control import Control

_POLL_S = 0.1


class Turns:
    """Places for jobs. Whoever has had one for a turn gives it to the job that has waited longest, and waits."""

    def __init__(self, places: int, turn_s: float) -> None:
        self._turn_s = turn_s
        self._changed = threading.Condition()
        self._free = places
        self._waiting: deque[Turn] = deque()

    def of(self, control: Control) -> Turn:
        """The turns of one job, which pauses where it calls `control.check`."""
        return Turn(self, control)

    def take(self, turn: Turn) -> bool:
        """Wait for a place; False when the job is told to end before there is one."""
        with self._changed:
            self._waiting.append(turn)
            try:
                while not self._free or self._waiting[0] is not turn:
                    if turn.control.stopped:
                        return False
                    self._changed.wait(_POLL_S)
                self._free -= 1
                return True
            finally:
                self._waiting.remove(turn)
                self._changed.notify_all()

    def give_back(self) -> None:
        """The place is free for another job."""
        with self._changed:
            self._free += 1
            self._changed.notify_all()

    def is_over(self, since: float) -> bool:
        """Whether a turn that began then, by time.monotonic(), is over, and another job waits for its own."""
        return bool(self._waiting) and time.monotonic() - since >= self._turn_s


class Turn:
    """A job's; for the thread that runs it."""

    def __init__(self, turns: Turns, control: Control) -> None:
        self.control = control
        self._turns = turns
        self._since = 0.0
        self._has_place = False

    def begin(self) -> bool:
        """Wait for the first turn; False when the job is told to end before it comes."""
        self._has_place = self._turns.take(self)
        self._since = time.monotonic()
        self.control.give_way = self._give_way
        return self._has_place

    def end(self) -> None:
        """The job has ended."""
        self.control.give_way = None
        if self._has_place:
            self._has_place = False
            self._turns.give_back()

    def _give_way(self) -> None:
        if self._has_place and not self.control.stopped and self._turns.is_over(self._since):
            self._turns.give_back()
            self._has_place = self._turns.take(self)
            self._since = time.monotonic()
