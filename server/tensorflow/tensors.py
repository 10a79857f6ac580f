"""numpy arrays to TensorProto messages and back, as tensorflow.make_tensor_proto and make_ndarray do.

The layout of the messages is that of tensorflow/core/framework/tensor.proto: numbers are either `tensor_content`, the
array's bytes in little-endian order, or a list of the type's own field, whose last value repeats up to the shape's
size.
"""

from __future__ import annotations

import functools
import math
from typing import Any, NamedTuple

import numpy as np

from server.tensorflow.protocol import protocol

MAX_TENSOR_BYTES = 1 << 30
_BYTES_OF_A_STRING = 8  # of its place in the array
_MOST_DIMENSIONS = 32  # numpy's


class TensorType(NamedTuple):
    """A data type that JSON can carry."""

    number: int
    """Its number in the enumeration DataType."""
    name: str
    dtype: np.dtype[Any]
    field: str
    """The field of its values in a TensorProto."""
    stored: np.dtype[Any] | None = None
    """What the field's integers are the bits of, where it has no field of its own."""


@functools.cache
def tensor_types() -> dict[int, TensorType]:
    """By number. Raises ModelError where the optional packages are not installed."""
    types = protocol().types
    import ml_dtypes  # comes with TensorFlow

    table: tuple[tuple[str, Any, str], ...] = (
        ("float", np.float32, "float_val"),
        ("double", np.float64, "double_val"),
        ("int8", np.int8, "int_val"),
        ("int16", np.int16, "int_val"),
        ("int32", np.int32, "int_val"),
        ("int64", np.int64, "int64_val"),
        ("uint8", np.uint8, "int_val"),
        ("uint16", np.uint16, "int_val"),
        ("uint32", np.uint32, "uint32_val"),
        ("uint64", np.uint64, "uint64_val"),
        ("bool", np.bool_, "bool_val"),
        ("string", np.object_, "string_val"),
        ("half", np.float16, "half_val"),
        ("bfloat16", ml_dtypes.bfloat16, "half_val"),
    )
    return {
        number: TensorType(number, name, np.dtype(scalar), field, np.dtype(np.uint16) if field == "half_val" else None)
        for name, scalar, field in table
        for number in [types.DataType.Value(f"DT_{name.upper()}")]
    }


def to_proto(array: np.ndarray[Any, Any], number: int) -> Any:
    """A TensorProto of an array, whose dtype is that of the type with this number; strings are bytes objects."""
    proto = protocol().tensor.TensorProto(dtype=number)
    for size in array.shape:
        proto.tensor_shape.dim.add().size = size
    if array.dtype == np.object_:
        proto.string_val.extend(array.ravel().tolist())
    else:
        proto.tensor_content = array.tobytes()
    return proto


def to_array(proto: Any) -> np.ndarray[Any, Any]:
    """The array of a TensorProto. Raises ValueError when it is broken, too large, or of a type that is not served."""
    kind = tensor_types().get(proto.dtype)
    if kind is None:
        raise ValueError(f"a tensor of type {type_name(proto.dtype)}")
    shape = [dim.size for dim in proto.tensor_shape.dim]
    if proto.tensor_shape.unknown_rank or any(size < 0 for size in shape) or len(shape) > _MOST_DIMENSIONS:
        raise ValueError(f"a tensor of shape {shape}")
    count = math.prod(shape)
    if count * (kind.dtype.itemsize or _BYTES_OF_A_STRING) > MAX_TENSOR_BYTES:
        raise ValueError(f"a tensor of shape {shape}: more than {MAX_TENSOR_BYTES} bytes")
    values = _content(proto, kind, count) if proto.tensor_content else _listed(proto, kind, count)
    return values.reshape(shape)


def type_name(number: int) -> str:
    """The name of any data type, also of those that are not served."""
    kind = tensor_types().get(number)
    if kind is not None:
        return kind.name
    try:
        name: str = protocol().types.DataType.Name(number)
    except ValueError:
        return str(number)
    return name.removeprefix("DT_").lower()


def _content(proto: Any, kind: TensorType, count: int) -> np.ndarray[Any, Any]:
    if kind.dtype == np.object_:
        raise ValueError("a tensor of strings given as bytes")
    if len(proto.tensor_content) != count * kind.dtype.itemsize:
        raise ValueError(f"a tensor of {count} values with {len(proto.tensor_content)} bytes")
    return np.frombuffer(proto.tensor_content, dtype=kind.dtype)


def _listed(proto: Any, kind: TensorType, count: int) -> np.ndarray[Any, Any]:
    listed = getattr(proto, kind.field)
    if len(listed) > count:
        raise ValueError(f"a tensor of {count} values with {len(listed)}")
    if kind.dtype == np.object_:
        values = np.empty(len(listed), dtype=object)
        values[:] = listed
    else:
        values = np.array(listed, dtype=kind.stored or kind.dtype)
        values = values.view(kind.dtype) if kind.stored is not None else values
    if len(values) == count:
        return values
    fill: Any = values[-1] if len(values) else (b"" if kind.dtype == np.object_ else 0)
    return np.concatenate([values, np.full(count - len(values), fill, dtype=kind.dtype)])
