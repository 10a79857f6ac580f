"""A queue for one thread, with a clock that stands still."""

from __future__ import annotations

from typing import Any

from ext._batching import Lane, ManualClock, Queue

INTERACTIVE, BULK = Lane
NEVER = 2**63 - 1
MS = 1_000_000


class Harness:
    """A queue whose clock stands still, and short ways to use it. Payload and tag of a request are the same."""

    def __init__(self, **settings: Any) -> None:
        self.clock = ManualClock()
        self.queue = Queue(self.clock, **settings)

    def submit(
        self,
        name: str,
        tokens: int = 1,
        lane: int = INTERACTIVE,
        timeout_ms: int | None = None,
        flow: int = 0,
        size: int = 0,
    ) -> int:
        deadline = NEVER if timeout_ms is None else self.clock.now_ns + timeout_ms * MS
        return self.queue.submit(name, tokens, lane, deadline, name, flow, size)

    def take(self) -> list[object]:
        """The next batch's payloads, which are left running; empty if there is none."""
        taken = self.queue.try_take()
        return taken[1] if taken else []

    def run(self) -> list[object]:
        """The next batch's payloads, each of which is its own result."""
        taken = self.queue.try_take()
        if taken is None:
            return []
        self.queue.finish(*taken)
        return taken[1]

    def counter(self, name: str) -> int:
        return self.queue.stats()[name]
