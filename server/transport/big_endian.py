"""Version 2 of the compact protocol, which is fbthrift's: as version 1, but for the order of a double's bytes.

The thrift package's C extension reads and writes version 1. Here the bytes of all doubles are turned round after it has
read a struct, and before it writes one.
"""

from __future__ import annotations

import struct
from array import array
from typing import Any

from thrift.protocol import fastbinary
from thrift.Thrift import TType

_BIG, _LITTLE = struct.Struct(">d"), struct.Struct("<d")


def decode(value: Any, source: Any, types: Any) -> None:
    """As fastbinary.decode_compact."""
    fastbinary.decode_compact(value, source, types)
    _turn_struct(value, types[1])


def encode(value: Any, types: Any) -> bytes:
    """As fastbinary.encode_compact; the struct is as it was when this returns."""
    _turn_struct(value, types[1])
    try:
        written: bytes = fastbinary.encode_compact(value, types)
    finally:
        _turn_struct(value, types[1])
    return written


def turned(number: float) -> float:
    """The double whose bytes are those of `number` in the other order."""
    value: float = _LITTLE.unpack(_BIG.pack(number))[0]
    return value


def _turn_struct(value: Any, spec: Any) -> None:
    for field in spec:
        if field is not None and (inner := getattr(value, field[2])) is not None:
            if field[1] == TType.STRUCT:
                _turn_struct(inner, field[3][1])
            elif field[1] in (TType.DOUBLE, TType.LIST, TType.SET, TType.MAP):
                setattr(value, field[2], _turned(inner, field[1], field[3]))


def _turned(value: Any, kind: int, types: Any) -> Any:
    if kind == TType.DOUBLE:
        return turned(value)
    if kind == TType.STRUCT:
        _turn_struct(value, types[1])
        return value
    if kind == TType.LIST and types[0] == TType.DOUBLE:
        numbers = array("d", value)
        numbers.byteswap()
        return numbers.tolist()
    if kind in (TType.LIST, TType.SET):
        if types[0] in (TType.STRUCT, TType.LIST, TType.SET, TType.MAP, TType.DOUBLE):
            return type(value)(_turned(item, types[0], types[1]) for item in value)
        return value
    if kind == TType.MAP:
        _, _, item_kind, item_types = types[:4]
        return {key: _turned(item, item_kind, item_types) for key, item in value.items()}
    return value
