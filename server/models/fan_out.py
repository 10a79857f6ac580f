"""Many requests for one call: submitted a few hundred at a time, answered in their order."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from typing import TYPE_CHECKING, Generic, TypeVar

from server.clients import WINDOW
from server.errors import ErrorCode, PredictionError, at

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from server.calls import Pending
    from server.clients import Client

Item = TypeVar("Item")
T = TypeVar("T")

# How long submitting may keep the event loop from others: an encoder tokenises a text as it is submitted.
_SLICE_NS = 1_000_000


async def answer_all(
    items: Sequence[Item],
    submit: Callable[[Item], Pending[T]],
    field: str,
    check: Callable[[T], object] | None = None,
    group: int = 1,
    client: Client | None = None,
) -> list[T]:
    """The results of `items`, in their order. A PredictionError names the item: `field[index]: ...`.

    When the queue has no room it waits for its own requests, and its client's, before it gives up. `check` raises a
    PredictionError for a result that will not do. `group`: so many items after each other belong to one that the caller
    knows. All lists of one `client` share a window, or one that sends many would keep the event loop, and the queue,
    from others.
    """
    asked = _Asked(items, submit, field, group, client)
    slice_ends = time.monotonic_ns() + _SLICE_NS
    try:
        while len(asked.results) < len(items):
            if asked.submit_next():
                if time.monotonic_ns() > slice_ends:
                    await asyncio.sleep(0)
                    slice_ends = time.monotonic_ns() + _SLICE_NS
            elif asked.waiting:
                await asked.take_next(check)
            else:
                assert client is not None
                await client.room()
                slice_ends = time.monotonic_ns() + _SLICE_NS
        return asked.results
    finally:
        asked.close()


class _Asked(Generic[Item, T]):
    """What has been asked for of a list, and what was answered."""

    __slots__ = ("_client", "_field", "_group", "_items", "_submit", "_submitted", "results", "waiting")

    def __init__(
        self,
        items: Sequence[Item],
        submit: Callable[[Item], Pending[T]],
        field: str,
        group: int,
        client: Client | None,
    ) -> None:
        self._items = items
        self._submit = submit
        self._field = field
        self._group = group
        self._client = client
        self._submitted = 0
        self.waiting: deque[Pending[T]] = deque()
        self.results: list[T] = []

    def submit_next(self) -> bool:
        """Ask for one more item; False where none is left, or there is no room now. Raises PredictionError."""
        place, client = self._submitted, self._client
        if place >= len(self._items) or len(self.waiting) >= WINDOW or (client is not None and not client.has_room):
            return False
        try:
            self.waiting.append(self._submit(self._items[place]))
        except PredictionError as error:
            if error.code == ErrorCode.OVERLOADED and (self.waiting or (client is not None and client.has_items)):
                return False
            raise self._at(error, place) from None
        self._submitted = place + 1
        if client is not None:
            client.enter()
        return True

    async def take_next(self, check: Callable[[T], object] | None) -> None:
        """Wait for the next result. Raises PredictionError."""
        if self._client is not None and self._submitted == len(self._items):
            self._client.offer_room()  # this list does not need any more
        try:
            result = await self.waiting.popleft()
            if check is not None:
                check(result)
        except PredictionError as error:
            raise self._at(error, len(self.results)) from None
        self.results.append(result)
        if self._client is not None:
            self._client.leave(1)

    def close(self) -> None:
        """Nobody waits for what is left."""
        for pending in self.waiting:
            pending.abandon()
        if self._client is not None:
            self._client.leave(self._submitted - len(self.results))
            self._client.offer_room()

    def _at(self, error: PredictionError, place: int) -> PredictionError:
        return at(error, f"{self._field}[{place // self._group}]")
