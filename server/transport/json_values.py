"""The values of a message in Thrift's JSON protocol, and back: text by the json module, types by the contract.

The thrift package reads this protocol byte by byte in Python, some seconds for a message of 16 MB, in which nobody else
would be answered.

Format: a struct is {"field id": {"type": value}}, a list or set ["type", count, value, ...], a map ["type", "type",
count, {"key": value}], a boolean 0 or 1, binary base64, a number that JSON does not have a string ("NaN").
"""

from __future__ import annotations

import base64
import binascii
import json
import math
from typing import TYPE_CHECKING, Any

from thrift.Thrift import TType

from server.errors import PredictionError, invalid_argument, too_large

if TYPE_CHECKING:
    from collections.abc import Callable

    from server.transport.limits import Limits

_NAMES = {
    TType.BOOL: "tf",
    TType.BYTE: "i8",
    TType.I16: "i16",
    TType.I32: "i32",
    TType.I64: "i64",
    TType.DOUBLE: "dbl",
    TType.STRING: "str",
    TType.STRUCT: "rec",
    TType.LIST: "lst",
    TType.SET: "set",
    TType.MAP: "map",
    TType.UUID: "uid",
}
_BITS = {TType.BYTE: 8, TType.I16: 16, TType.I32: 32, TType.I64: 64}
_NO_NUMBERS = {"NaN": math.nan, "Infinity": math.inf, "-Infinity": -math.inf}


def read_arguments(data: bytes, types: Any, limits: Limits) -> Any:
    """The struct that `data` is; `types` is [class, thrift_spec]. Raises PredictionError."""
    try:
        value = json.loads(data, strict=False)  # the thrift package writes control characters as they are
    except (ValueError, RecursionError) as error:
        raise invalid_argument(f"not JSON: {error}") from None
    return _Reading(limits).struct(value, types)


def written(value: Any, types: Any) -> bytes:
    """A struct as JSON; `types` is [class, thrift_spec]. Raises what comes of a value of another type."""
    text = json.dumps(_struct(value, types[1]), ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    return text.encode()


class _Reading:
    """JSON -> structs, with the path of the argument that it is in."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._items = 0
        self._path: list[str | int] = []

    def struct(self, value: Any, types: Any) -> Any:
        """An object of the class that `types` names first."""
        if not isinstance(value, dict):
            raise self._wrong(f"expected a struct, got {_kind(value)}")
        made, spec = types
        struct = made()
        for key, typed in value.items():
            if not (key.isascii() and key.removeprefix("-").isdigit()):
                raise self._wrong(f"a field {key[:16]!r}; fields have numbers")
            number = int(key[:8])
            field = spec[number] if 0 <= number < len(spec) else None
            if field is None:
                continue  # of a newer client
            self._path.append(field[2])
            if not isinstance(typed, dict) or len(typed) != 1:
                raise self._wrong("expected a type and a value")
            [(name, inner)] = typed.items()
            self._check_type(name, field[1])
            setattr(struct, field[2], self._value(inner, field[1], field[3]))
            self._path.pop()
        return struct

    def _value(self, value: Any, kind: int, types: Any) -> Any:
        read = _READ.get(kind)
        if read is not None:
            return read(self, value, types)
        limit = 1 << (_BITS[kind] - 1)
        if type(value) is not int or not -limit <= value < limit:
            raise self._wrong(f"expected a whole number of {_BITS[kind]} bits, got {_kind(value)}")
        return value

    def _string(self, value: Any, types: Any) -> Any:
        if not isinstance(value, str):
            raise self._wrong(f"expected a string, got {_kind(value)}")
        try:
            encoded = value.encode()
            if types == "BINARY":
                return base64.b64decode(value + "=" * (-len(value) % 4), validate=True)
        except UnicodeEncodeError:
            raise self._wrong("not UTF-8: half a surrogate pair") from None
        except binascii.Error as error:
            raise self._wrong(f"not base64: {error}") from None
        if len(encoded) > self._limits.string_bytes:
            what = f"a string of {len(encoded)} bytes is over the limit of {self._limits.string_bytes}"
            raise too_large(what, field=self._field, setting="string_bytes")
        return value

    def _bool(self, value: Any, _types: Any) -> bool:
        if value not in (0, 1):
            raise self._wrong(f"expected 0 or 1, got {_kind(value)}")
        return bool(value)

    def _double(self, value: Any, _types: Any) -> float:
        if isinstance(value, str) and value in _NO_NUMBERS:
            return _NO_NUMBERS[value]
        if not isinstance(value, int | float) or isinstance(value, bool):
            raise self._wrong(f"expected a number, got {_kind(value)}")
        try:
            return float(value)
        except OverflowError:
            raise self._wrong("a number that is too large") from None

    def _list(self, value: Any, types: Any) -> list[Any]:
        if not isinstance(value, list) or len(value) < 2:
            raise self._wrong(f"expected a type, a count and items, got {_kind(value)}")
        kind, inner = types[0], types[1]
        count = self._count(value[1], len(value) - 2)
        if count:
            self._check_type(value[0], kind)
        self._path.append(0)
        items = []
        for index in range(count):
            self._path[-1] = index
            items.append(self._value(value[index + 2], kind, inner))
        self._path.pop()
        return items

    def _set(self, value: Any, types: Any) -> set[Any]:
        return set(self._list(value, types))

    def _map(self, value: Any, types: Any) -> dict[Any, Any]:
        if not isinstance(value, list) or len(value) != 4 or not isinstance(value[3], dict):
            raise self._wrong(f"expected two types, a count and pairs, got {_kind(value)}")
        key_kind, key_types, value_kind, value_types = types[:4]
        if self._count(value[2], len(value[3])):
            self._check_type(value[0], key_kind)
            self._check_type(value[1], value_kind)
        self._path.append(0)
        pairs = {}
        for index, (key, item) in enumerate(value[3].items()):
            self._path[-1] = index
            pairs[self._key(key, key_kind, key_types)] = self._value(item, value_kind, value_types)
        self._path.pop()
        return pairs

    def _key(self, key: str, kind: int, types: Any) -> Any:
        """A map's key, which in JSON is always a string."""
        if kind == TType.STRING:
            return self._string(key, types)
        try:
            return self._value(json.loads(key[:32]), kind, types)
        except ValueError:
            raise self._wrong(f"a key {key[:16]!r} that is no number") from None

    def _count(self, count: Any, there: int) -> int:
        if type(count) is not int or count != there:
            raise self._wrong(f"a container of {count!r} items that has {there}"[:80])
        self._items += there
        if self._items > self._limits.container_items:
            what = f"{self._items} items are over the limit of {self._limits.container_items}"
            raise too_large(what, field=self._field, setting="container_items")
        return there

    def _check_type(self, name: Any, expected: int) -> None:
        if name != _NAMES[expected]:
            raise self._wrong(f"expected the type {_NAMES[expected]}, got {name!r}"[:80])

    @property
    def _field(self) -> str | None:
        if not self._path:
            return None
        return "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in self._path)[1:]

    def _wrong(self, message: str) -> PredictionError:
        return invalid_argument(message, field=self._field)


_READ: dict[int, Callable[[_Reading, Any, Any], Any]] = {
    TType.STRING: _Reading._string,
    TType.STRUCT: _Reading.struct,
    TType.LIST: _Reading._list,
    TType.SET: _Reading._set,
    TType.MAP: _Reading._map,
    TType.BOOL: _Reading._bool,
    TType.DOUBLE: _Reading._double,
}


def _struct(value: Any, spec: Any) -> dict[str, Any]:
    return {
        str(field[0]): {_NAMES[field[1]]: _value(inner, field[1], field[3])}
        for field in spec
        if field is not None and (inner := getattr(value, field[2])) is not None
    }


def _value(value: Any, kind: int, types: Any) -> Any:
    if kind == TType.STRUCT:
        return _struct(value, types[1])
    if kind in (TType.LIST, TType.SET):
        return [_NAMES[types[0]], len(value), *(_value(item, types[0], types[1]) for item in value)]
    if kind == TType.MAP:
        key_kind, key_types, value_kind, value_types = types[:4]
        pairs = {_key(key, key_kind, key_types): _value(item, value_kind, value_types) for key, item in value.items()}
        return [_NAMES[key_kind], _NAMES[value_kind], len(value), pairs]
    if kind == TType.STRING:
        return base64.b64encode(value).decode() if types == "BINARY" else value
    if kind == TType.DOUBLE:
        number = float(value)
        return number if math.isfinite(number) else json.dumps(number)
    return int(value)


def _key(key: Any, kind: int, types: Any) -> str:
    written = _value(key, kind, types)
    return written if isinstance(written, str) else json.dumps(written)


def _kind(value: Any) -> str:
    """A JSON value's type, for people."""
    if value is None or isinstance(value, bool):
        return json.dumps(value)
    names: dict[Any, str] = {str: "a string", dict: "an object", list: "a list"}
    return names.get(type(value), "a number")
