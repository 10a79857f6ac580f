"""How much there is in a body of JSON, before it is parsed."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import numpy as np

from rest_proxy.http.errors import invalid_argument, too_large

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from rest_proxy.config import Settings

LARGE = 64 << 10
"""Bytes of a body from which on its work is done in slices or beside the event loop."""

_MOST_DIGITS = 400  # float64's smallest numbers have 324; what one costs grows with their square


async def require_few_values(body: bytes, settings: Settings) -> None:
    """Raise TOO_LARGE for JSON of more values or fields than may be, and INVALID_ARGUMENT for an endless number.

    A parser holds up everything else while it runs, and what is wrong with a million values takes it minutes. To count
    commas and colons outside of strings takes some milliseconds a megabyte, slice by slice, whatever they are.
    """
    count = JsonCount()
    for start in range(0, len(body), LARGE):
        count.add(body[start : start + LARGE])
        if count.longest_number > _MOST_DIGITS:
            raise invalid_argument(f"the body has a number of over {_MOST_DIGITS} digits")
        if count.values > settings.max_json_values:
            raise too_large(f"the body has over {settings.max_json_values} values", setting="max_json_values")
        if count.fields > settings.max_json_fields:
            raise too_large(f"the body has over {settings.max_json_fields} fields", setting="max_json_fields")
        await asyncio.sleep(0)


class JsonCount:
    """What there is in JSON of which one slice comes after the other. Of what is no JSON it counts anything."""

    def __init__(self) -> None:
        self.values = 1
        self.fields = 0
        self.longest_number = 0
        """Digits side by side in one slice; those that are not over _MOST_DIGITS need not be seen."""
        self._inside = False  # a string
        self._escaped = False  # the next character, by a backslash before it

    def add(self, part: bytes) -> None:
        """The next slice, of at least a byte."""
        characters = np.frombuffer(part, np.uint8)
        quotes = characters == ord('"')
        if self._escaped or b"\\" in part:
            quotes &= ~self._escapes(characters)
        inside = np.logical_xor.accumulate(quotes) ^ self._inside
        self._inside = bool(inside[-1])
        outside = characters[~inside]
        # [ and { differ in one bit
        self.values += np.count_nonzero(outside == ord(",")) + np.count_nonzero(outside | 0x20 == ord("{"))
        self.fields += np.count_nonzero(outside == ord(":"))
        self._look_for_numbers(outside)

    def _escapes(self, characters: NDArray[np.uint8]) -> NDArray[np.bool_]:
        """Which characters have an odd number of backslashes before them."""
        backslashes = characters == ord("\\")
        escaped = np.empty(len(characters), np.bool_)
        escaped[0] = self._escaped
        escaped[1:] = backslashes[:-1]
        if (escaped & backslashes).any():  # one behind the other
            places = np.arange(len(characters), dtype=np.int32)
            others = np.maximum.accumulate(np.where(backslashes, np.int32(-1), places))
            before = np.concatenate((np.array([-1], np.int32), others[:-1]))
            escaped = (places - 1 - before + (self._escaped & (before < 0))) & 1 == 1
        self._escaped = bool(backslashes[-1] and not escaped[-1])
        return escaped

    def _look_for_numbers(self, outside: NDArray[np.uint8]) -> None:
        digits = outside - ord("0") < 10  # of bytes, which have no sign
        if digits[::_MOST_DIGITS].any():  # as there are in every longer one
            others = np.flatnonzero(~digits)
            longest = int(np.diff(others, prepend=-1, append=len(digits)).max()) - 1
            self.longest_number = max(self.longest_number, longest)
