"""Options of a job's line: the object in its field `options`, as the contract's struct."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from predictor.ttypes import Aggregation, ErrorCode, TruncationSide, VectorEncoding

from process.options import AGGREGATION, ENCODING, TRUNCATION_SIDE
from server.batch.state.errors import RowError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from process.options import Option

FIELD = "options"

_I32_DIGITS = 10

_ENUMS = {AGGREGATION: Aggregation, ENCODING: VectorEncoding, TRUNCATION_SIDE: TruncationSide}


def line_options(value: Any, struct: type, table: Mapping[str, Option]) -> Any:
    """The struct with the options of a line's JSON value, None where it has none. Raises RowError.

    Only an object is looked at: a line may have a field of this name that means something else.
    """
    given = value.get(FIELD) if type(value) is dict else None
    if type(given) is not dict or not given:
        return None
    options = {}
    for name, item in given.items():
        if name not in table:
            raise _wrong(f"{FIELD}.{name[:64]}", f"there is no such option; there are {', '.join(table)}")
        if item is not None:
            options[name] = _value(table[name], item)
    return struct(**options)


def is_of(value: Any, option: Option) -> bool:
    """Whether an option's value has its type; its range is a matter of the model."""
    if option.type is float:
        return type(value) in (int, float)
    if type(value) is list:
        return option.type is list and all(type(item) is option.items and _is_i32(item) for item in value)
    if type(value) is dict:
        return option.type is dict and all(map(_is_bias, value.items()))
    return type(value) is option.type


def _is_i32(value: Any) -> bool:
    return type(value) is not int or abs(value) < 1 << 31


def _is_bias(item: tuple[str, Any]) -> bool:
    token, bias = item
    return token.isdecimal() and len(token) < _I32_DIGITS and type(bias) in (int, float)


def _value(option: Option, value: Any) -> Any:
    if not is_of(value, option):
        raise _wrong(f"{FIELD}.{option.name}", "is of the wrong type")
    if option not in _ENUMS:
        return value
    if value not in option.choices:
        raise _wrong(f"{FIELD}.{option.name}", f"must be one of {', '.join(option.choices)}")
    return _ENUMS[option]._NAMES_TO_VALUES[value.upper()]


def _wrong(field: str, message: str) -> RowError:
    return RowError(ErrorCode.INVALID_ARGUMENT, f"{field}: {message}")
