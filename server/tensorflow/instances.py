"""JSON instances to tensors, by a signature.

The format is that of TensorFlow Serving's REST API (https://www.tensorflow.org/tfx/serving/api_rest): an instance is
the value of the only input, or an object with a value for each; a value is a number, boolean, string, `{"b64": ...}`
for bytes, or lists of these. Unlike there, instances need not agree in their shapes, as each is answered as if it were
alone; and numbers that are not finite are refused: JSON has none.
"""

from __future__ import annotations

import base64
import binascii
import json
from itertools import chain
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from server.tensorflow.signature import Port, Signature

Array = np.ndarray[Any, Any]

B64 = "b64"
_SHOWN_CHARACTERS = 60


class InstanceError(ValueError):
    """An instance cannot be predicted; the message says why, for people."""

    def __init__(self, index: int, message: str) -> None:
        super().__init__(f"instance {index}: {message}")
        self.index = index
        self.message = message


class Batch(NamedTuple):
    """Instances of the same shapes."""

    indices: list[int]
    inputs: dict[str, Array]


def batches(signature: Signature, instances: Sequence[Any]) -> tuple[list[Batch], dict[int, InstanceError]]:
    """The instances as tensors, those of the same shapes together, and what is wrong with those that are none."""
    count = len(instances)
    try:
        whole = _arrays(signature, instances)
    except ValueError:  # of different shapes, or something is wrong with one of them
        return _sorted_out(signature, instances)
    return [Batch(list(range(count)), whole)] if count else [], {}


def columns(signature: Signature, values: Any) -> dict[str, Array]:
    """TensorFlow Serving's column format: `values` is the whole tensor of the only input, or an object of them.

    Raises ValueError.
    """
    ports = signature.inputs
    if type(values) is not dict or _is_bytes(values):
        if len(ports) > 1:
            raise ValueError(f"inputs must be an object with {_names(ports)}")
        values = dict.fromkeys(ports, values)
    _check_names(values, ports)
    for name in ports:
        if type(values[name]) is not list:
            raise ValueError(
                f"input {name!r}: expected a list with a value for each instance, got {_shown(values[name])}"
            )
    return {name: _tensor(values[name], port) for name, port in ports.items()}


def _sorted_out(signature: Signature, instances: Sequence[Any]) -> tuple[list[Batch], dict[int, InstanceError]]:
    groups: dict[tuple[tuple[int, ...], ...], tuple[list[int], list[dict[str, Array]]]] = {}
    errors = {}
    for index, instance in enumerate(instances):
        try:
            arrays = _arrays(signature, [instance])
        except ValueError as error:
            errors[index] = InstanceError(index, str(error))
            continue
        indices, members = groups.setdefault(tuple(array.shape for array in arrays.values()), ([], []))
        indices.append(index)
        members.append(arrays)
    return [
        Batch(indices, {name: np.concatenate([arrays[name] for arrays in members]) for name in signature.inputs})
        for indices, members in groups.values()
    ], errors


def _arrays(signature: Signature, instances: Sequence[Any]) -> dict[str, Array]:
    """Raises ValueError; its message fits when there is one instance."""
    ports = signature.inputs
    if len(ports) == 1 and dict not in set(map(type, instances)):
        (name,) = ports
        given: dict[str, Sequence[Any]] = {name: instances}
    else:
        rows = [_named(ports, instance) for instance in instances]
        given = {name: [row[name] for row in rows] for name in ports}
    return {name: _tensor(given[name], port) for name, port in ports.items()}


def _named(ports: dict[str, Port], instance: Any) -> dict[str, Any]:
    if type(instance) is not dict or (len(ports) == 1 and _is_bytes(instance)):
        if len(ports) > 1:
            raise ValueError(f"expected an object with {_names(ports)}, got {_shown(instance)}")
        return dict.fromkeys(ports, instance)
    _check_names(instance, ports)
    return instance


def _check_names(values: dict[str, Any], ports: dict[str, Port]) -> None:
    if values.keys() == ports.keys():
        return
    missing = [name for name in ports if name not in values]
    unknown = [name for name in values if name not in ports]
    what = f"input {missing[0]!r} is missing" if missing else f"there is no input {_shown(unknown[0])}"
    raise ValueError(f"{what}; expected {_names(ports)}")


def _names(ports: dict[str, Port]) -> str:
    return ", ".join(map(repr, ports))


def _tensor(values: Sequence[Any], port: Port) -> Array:
    """Nested lists as an array of the port's type, unravelled level by level. Raises ValueError."""
    shape = [len(values)]
    while values and type(values[0]) is list:
        if set(map(type, values)) != {list} or len(set(map(len, values))) != 1:
            raise ValueError(f"input {port.name!r}: lists of different lengths, or lists beside other values")
        shape.append(len(values[0]))
        values = list(chain.from_iterable(values))
    if not _fits(shape[1:], port.shape):
        raise ValueError(f"input {port.name!r} has shape {shape[1:]}; expected {port}, n instances")
    try:
        return _CONVERTERS[port.type.dtype.kind](values, port).reshape(shape)
    except ValueError as error:
        raise ValueError(f"input {port.name!r}: {error}") from None


def _fits(shape: list[int], expected: tuple[int | None, ...] | None) -> bool:
    if expected is None:
        return True
    return len(shape) == len(expected) and all(
        size in (None, given) for size, given in zip(expected, shape, strict=True)
    )


def _floats(values: Sequence[Any], port: Port) -> Array:
    """Integers must not change by it, as floating point has gaps above 2^24 or 2^53."""
    dtype = port.type.dtype
    kinds = _only(values, {int, float}, "a number")
    with np.errstate(over="ignore"):
        try:
            array = np.array(values, dtype=np.float64).astype(dtype)
        except OverflowError:  # an integer beyond 2^1023
            raise ValueError(f"{_shown(max(values, key=abs))} is out of the range of {port.type.name}") from None
    if not (finite := np.isfinite(array)).all():
        value = values[int(np.argmin(finite))]
        if isinstance(value, float) and not np.isfinite(value):
            raise ValueError(f"{value} is no number that JSON has")
        raise ValueError(f"{_shown(value)} is out of the range of {port.type.name}")
    if int in kinds:
        for value, converted in zip(values, array.tolist(), strict=True):
            if type(value) is int and int(converted) != value:
                raise ValueError(f"{_shown(value)} is not exact as {port.type.name}")
    return array


def _integers(values: Sequence[Any], port: Port) -> Array:
    _only(values, {int}, "an integer")
    limits = np.iinfo(port.type.dtype)
    for value in (min(values, default=0), max(values, default=0)):
        if not limits.min <= value <= limits.max:
            raise ValueError(f"{_shown(value)} is out of the range of {port.type.name}")
    return np.array(values, dtype=port.type.dtype)


def _booleans(values: Sequence[Any], port: Port) -> Array:
    _only(values, {bool}, "true or false")
    return np.array(values, dtype=np.bool_)


def _strings(values: Sequence[Any], port: Port) -> Array:
    _only(values, {str, dict}, "a string")
    array = np.empty(len(values), dtype=object)
    array[:] = [_bytes_of(value) for value in values]
    return array


_CONVERTERS: dict[str, Callable[[Sequence[Any], Port], Array]] = {
    "f": _floats,
    "V": _floats,  # bfloat16, which numpy does not know
    "i": _integers,
    "u": _integers,
    "b": _booleans,
    "O": _strings,
}


def _only(values: Sequence[Any], expected: set[type], what: str) -> set[type]:
    """The types of the values. bool is not int here."""
    kinds = set(map(type, values))
    if not kinds <= expected:
        odd = next(value for value in values if type(value) not in expected)
        raise ValueError(f"expected {what}, got {_shown(odd)}")
    return kinds


def _is_bytes(value: Any) -> bool:
    return type(value) is dict and len(value) == 1 and type(value.get(B64)) is str


def _bytes_of(value: Any) -> bytes:
    if type(value) is str:
        try:
            return value.encode()
        except UnicodeEncodeError as error:
            raise ValueError(f"not valid Unicode: {error.reason} at character {error.start}") from None
    if not _is_bytes(value):
        raise ValueError(f'expected a string or {{"b64": ...}}, got {_shown(value)}')
    try:
        return base64.b64decode(value[B64], validate=True)
    except (binascii.Error, ValueError) as error:
        raise ValueError(f"b64: {error}") from None


def _shown(value: Any) -> str:
    """A value, as JSON has it, for a message."""
    try:
        text = json.dumps(value, ensure_ascii=False)
    except (TypeError, ValueError, RecursionError):
        text = repr(type(value))
    return text if len(text) <= _SHOWN_CHARACTERS else text[:_SHOWN_CHARACTERS] + "..."
