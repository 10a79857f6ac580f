"""Finds the end of a message whose bytes are still coming, and says what is wrong with one that cannot be decoded.

A scanner walks the struct of a message's arguments, field by field, as far as the bytes reach, keeps its place, and
goes on from there when there are more: each byte is looked at once, however many pieces a message comes in. On its way
it checks every length before anybody allocates for it, and every declared field's type and text, so that its errors
name the argument. It creates no values: that is the decoder's work, once, when the message is whole.

A walk is a generator that yields where it lacks bytes. Below it, what reads one item of the format returns None (or
False) and leaves its place when the item is not there completely.

Formats: thrift/doc/specs/thrift-binary-protocol.md and thrift-compact-protocol.md, "Struct encoding" and below.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any

from thrift.Thrift import TType

from server.errors import PredictionError, invalid_argument, too_large

if TYPE_CHECKING:
    from collections.abc import Generator

    from server.transport.limits import Limits

    Walk = Generator[None, None, None]

_TYPE_NAMES = dict(enumerate(TType._VALUES_TO_NAMES))


class Scanner(ABC):
    """The walk through one struct, in `data` from `position` on. `spec` is its thrift_spec, None when it is unknown.

    `message` is where the message begins, and `end` where it ends; None where the walk is to find that.
    """

    def __init__(
        self, data: bytes | bytearray, message: int, position: int, end: int | None, spec: Any, limits: Limits
    ) -> None:
        self.data = data
        self.position = position
        self._message = message
        self._end = end
        self._limit = message + limits.message_bytes if end is None else end
        self._limits = limits
        self._items = 0
        self._fields = 0
        self._strange = 0  # fields that nobody knows, inside each other
        self._path: list[str | int] = []
        self._walk = self._struct(spec, 1)

    def advance(self) -> bool:
        """Go on as far as the bytes reach. True: the struct is whole, and ends before `position`.

        Raises PredictionError (INVALID_ARGUMENT, TOO_LARGE) when there is something wrong with it.
        """
        for _ in self._walk:
            return False
        self._have(0)
        return True

    def close(self) -> None:
        """Walk no further: the walk and its scanner have each other, and the data."""
        self._walk.close()

    def move(self, data: bytearray) -> None:
        """Go on in `data`, which begins with the message."""
        self.data = data
        self.position -= self._message
        self._limit -= self._message
        self._message = 0

    @property
    def field(self) -> str | None:
        """The path of the argument that the walk is in, such as options.timeout_ms; None outside of every argument."""
        if not self._path:
            return None
        return "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in self._path)[1:]

    # ------------------------------------------------------------------------------------------------------ the walk

    def _struct(self, spec: Any, depth: int) -> Walk:
        """Walk a struct's fields. `spec` is its thrift_spec; None: nothing is known about it."""
        self._check_depth(depth)
        number = 0
        while True:
            while (header := self._field(number)) is None:
                yield
            kind, number = header
            if kind == TType.STOP:
                return
            self._count_fields(1)
            declared = spec[number] if spec and 0 <= number < len(spec) else None
            self._path.append(declared[2] if declared else f"field {number}")
            if declared:
                self._check_type(kind, declared[1])
            else:
                self._strange += 1
            if kind == TType.BOOL:
                while not self._field_bool():
                    yield
            else:
                yield from self._value(kind, declared[3] if declared else None, depth)
            if not declared:
                self._strange -= 1
            self._path.pop()

    def _value(self, kind: int, types: Any, depth: int) -> Walk:
        """Walk one value. `types` is what a thrift_spec says about the inside of a value of this type, or None."""
        if kind == TType.STRING:
            while (size := self._size()) is None:
                yield
            self._check_string(size)
            while not self._have(size):
                yield
            self._text(size, types)
        elif kind == TType.STRUCT:
            yield from self._struct(types[1] if types else None, depth + 1)
        elif kind in (TType.LIST, TType.SET):
            yield from self._list(types, depth + 1)
        elif kind == TType.MAP:
            yield from self._map(types, depth + 1)
        else:
            while not self._scalar(kind):
                yield

    def _list(self, types: Any, depth: int) -> Walk:
        self._check_depth(depth)
        while (header := self._list_header()) is None:
            yield
        kind, count = header
        self._count(count)
        if count and types:
            self._check_type(kind, types[0], "items of type ")
        if self._strange:
            width = self._width(kind)
            if width:
                while not self._skip(width * count):
                    yield
                return
            self._count_fields(count)
        self._path.append(0)
        for index in range(count):
            self._path[-1] = index
            yield from self._value(kind, types[1] if types else None, depth)
        self._path.pop()

    def _map(self, types: Any, depth: int) -> Walk:
        self._check_depth(depth)
        while (header := self._map_header()) is None:
            yield
        key, value, count = header
        self._count(count)
        if count and types:
            self._check_type(key, types[0], "keys of type ")
            self._check_type(value, types[2], "values of type ")
        if self._strange:
            widths = self._width(key), self._width(value)
            if all(widths):
                while not self._skip(sum(widths) * count):
                    yield
                return
            self._count_fields(2 * count)
        self._path.append(0)
        for index in range(count):
            self._path[-1] = index
            yield from self._value(key, types[1] if types else None, depth)
            yield from self._value(value, types[3] if types else None, depth)
        self._path.pop()

    # -------------------------------------------------------------------------------------------------------- checks

    def wrong(self, message: str) -> PredictionError:
        """INVALID_ARGUMENT for what the walk has come to."""
        return invalid_argument(message, field=self.field)

    def _over(self, what: str, limit: int, setting: str) -> PredictionError:
        return too_large(f"{what} over the limit of {limit}", field=self.field, setting=setting)

    def _check_depth(self, depth: int) -> None:
        if depth > self._limits.nesting:
            raise self._over("structs and containers inside each other", self._limits.nesting, "nesting")

    def _check_type(self, kind: int, expected: int, what: str = "") -> None:
        if kind != expected:
            raise self.wrong(f"expected {what}{_type_name(expected)}, got {_type_name(kind)}")

    def _count_fields(self, count: int) -> None:
        """Take note of fields, or of values inside a field that nobody knows: all are gone through one by one."""
        self._fields += count
        if self._fields > self._limits.message_fields:
            raise self._over("fields in the message", self._limits.message_fields, "message_fields")

    def _count(self, count: int) -> None:
        """Take note of a container of `count` items."""
        if count < 0:
            raise self.wrong(f"a container of {count} items")
        self._items += count
        if self._items > self._limits.container_items:
            raise self._over(f"{self._items} items are", self._limits.container_items, "container_items")

    def _check_string(self, size: int) -> None:
        if size < 0:
            raise self.wrong(f"a string of {size} bytes")
        if size > self._limits.string_bytes:
            raise self._over(f"a string of {size} bytes is", self._limits.string_bytes, "string_bytes")

    def _text(self, size: int, types: Any) -> None:
        """Go over a string's bytes, all there by now."""
        start = self.position
        self.position += size
        if types == "UTF8":
            try:
                self.data[start : self.position].decode()
            except UnicodeDecodeError as error:
                raise self.wrong(f"not UTF-8: {error.reason} at byte {error.start}") from None

    # ---------------------------------------------------------------------------------------------------- the format

    def _have(self, size: int) -> bool:
        """Whether the next `size` bytes are there. Raises when they go beyond the end of the message."""
        end = self.position + size
        if end > self._limit:
            if self._end is not None:
                raise self.wrong(f"{end - self._limit} bytes are missing at the message's end")
            raise message_too_large(end - self._message, self._limits)
        return end <= len(self.data)

    def _skip(self, size: int) -> bool:
        """Go over `size` bytes; False when they are not all there."""
        if not self._have(size):
            return False
        self.position += size
        return True

    @abstractmethod
    def _field(self, last: int) -> tuple[int, int] | None:
        """A field's type and number, `last` being that of the field before it; type STOP at the struct's end."""

    @abstractmethod
    def _field_bool(self) -> bool:
        """Go over the value of a boolean field."""

    @abstractmethod
    def _size(self) -> int | None:
        """A string's size in bytes."""

    @abstractmethod
    def _list_header(self) -> tuple[int, int] | None:
        """A list's or set's type of items and their count."""

    @abstractmethod
    def _map_header(self) -> tuple[int, int, int] | None:
        """A map's types of keys and values and the count of pairs."""

    @abstractmethod
    def _width(self, kind: int) -> int:
        """The bytes of a value of this type, where each has as many; else 0."""

    @abstractmethod
    def _scalar(self, kind: int) -> bool:
        """Go over a number, boolean or UUID. Raises INVALID_ARGUMENT for a type that does not exist."""


def message_too_large(size: int, limits: Limits) -> PredictionError:
    """The answer to a message of `size` bytes, or of at least so many."""
    return too_large(
        f"message of {size} bytes is over the limit of {limits.message_bytes} bytes", setting="message_bytes"
    )


def _type_name(kind: int) -> str:
    """A Thrift type's name, as contracts write it."""
    return (_TYPE_NAMES.get(kind) or f"type {kind}").lower()
