"""What a server holds, and how fast it answers."""

from __future__ import annotations

import statistics
import time
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from tests.support.service import is_running

if TYPE_CHECKING:
    from tests.support.service import Service

MEMORY_BYTES = 64 << 20
"""What the process may grow by: allocators keep some of what they once had."""

DESCRIPTORS = 4

PROXY_CONNECTIONS = 33
"""That a proxy keeps to the server, as many as it has needed at a time since it was started: 32 (its setting
connections), and one to ask for the status."""

THREADS = 6
"""The event loop's own pool starts its threads as it needs them, and keeps them."""

SLOWER_S = 0.05
"""An answer may take so much longer than three times what it took before: the machine may be busy."""

_SETTLE_S = 30


class Held(NamedTuple):
    """By the server's own process."""

    memory_bytes: int
    connections: int
    descriptors: int
    """Without those of connections."""
    threads: int
    children: int


def held(service: Service) -> Held:
    """Now."""
    children = [pid for pid in service.children() if is_running(pid)]
    proc = Path(f"/proc/{service.pid}")
    with service.client() as predictor:
        connections = predictor.status().connections
        descriptors = _count(proc / "fd") - connections
    return Held(service.rss_bytes(), connections - 1, descriptors, _count(proc / "task"), len(children))


def _count(folder: Path) -> int:
    return sum(1 for _ in folder.iterdir())


def settled(service: Service, before: Held) -> Held:
    """When all is back, or will not come back."""
    end = time.monotonic() + _SETTLE_S
    while True:
        now = held(service)
        if not complaints(before, now) or time.monotonic() > end:
            return now
        time.sleep(0.2)


def complaints(before: Held, after: Held) -> list[str]:
    """What was not given back."""
    found = []
    if after.memory_bytes - before.memory_bytes > MEMORY_BYTES:
        grown = (after.memory_bytes - before.memory_bytes) >> 20
        found.append(f"memory grew by {grown} MiB; at most {MEMORY_BYTES >> 20} are allowed")
    if after.connections > max(before.connections, PROXY_CONNECTIONS):
        found.append(f"{after.connections} connections are open, {before.connections} were before")
    if after.descriptors - before.descriptors > DESCRIPTORS:
        found.append(f"{after.descriptors} descriptors are open, {before.descriptors} were before")
    if after.threads - before.threads > THREADS:
        found.append(f"{after.threads} threads run, {before.threads} did before")
    if after.children > before.children:  # one that was killed is started again when it is needed
        found.append(f"{after.children} children run, {before.children} did before")
    return found


def answer_s(service: Service) -> tuple[float, float]:
    """Seconds of the next request, and the median of 21."""
    seconds = []
    with service.client() as predictor:
        for _ in range(21):
            began = time.perf_counter()
            predictor.predict("set an alarm", None)
            seconds.append(time.perf_counter() - began)
    return seconds[0], statistics.median(seconds)
