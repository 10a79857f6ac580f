"""Lines to instances."""

from __future__ import annotations

import contextlib
import json
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import orjson
from predictor.ttypes import ErrorCode

from server.batch.state.errors import RowError

if TYPE_CHECKING:
    from collections.abc import Callable

    from server.batch.pipeline.lines import Chunk, LineLimit

# orjson makes floats of integers beyond 64 bits; where a line may have one, Python's own reader takes its place.
_LONG_NUMBER = re.compile(rb"[0-9]{19}")

_NO_NUMBER = re.compile(rb"-?(nan|inf)", re.IGNORECASE)


@dataclass(slots=True)
class Rows:
    """A chunk, read."""

    numbers: list[int]
    """The lines' numbers in the file; all other lists are of the same length, but for `instances`."""
    instances: list[Any]
    """What is to be predicted: of the lines without an error."""
    keys: list[bytes | None] | None = None
    """`"NAME":VALUE` of each line, where there is a key_field."""
    errors: dict[int, RowError] = field(default_factory=dict)
    """By place, not by number."""


class RowReader:
    """Reads lines as JSON.

    `instance_of` makes an instance of a line's value and raises RowError where it cannot. With `key_field` a line must
    be an object with this field; where `takes_key_out` it is no part of the instance. `exact`: integers of any size
    keep all their digits in the instance; in a key they do so always.
    """

    def __init__(
        self,
        instance_of: Callable[[Any], Any],
        key_field: str | None,
        line_limit: LineLimit,
        *,
        exact: bool = False,
        takes_key_out: bool = False,
    ) -> None:
        self._instance_of = instance_of
        self._key_field = key_field
        self._key_start = b"" if key_field is None else orjson.dumps(key_field) + b":"
        self._line_limit = line_limit
        self._exact = exact or key_field is not None
        self._takes_key_out = takes_key_out

    def read(self, chunk: Chunk) -> Rows:
        """The instances, and the errors of lines that have none."""
        if not self._exact:
            with contextlib.suppress(ValueError, RowError):
                values = map(orjson.loads, chunk.texts)  # type: ignore[arg-type] # what is None is an error
                return Rows(chunk.numbers, [self._instance_of(value) for value in values])
        return self._read_each(chunk)

    def _read_each(self, chunk: Chunk) -> Rows:
        rows = Rows(chunk.numbers, [], None if self._key_field is None else [])
        for place, text in enumerate(chunk.texts):
            key = None
            try:
                value = self._value(text)
                if self._key_field is not None:
                    key, value = self._keyed(value, self._key_field)
                rows.instances.append(self._instance_of(value))
            except RowError as error:
                rows.errors[place] = RowError(error.code, error.message)  # the caught one's frames keep the value
            if rows.keys is not None:
                rows.keys.append(key)
        return rows

    def _value(self, text: bytes | None) -> Any:
        if text is None:
            limit = self._line_limit
            raise RowError(ErrorCode.TOO_LARGE, f"the line has more than {limit.size} bytes (setting {limit.setting})")
        try:
            value = orjson.loads(text)
            return json.loads(text) if self._exact and _LONG_NUMBER.search(text) else value
        except orjson.JSONDecodeError as error:
            raise RowError(ErrorCode.INVALID_ARGUMENT, _why_no_json(text, error)) from None
        except (RecursionError, ValueError) as error:  # Python's own reader has limits that orjson has not
            raise RowError(ErrorCode.INVALID_ARGUMENT, f"cannot be read: {error}") from None

    def _keyed(self, value: Any, name: str) -> tuple[bytes, Any]:
        """The key as it is written, and the value to make an instance of."""
        if not isinstance(value, dict) or name not in value:
            raise RowError(ErrorCode.INVALID_ARGUMENT, f"the line is no object with the field {name!r} (key_field)")
        key = self._key_start + _json(value[name])
        if self._takes_key_out:
            del value[name]
        return key, value


def _json(value: Any) -> bytes:
    """As orjson writes it, with integers of any size. Raises RowError."""
    try:
        return orjson.dumps(value)
    except TypeError:
        pass
    try:
        return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()
    except (RecursionError, ValueError) as error:
        raise RowError(ErrorCode.INVALID_ARGUMENT, f"the key cannot be written: {error}") from None


def _why_no_json(text: bytes, error: orjson.JSONDecodeError) -> str:
    try:
        text.decode()
    except UnicodeDecodeError as wrong:
        return f"not UTF-8: byte 0x{text[wrong.start]:02x} at byte {wrong.start + 1} of the line"
    hint = "; JSON has no NaN and no Infinity" if _NO_NUMBER.match(text, error.pos) else ""
    return f"not JSON: {error.msg}, at character {error.pos + 1} of the line{hint}"
