"""Tensors to JSON predictions, as TensorFlow Serving's REST API gives them."""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING, Any

import numpy as np
import orjson

from server.tensorflow.instances import B64

if TYPE_CHECKING:
    from collections.abc import Mapping

    from server.tensorflow.signature import Signature

Array = np.ndarray[Any, Any]

_BYTES_SUFFIX = "_bytes"


def predictions(signature: Signature, outputs: Mapping[str, Array], count: int) -> list[Any]:
    """A JSON value for each of `count` instances, or a ValueError: the only output's, or an object of all.

    Raises ValueError when the outputs do not have one row for each instance.
    """
    check_rows(signature, outputs, count)
    rows = {name: json_values(name, outputs[name]) for name in signature.outputs}
    answers: list[Any]
    if len(rows) == 1:
        (answers,) = rows.values()
    else:
        answers = [dict(zip(rows, row, strict=True)) for row in zip(*rows.values(), strict=True)]
    for name in signature.outputs:
        for index in _not_finite(outputs[name]):
            answers[index] = _no_json(name)
    return answers


def json_rows(signature: Signature, outputs: Mapping[str, Array], count: int) -> list[Any]:
    """The same answers as JSON's bytes, for results so large that lists of numbers would be many times their size."""
    check_rows(signature, outputs, count)
    names = [orjson.dumps(name) for name in signature.outputs]
    encoded: list[list[Any]] = [_encoded(name, outputs[name]) for name in signature.outputs]
    answers = encoded[0]
    if len(encoded) > 1:
        answers = [
            b"{" + b",".join(name + b":" + value for name, value in zip(names, row, strict=True)) + b"}"
            for row in zip(*encoded, strict=True)
        ]
    for name in signature.outputs:
        for index in _not_finite(outputs[name]):
            answers[index] = _no_json(name)
    return answers


def _encoded(name: str, array: Array) -> list[bytes]:
    if array.ndim == 1 or array.dtype == np.object_:
        return [orjson.dumps(value) for value in json_values(name, array)]
    if array.dtype.kind not in "iub" and array.dtype != np.float64:
        array = array.astype(np.float32, copy=False)
    return [orjson.dumps(row, option=orjson.OPT_SERIALIZE_NUMPY) for row in np.ascontiguousarray(array)]


def check_rows(signature: Signature, outputs: Mapping[str, Array], count: int) -> None:
    """Raises ValueError when the outputs do not have one row for each of `count` instances."""
    for name in signature.outputs:
        shape = outputs[name].shape
        if not shape or shape[0] != count:
            instances = "1 instance" if count == 1 else f"{count} instances"
            raise ValueError(f"output {name!r} has shape {list(shape)} for {instances}, not a row for each")


def columns(outputs: Mapping[str, Array]) -> Any:
    """The column format: the only output's value, or an object of all. Raises ValueError for NaN and infinities."""
    values = {}
    for name, array in outputs.items():
        if _not_finite(array.reshape(1, -1)):
            raise _no_json(name)
        values[name] = json_values(name, array)
    return values if len(values) > 1 else values[next(iter(values))]


def json_values(name: str, array: Array) -> Any:
    """An array as nested lists; float32 with as many digits as it has, bytes of outputs named ..._bytes as b64."""
    if array.dtype == np.object_:
        return _texts(array.tolist(), name.endswith(_BYTES_SUFFIX))
    if array.dtype.kind in "iub":
        return array.tolist()
    if array.dtype != np.float64:
        array = array.astype(np.float32, copy=False)
    rows = np.ascontiguousarray(array)  # a scalar becomes a row of one
    values: Any = orjson.loads(orjson.dumps(rows, option=orjson.OPT_SERIALIZE_NUMPY))
    return values if array.ndim else values[0]


def _texts(value: Any, encoded: bool) -> Any:
    if isinstance(value, list):
        return [_texts(item, encoded) for item in value]
    if not encoded:
        try:
            return value.decode()
        except UnicodeDecodeError:  # then it is no text, whatever its name
            pass
    return {B64: base64.b64encode(value).decode()}


def _not_finite(array: Array) -> list[int]:
    """Indices of the rows that have a NaN or an infinity."""
    if array.dtype.kind not in "fV":
        return []
    finite = np.isfinite(array)
    if finite.all():
        return []
    rows: list[int] = np.flatnonzero(~finite.reshape(len(finite), -1).all(axis=1)).tolist()
    return rows


def _no_json(name: str) -> ValueError:
    return ValueError(f"the model's output {name!r} is NaN or infinite, which JSON cannot carry")
