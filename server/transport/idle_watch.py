"""Which connections have been silent for too long, as regular looks at them tell."""

from __future__ import annotations

import enum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from server.transport.limits import Limits


class Overdue(enum.Enum):
    """What did not come in time."""

    MESSAGE = "message"
    """Any message: the limit idle_s, of the first message first_byte_s."""
    REST = "rest"
    """The rest of a message of which a part has come: the limit message_s."""
    CLOSE = "close"
    """The peer's end of a connection that has ended: the limit message_s."""


class IdleWatch:
    """Looks at one connection from time to time, which costs it nothing in between. Times are the loop's."""

    __slots__ = ("_limits", "_seen", "_since")

    def __init__(self, limits: Limits, now: float) -> None:
        self._limits = limits
        self._seen = (0, False, False)
        self._since = now

    def look(self, now: float, messages: int, *, partial: bool, busy: bool, ended: bool) -> Overdue | None:
        """What is overdue, if anything is.

        `messages`: so many have come so far; `partial`: one has come in part; `busy`: calls are in progress; `ended`:
        no more messages are read.
        """
        state = (messages, partial, busy)
        if state != self._seen or (busy and not partial):
            self._seen = state
            self._since = now
            return None
        silent_s = now - self._since
        if ended:
            return Overdue.CLOSE if silent_s >= self._limits.message_s else None
        if partial:
            return Overdue.REST if silent_s >= self._limits.message_s else None
        longest_s = self._limits.idle_s if messages else min(self._limits.first_byte_s, self._limits.idle_s)
        return Overdue.MESSAGE if silent_s >= longest_s else None
