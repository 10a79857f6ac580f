"""Arrays as TensorProto messages and back, compared with TensorFlow's own functions."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import numpy as np
import pytest

from server.tensorflow.protocol import protocol
from server.tensorflow.tensors import MAX_TENSOR_BYTES, to_array, to_proto, type_name
from tests.server.tensorflow.ports import TYPES
from tests.support.service import ROOT

WITH_TENSORFLOW = """
import numpy as np
from server.tensorflow.tensors import tensor_types, to_array, to_proto
import tensorflow as tf

def same(left, right):
    return left.dtype == right.dtype and left.shape == right.shape and (left == right).all()

for kind in tensor_types().values():
    for shape in ((), (0,), (3,), (2, 3), (2, 0, 1)):
        size = int(np.prod(shape))
        if kind.name == "string":
            array = np.array([b"", b"\\xff\\x00", b"text", b"", b"", b"more"][:size], dtype=object).reshape(shape)
        else:
            array = (np.arange(size) % 2 if kind.name == "bool" else np.arange(size)).astype(kind.dtype).reshape(shape)
        assert same(tf.make_ndarray(to_proto(array, kind.number)), array), kind
        theirs = tf.make_tensor_proto(array, dtype=kind.number)
        assert same(to_array(theirs), array), kind
        listed = tf.compat.v1.make_tensor_proto([array.ravel().tolist()[:1] * 4], dtype=kind.number) if size else theirs
        assert same(to_array(listed), tf.make_ndarray(listed)), kind
print("all the same")
"""


@pytest.mark.slow
def test_messages_are_those_of_tensorflow() -> None:
    """In a process of its own: all types, of several shapes, scalars and empty ones among them."""
    done = subprocess.run(
        [sys.executable, "-c", WITH_TENSORFLOW], cwd=ROOT, capture_output=True, text=True, timeout=300
    )
    assert done.stdout == "all the same\n", done.stderr


def listed(kind: str, shape: list[int], values: list[Any]) -> Any:
    """A TensorProto whose values are in the type's own field, as tensorflow_model_server gives them."""
    proto = protocol().tensor.TensorProto(dtype=TYPES[kind].number)
    for size in shape:
        proto.tensor_shape.dim.add().size = size
    getattr(proto, TYPES[kind].field).extend(values)
    return proto


@pytest.mark.parametrize("kind", [kind for kind in TYPES if kind not in ("string", "half", "bfloat16")])
def test_the_last_value_of_a_list_repeats(kind: str) -> None:
    assert to_array(listed(kind, [2, 2], [0, 1])).tolist() == [[0, 1], [1, 1]]
    assert to_array(listed(kind, [3], [])).tolist() == [0, 0, 0]
    assert to_array(listed(kind, [0], [])).tolist() == []


def test_lists_of_strings_and_of_halves() -> None:
    assert to_array(listed("string", [3], [b"a", b"b"])).tolist() == [b"a", b"b", b"b"]
    assert to_array(listed("string", [2], [])).tolist() == [b"", b""]
    assert to_array(listed("half", [2], [0x3C00, 0xC000])).tolist() == [1, -2]
    assert to_array(listed("bfloat16", [2], [0x3F80, 0xC000])).tolist() == [1, -2]


def test_large_integers_are_exact() -> None:
    for kind, values in (("int64", [2**63 - 1, -(2**63), 2**53 + 1]), ("uint64", [2**64 - 1, 0, 2**53 + 1])):
        array = np.array(values, dtype=TYPES[kind].dtype)
        assert to_array(to_proto(array, TYPES[kind].number)).tolist() == values


def broken(**fields: Any) -> Any:
    proto = listed("float", fields.pop("shape", [2]), fields.pop("values", []))
    for name, value in fields.items():
        setattr(proto, name, value)
    return proto


@pytest.mark.parametrize(
    ("proto", "message"),
    [
        (broken(values=[1, 2, 3]), "a tensor of 2 values with 3"),
        (broken(tensor_content=b"1234567"), "a tensor of 2 values with 7 bytes"),
        (broken(shape=[-1]), r"a tensor of shape \[-1\]"),
        (broken(shape=[1] * 33), r"a tensor of shape \[1, 1"),
        (broken(shape=[1 << 40, 1 << 40]), f"more than {MAX_TENSOR_BYTES} bytes"),
        (broken(dtype=8), "a tensor of type complex64"),
        (broken(dtype=7, tensor_content=b"text"), "a tensor of strings given as bytes"),
    ],
)
def test_broken_messages_are_refused(proto: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        to_array(proto)


def test_names_of_types() -> None:
    assert [type_name(number) for number in (1, 9, 8, 20, 999)] == ["float", "int64", "complex64", "resource", "999"]
