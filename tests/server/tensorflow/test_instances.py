"""JSON instances to tensors by a signature, and tensors to predictions; no server takes part."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.tensorflow.instances import batches, columns
from server.tensorflow.predictions import columns as column_values
from server.tensorflow.predictions import json_values, predictions
from tests.server.tensorflow.ports import TYPES, port, signature

INTEGERS = [kind for kind in TYPES if TYPES[kind].dtype.kind in "iu"]
FLOATS = ["float", "double", "half", "bfloat16"]


def tensor(kind: str, values: list[Any], *shape: int | None) -> list[Any]:
    """What becomes of instances for an input of this type and shape; all must fit."""
    (batch,), errors = batches(signature(port("x", kind, *shape)), values)
    assert errors == {}
    assert batch.inputs["x"].dtype == TYPES[kind].dtype
    found: list[Any] = batch.inputs["x"].tolist()
    return found


def problem(kind: str, value: Any, *shape: int | None) -> str:
    """Why an instance, beside good ones, is refused."""
    found, errors = batches(signature(port("x", kind, *shape)), [value])
    assert found == []
    return errors[0].message


@pytest.mark.parametrize("kind", FLOATS)
def test_numbers(kind: str) -> None:
    assert tensor(kind, [1, -2.5, 0]) == [1, -2.5, 0]
    assert tensor(kind, [[1, 2], [3, 4]], None) == [[1, 2], [3, 4]]
    assert tensor(kind, [[[1], [2]]], None, 1) == [[[1], [2]]]
    assert tensor(kind, [[], []], None) == [[], []]


@pytest.mark.parametrize("kind", INTEGERS)
def test_integers_are_exact_up_to_the_limits_of_their_type(kind: str) -> None:
    limits = np.iinfo(TYPES[kind].dtype)
    values = [int(limits.min), int(limits.max), int(limits.max) - 1]
    assert tensor(kind, values) == values
    for value in (limits.min - 1, limits.max + 1, 10**30):
        assert problem(kind, value) == f"input 'x': {value} is out of the range of {kind}"


def test_booleans_strings_and_bytes() -> None:
    assert tensor("bool", [True, False]) == [True, False]
    texts = ["", "ü", "\0", {"b64": "/w=="}, {"b64": ""}]
    assert tensor("string", texts) == [b"", "ü".encode(), b"\0", b"\xff", b""]


@pytest.mark.parametrize(
    ("kind", "value", "message"),
    [
        ("float", math.nan, "input 'x': nan is no number that JSON has"),
        ("double", -math.inf, "input 'x': -inf is no number that JSON has"),
        ("float", 1e39, "input 'x': 1e+39 is out of the range of float"),
        ("half", 70000.0, "input 'x': 70000.0 is out of the range of half"),
        ("float", 2**24 + 1, "input 'x': 16777217 is not exact as float"),
        ("double", 2**53 + 1, "input 'x': 9007199254740993 is not exact as double"),
        ("double", 10**400, "input 'x': 1" + "0" * 59 + "... is out of the range of double"),
        ("float", True, "input 'x': expected a number, got true"),
        ("float", "1", "input 'x': expected a number, got \"1\""),
        ("float", None, "input 'x': expected a number, got null"),
        ("float", {"b64": "AA=="}, 'input \'x\': expected a number, got {"b64": "AA=="}'),
        ("int64", 1.0, "input 'x': expected an integer, got 1.0"),
        ("int64", False, "input 'x': expected an integer, got false"),
        ("bool", 1, "input 'x': expected true or false, got 1"),
        ("string", 1, "input 'x': expected a string, got 1"),
        ("string", {"b64": "?"}, "input 'x': b64: "),
        ("string", {"b64": 1}, "input 'x' is missing; expected 'x'"),
        ("string", "\ud800", "input 'x': not valid Unicode: surrogates not allowed at character 0"),
        ("float", {"y": 1}, "input 'x' is missing; expected 'x'"),
        ("float", {"x": 1, "y": 2}, "there is no input \"y\"; expected 'x'"),
        ("float", [1], "input 'x' has shape [1]; expected x: float[n], n instances"),
        ("float", [[1], 2], "input 'x': lists of different lengths, or lists beside other values"),
        ("float", [[1], [2, 3]], "input 'x': lists of different lengths, or lists beside other values"),
    ],
)
def test_what_does_not_fit_is_named(kind: str, value: Any, message: str) -> None:
    assert problem(kind, value).startswith(message)


def test_shapes_that_do_not_fit() -> None:
    expected = "expected x: float[n, ?, 2], n instances"
    assert problem("float", [[1, 2, 3]], None, 2) == f"input 'x' has shape [1, 3]; {expected}"
    assert problem("float", [1, 2], None, 2) == f"input 'x' has shape [2]; {expected}"
    assert tensor("float", [[[1, 2]] * 5], None, 2) == [[[1, 2]] * 5]


def test_instances_of_the_same_shapes_share_a_batch_and_bad_ones_are_left_out() -> None:
    found, errors = batches(signature(port("x", "float", None)), [[1], [2, 3], "bad", [4], [5, 6], []])
    assert [(batch.indices, batch.inputs["x"].tolist()) for batch in found] == [
        ([0, 3], [[1], [4]]),
        ([1, 4], [[2, 3], [5, 6]]),
        ([5], [[]]),
    ]
    assert [(index, error.index, str(error)[:13]) for index, error in errors.items()] == [(2, 2, "instance 2: i")]
    assert batches(signature(port("x", "float")), []) == ([], {})


def test_objects_with_several_inputs() -> None:
    both = signature(port("text", "string"), port("size", "int64"))
    (batch,), errors = batches(both, [{"size": 1, "text": "a"}, {"text": {"b64": "Yg=="}, "size": 2}])
    assert errors == {}
    assert {name: array.tolist() for name, array in batch.inputs.items()} == {"text": [b"a", b"b"], "size": [1, 2]}
    found, errors = batches(both, ["a", {"text": "a"}, {"text": "a", "size": 1, "more": 1}, {"b64": "Yg=="}])
    assert found == []
    assert [error.message for error in errors.values()] == [
        "expected an object with 'text', 'size', got \"a\"",
        "input 'size' is missing; expected 'text', 'size'",
        "there is no input \"more\"; expected 'text', 'size'",
        "input 'text' is missing; expected 'text', 'size'",
    ]


ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters()),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["x", "b64", "y"]), inner, max_size=2),
    max_leaves=8,
)


@given(st.sampled_from(list(TYPES)), st.lists(ANYTHING, max_size=4))
def test_every_instance_has_its_place_in_a_batch_or_an_error(kind: str, instances: list[Any]) -> None:
    unshaped = signature(port("x", kind)._replace(shape=None))
    found, errors = batches(unshaped, instances)
    indices = sorted([index for batch in found for index in batch.indices] + list(errors))
    assert indices == list(range(len(instances)))
    for batch in found:
        assert batch.inputs["x"].dtype == TYPES[kind].dtype
        for index, row in zip(batch.indices, batch.inputs["x"], strict=True):
            ((alone,), _) = batches(unshaped, [instances[index]])
            assert np.array_equal(alone.inputs["x"][0], row)


def test_columns() -> None:
    one = signature(port("x", "float", None))
    assert columns(one, [[1, 2], [3, 4]])["x"].tolist() == [[1, 2], [3, 4]]
    assert columns(one, {"x": [[1]]})["x"].tolist() == [[1]]
    two = signature(port("x", "float"), port("y", "string"))
    assert {name: array.tolist() for name, array in columns(two, {"y": ["a"], "x": [1, 2]}).items()} == {
        "x": [1, 2],
        "y": [b"a"],
    }
    for value, message in (([1], "inputs must be an object with 'x', 'y'"), ({"x": 1, "y": ["a"]}, "expected a list")):
        with pytest.raises(ValueError, match=message):
            columns(two, value)


# -------------------------------------------------------------------------------------------------------- predictions


def test_one_output_is_the_value_and_several_are_an_object() -> None:
    one = signature(outputs=(port("y", "float"),))
    assert predictions(one, {"y": np.array([1, 2], dtype=np.float32)}, 2) == [1, 2]
    two = signature(outputs=(port("ids", "int64"), port("text", "string", None)))
    arrays = {"ids": np.array([2**53 + 1, 0]), "text": np.array([[b"a", b"b"], [b"c", b"\xff"]], dtype=object)}
    assert predictions(two, arrays, 2) == [
        {"ids": 2**53 + 1, "text": ["a", "b"]},
        {"ids": 0, "text": ["c", {"b64": "/w=="}]},
    ]
    for count, shape in ((3, "[2]"), (1, "[2]")):
        with pytest.raises(ValueError, match=rf"output 'y' has shape \{shape} for {count} instances?"):
            predictions(one, {"y": np.array([1.0, 2.0])}, count)


def test_numbers_have_the_digits_of_their_type() -> None:
    for dtype in (np.float16, np.float32, np.float64, TYPES["bfloat16"].dtype):
        assert json_values("y", np.array([0.5, 3], dtype=dtype)) == [0.5, 3]
    assert json_values("y", np.array([[0.1, 1e-7, 16777216]], dtype=np.float32)) == [[0.1, 1e-7, 16777216]]
    assert json_values("y", np.array([0.1])) == [0.1]
    assert json_values("y", np.array(0.1, dtype=np.float32)) == 0.1
    assert json_values("y", np.array([2**64 - 1], dtype=np.uint64)) == [2**64 - 1]
    assert json_values("y", np.array([True])) == [True]


def test_bytes_are_b64_by_the_name_of_the_output() -> None:
    texts = np.array([b"a"], dtype=object)
    assert json_values("text", texts) == ["a"]
    assert json_values("text_bytes", texts) == [{"b64": "YQ=="}]


def test_numbers_that_are_not_finite_are_errors_of_their_instance() -> None:
    both = signature(outputs=(port("y", "float", 2), port("z", "bfloat16")))
    values = {
        "y": np.array([[1, 2], [np.nan, 1], [1, 1]], dtype=np.float32),
        "z": np.array([1, 1, np.inf]).astype(TYPES["bfloat16"].dtype),
    }
    found = predictions(both, values, 3)
    assert found[0] == {"y": [1, 2], "z": 1}
    assert [str(error) for error in found[1:]] == [
        f"the model's output {name!r} is NaN or infinite, which JSON cannot carry" for name in ("y", "z")
    ]
    with pytest.raises(ValueError, match="'y' is NaN"):
        column_values(values)
    assert column_values({"y": values["y"][:1], "z": values["z"][:1]}) == {"y": [[1, 2]], "z": [1]}
    assert column_values({"y": values["y"][:1]}) == [[1, 2]]
