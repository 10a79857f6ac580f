"""How much is held of messages: of calls in progress, and of those of which only a part has come."""

from __future__ import annotations

from typing import Protocol

SMALL_BYTES = 1024
"""Up to so many a message of a call in progress is not counted: pipelined_calls bounds those."""

LARGE_BYTES = 1 << 16
"""Over so many a message is refused while too much is held."""


class Holder(Protocol):
    """A connection."""

    def drop_part(self) -> None:
        """Refuse the message of which a part has come, and forget it."""


class Held:
    """Bytes of all connections of a server, at most `most`."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._bytes = 0
        self._parts: dict[Holder, int] = {}

    @property
    def is_full(self) -> bool:
        """Whether there are too many."""
        return self._bytes > self._most

    def calls(self, size: int) -> None:
        """A message's call is in progress, or, with a size below 0, is not any more."""
        self._bytes += size

    def part(self, holder: Holder, before: int, size: int) -> None:
        """The part of a message has grown, or is gone. Where it is too much in all, the largest is dropped."""
        self._bytes += size - before
        if size:
            self._parts[holder] = size
        else:
            self._parts.pop(holder, None)
        if self._bytes > self._most and size > before:
            largest, held = max(self._parts.items(), key=lambda part: part[1])
            if held > LARGE_BYTES:
                largest.drop_part()
