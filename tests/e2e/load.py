"""Many clients at once, each in a thread of its own, as blocking Thrift clients are used."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar("T")

_TIMEOUT_S = 120


def at_once(clients: int, work: Callable[[int], T]) -> list[T]:
    """The results of work(0) to work(clients - 1), which all start when every thread is there."""
    barrier = threading.Barrier(clients)

    def one(number: int) -> T:
        barrier.wait(_TIMEOUT_S)
        return work(number)

    with ThreadPoolExecutor(clients) as pool:
        futures = [pool.submit(one, number) for number in range(clients)]
        return [future.result(_TIMEOUT_S) for future in futures]
