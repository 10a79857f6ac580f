"""Many requests for one call: submitted a few hundred at a time, answered in their order."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from typing import TYPE_CHECKING, TypeVar

from server.errors import ErrorCode, PredictionError, at

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from server.calls import Pending

Item = TypeVar("Item")
T = TypeVar("T")

# Requests of one call that are in the queue at a time: enough for full batches, too few to fill the queue.
WINDOW = 256

# How long submitting may keep the event loop from others: an encoder tokenises a text as it is submitted.
_SLICE_NS = 1_000_000


async def answer_all(
    items: Sequence[Item],
    submit: Callable[[Item], Pending[T]],
    field: str,
    check: Callable[[T], object] | None = None,
    group: int = 1,
) -> list[T]:
    """The results of `items`, in their order. A PredictionError names the item: `field[index]: ...`.

    When the queue has no room it waits for its own requests before it gives up. `check` raises a PredictionError for a
    result that will not do. `group`: so many items after each other belong to one that the caller knows.
    """
    waiting: deque[Pending[T]] = deque()
    results: list[T] = []
    submitted = 0
    slice_ends = time.monotonic_ns() + _SLICE_NS
    try:
        while len(results) < len(items):
            if submitted < len(items) and len(waiting) < WINDOW:
                try:
                    waiting.append(submit(items[submitted]))
                except PredictionError as error:
                    if error.code != ErrorCode.OVERLOADED or not waiting:
                        raise at(error, f"{field}[{submitted // group}]") from None
                else:
                    submitted += 1
                    if time.monotonic_ns() > slice_ends:
                        await asyncio.sleep(0)
                        slice_ends = time.monotonic_ns() + _SLICE_NS
                    continue
            try:
                result = await waiting.popleft()
                if check is not None:
                    check(result)
            except PredictionError as error:
                raise at(error, f"{field}[{len(results) // group}]") from None
            results.append(result)
    finally:
        for pending in waiting:
            pending.abandon()
    return results
