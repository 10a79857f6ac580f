"""Finds the end of a message in the JSON protocol: where the brackets that it opened are closed.

What is inside it is read when it is whole (server/transport/json_values.py), so errors that name an argument come from
there; here are the limits that hold before a parser sees it.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from server.errors import PredictionError, invalid_argument, too_large
from server.transport.scanners.scanner import message_too_large

if TYPE_CHECKING:
    from server.transport.limits import Limits

_OUTSIDE = re.compile(rb'["\[\]{}]')
_INSIDE = re.compile(rb'(?s:[^"\\]|\\.)*+')
_OPENING = b"[{"
_QUOTE, _BACKSLASH = b'"\\'

_BRACKETS_A_LEVEL = 3
"""A list of structs is, level by level: its own brackets, a struct's, those of a field's type and value."""

_COMMAS_AN_ITEM = 3
"""Beside the items of a container there are their types and their count."""


class JsonScanner:
    """The same as a Scanner, for text. The message's arguments begin at `position`, and end with a bracket more."""

    def __init__(
        self, data: bytes | bytearray, message: int, position: int, end: int | None, spec: Any, limits: Limits
    ) -> None:
        del spec
        self.data = data
        self.position = position
        self._message = message
        self._end = end
        self._limits = limits
        self._in_string = False
        self._depth = 1  # of the message's own bracket
        self._commas = 0
        self._most_depth = _BRACKETS_A_LEVEL * limits.nesting
        self._most_commas = _COMMAS_AN_ITEM * (limits.container_items + limits.message_fields)

    def advance(self) -> bool:
        """See Scanner."""
        size = len(self.data) if self._end is None else self._end
        while self._depth:
            found = self._string(size) if self._in_string else self._bracket(size)
            if self.position - self._message > self._limits.message_bytes:
                raise message_too_large(self.position - self._message, self._limits)
            if not found:
                if self._end is not None:
                    raise invalid_argument("the message ends within its arguments")
                return False
        return True

    def close(self) -> None:
        """See Scanner."""

    def move(self, data: bytearray) -> None:
        """See Scanner."""
        self.data = data
        self.position -= self._message
        self._message = 0

    def _bracket(self, size: int) -> bool:
        """Go to the next bracket, or into the next string; False when there is none."""
        found = _OUTSIDE.search(self.data, self.position, size)
        stop = found.end() if found else size
        self._commas += self.data.count(b",", self.position, stop)
        self.position = stop
        if self._commas > self._most_commas:
            raise self._over("values", self._most_commas, "container_items")
        if found is None:
            return False
        mark = found[0]
        if mark[0] == _QUOTE:
            self._in_string = True
        elif mark in _OPENING:
            self._depth += 1
            if self._depth > self._most_depth:
                raise self._over("brackets inside each other", self._most_depth, "nesting")
        else:
            self._depth -= 1
        return True

    def _string(self, size: int) -> bool:
        """Go to a string's end; False when it is not there."""
        found = _INSIDE.match(self.data, self.position, size)
        assert found is not None
        self.position = found.end()
        if self.position == size or self.data[self.position] == _BACKSLASH:  # what it escapes is not there
            return False
        self.position += 1
        self._in_string = False
        return True

    def _over(self, what: str, limit: int, setting: str) -> PredictionError:
        return too_large(f"{what} over the limit of {limit}", setting=setting)
