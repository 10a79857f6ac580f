"""Fingerprint64 and LSH_PROJECTION: against plain Python, against each other, and against the runtime's own."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
import tflite
from hypothesis import given, settings
from hypothesis import strategies as st
from tflite_runtime.interpreter import Interpreter, InterpreterWithCustomOps, OpResolverType

from ext import _tflite_ops
from ext._tflite_ops import Instructions
from scripts.smart_reply_graph import GraphWriter
from tests.support import plain_smart_reply as plain

if TYPE_CHECKING:
    from collections.abc import Callable

int32s = st.integers(-(2**31), 2**31 - 1)
floats = st.floats(-1e6, 1e6, width=32)
STOCK = _tflite_ops.register_operators_with_stock_projection
OURS = _tflite_ops.register_operators


@settings(max_examples=500)
@given(st.binary(max_size=300))
def test_fingerprint_is_farmhash(data: bytes) -> None:
    assert _tflite_ops.fingerprint64(data) == plain.fingerprint64(data)


@pytest.mark.parametrize(
    ("data", "wanted"), [(b"", 0x9AE16A3B2F90404F), (b"hello", 13009744463427800296), (b"a" * 65, 7778058094944459892)]
)
def test_fingerprints_that_google_farmhash_gives(data: bytes, wanted: int) -> None:
    assert _tflite_ops.fingerprint64(data) == wanted


def test_the_portable_path_always_runs_and_the_best_is_supported() -> None:
    assert _tflite_ops.is_supported(Instructions.PORTABLE)
    assert _tflite_ops.is_supported(_tflite_ops.best_instructions())


@settings(max_examples=200)
@given(st.lists(floats, max_size=61), st.lists(st.tuples(int32s, floats), max_size=12))
def test_all_instructions_give_the_same_bits(seeds: list[float], features: list[tuple[int, float]]) -> None:
    ids, weights = [number for number, _ in features], [weight for _, weight in features]
    wanted = [plain.projection_sum(np.float32(seed), ids, weights) for seed in seeds]
    for instructions in Instructions.__members__.values():
        if _tflite_ops.is_supported(instructions):
            sums = _tflite_ops.projection_sums(seeds, ids, weights, instructions)
            assert np.array(sums).tobytes() == np.array(wanted).tobytes(), instructions


def test_weights_must_match_ids() -> None:
    with pytest.raises(ValueError, match="same length"):
        _tflite_ops.projection_sums([1.0], [1, 2], [1.0], Instructions.PORTABLE)


def projection(register: Callable[[int], None], graph: bytes) -> Interpreter:
    """An interpreter of a graph of LSH_PROJECTION alone."""
    interpreter = InterpreterWithCustomOps(
        model_content=graph,
        custom_op_registerers=[register],
        experimental_op_resolver_type=OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES,
    )
    interpreter.allocate_tensors()
    return interpreter


def projection_graph(seeds: np.ndarray, kind: int, input_kind: int, shape: tuple[int, ...], weighted: bool) -> bytes:
    """A file with one operator: inputs numbers of `shape` and perhaps weights, output bits or signatures."""
    writer = GraphWriter()
    inputs = [writer.variable("input", input_kind, shape)]
    if weighted:
        inputs.append(writer.variable("weight", tflite.TensorType.FLOAT32, shape[:1]))
    output = writer.variable("output", tflite.TensorType.INT32)
    constant = writer.constant("seed", seeds)
    options = writer.projection_options(kind)
    writer.builtin(tflite.BuiltinOperator.LSH_PROJECTION, [constant, *inputs], [output], options)
    return writer.finish(inputs, [output], "projection")


def outputs(graph: bytes, inputs: list[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Of the runtime's own operator and of ours."""
    results = []
    for register in (STOCK, OURS):
        interpreter = projection(register, graph)
        for detail, values in zip(interpreter.get_input_details(), inputs, strict=True):
            interpreter.set_tensor(detail["index"], values)
        interpreter.invoke()
        results.append(interpreter.get_tensor(interpreter.get_output_details()[0]["index"]))
    return results[0], results[1]


@pytest.mark.parametrize("kind", [tflite.LSHProjectionType.SPARSE, tflite.LSHProjectionType.DENSE])
@pytest.mark.parametrize("weighted", [True, False])
@pytest.mark.parametrize("rows", [1, 7, 231])
def test_words_give_what_the_runtimes_own_operator_gives(kind: int, weighted: bool, rows: int) -> None:
    generator = np.random.default_rng(rows)
    seeds = generator.uniform(-1e3, 1e3, (60, 12)).astype(np.float32)
    ids = generator.integers(-(2**31), 2**31 - 1, rows, dtype=np.int32)
    weights = generator.choice([0.0, -2.5, 1.0, 3.0], rows).astype(np.float32)
    graph = projection_graph(seeds, kind, tflite.TensorType.INT32, (rows,), weighted)
    stock, ours = outputs(graph, [ids, weights] if weighted else [ids])
    assert len(set(stock.tolist())) > 1
    np.testing.assert_array_equal(ours, stock)


@pytest.mark.parametrize("row_bytes", [1, 3, 5, 12, 20, 40, 61, 100, 252])
def test_rows_of_any_length_give_what_the_runtimes_own_operator_gives(row_bytes: int) -> None:
    generator = np.random.default_rng(row_bytes)
    seeds = generator.uniform(0, 1e3, (40, 8)).astype(np.float32)
    data = generator.integers(0, 256, (9, row_bytes), dtype=np.uint8)
    weights = generator.uniform(-1, 1, 9).astype(np.float32)
    graph = projection_graph(seeds, tflite.LSHProjectionType.DENSE, tflite.TensorType.UINT8, data.shape, True)
    stock, ours = outputs(graph, [data, weights])
    assert 0 < stock.sum() < stock.size
    np.testing.assert_array_equal(ours, stock)


@pytest.mark.parametrize(
    ("seeds", "kind", "message"),
    [
        ((0, 12), tflite.LSHProjectionType.DENSE, "at least one hash"),
        ((4, 33), tflite.LSHProjectionType.DENSE, "1 to 32 bits"),
        ((60, 28), tflite.LSHProjectionType.SPARSE, "32-bit signatures"),
        ((60,), tflite.LSHProjectionType.SPARSE, "float32"),
        ((4, 4), tflite.LSHProjectionType.UNKNOWN, "sparse or dense"),
    ],
)
def test_seeds_that_make_no_signature_are_refused(seeds: tuple[int, ...], kind: int, message: str) -> None:
    values = np.ones(seeds, dtype=np.float32)
    with pytest.raises((RuntimeError, ValueError), match=message):
        projection(OURS, projection_graph(values, kind, tflite.TensorType.INT32, (3,), False))
