"""The executor of the graph: to the last digit what tflite-runtime gives, with stock operators where it has them.

Python 3.11 alone: tflite-runtime has no release for later ones, and its successor takes no operators of others.
tests/conftest.py leaves this file out there.
"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import tflite

from benchmarks.straightforward import StraightforwardInterpreter, stock_interpreter
from ext import _smart_reply
from scripts.smart_reply_graph import GraphWriter, Limits, ReplyTable
from server.models.smart_reply_engine import SmartReplyInterpreter
from tests.support import plain_smart_reply as plain
from tests.support.smart_reply_models import google_model, small_parts, variant
from tests.support.smart_reply_texts import texts_of_every_kind

if TYPE_CHECKING:
    from tests.support.smart_reply_models import Parts

pytestmark = pytest.mark.slow  # builds the operators that it compares with

DENSE = tflite.LSHProjectionType.DENSE
GOOGLES_TEXTS = 2000
VARIANTS_TEXTS = 200


def differences(graph: bytes, texts: list[bytes]) -> list[bytes]:
    """The texts to which the runtime gives other replies or scores, or in another order."""
    runtime, ours = StraightforwardInterpreter(graph, compile_once=True), SmartReplyInterpreter(graph)
    return [text for text in texts if list(runtime.replies(text).items()) != list(ours.replies(text).items())]


def test_googles_model_gives_what_the_runtime_gives() -> None:
    assert differences(google_model().read_bytes(), texts_of_every_kind(GOOGLES_TEXTS)) == []


def sized(hashes: int, bits: int, width: int, limits: Limits) -> Parts:
    """A model of other sizes, with a row for one signature in three."""
    generator = np.random.default_rng(hashes)
    keys = np.arange(0, hashes << bits, 3, dtype=np.int32)
    table = ReplyTable(
        keys,
        generator.integers(0, 12, (len(keys), width), dtype=np.int32),
        generator.uniform(-1, 2, (len(keys), width)).astype(np.float32),
    )
    seeds = generator.uniform(-100, 100, (hashes, bits)).astype(np.float32)
    return dataclasses.replace(small_parts(), seeds=seeds, table=table, limits=limits)


@pytest.mark.parametrize(
    ("parts", "options"),
    [
        *((small_parts(), {"skip_gram": skip}) for skip in ((1, 0, True), (2, 10, True), (5, 1, True), (3, 0, True))),
        *((small_parts(), {"skip_gram": skip}) for skip in ((1, 2, False), (2, 1, False), (4, 2, False))),
        (small_parts(), {"projection": DENSE}),
        (small_parts(), {"weighted": False}),
        (small_parts(), {"weighted": False, "projection": DENSE}),
        (small_parts(), {"scores_first": True}),
        (small_parts(), {"ids": [-1, *range(1, 12)]}),  # -1 is what Predict puts where a label is missing
        (small_parts(), {"ids": [-(2**30), -7, *range(2, 11), 2**30]}),
        (small_parts(), {"ids": range(3, 15)}),
        (sized(1, 12, 1, Limits(1, 0)), {}),
        (sized(33, 7, 4, Limits(30, -1)), {}),
        (sized(100, 4, 2, Limits(3, 0.05)), {}),
    ],
)
def test_other_graphs_give_what_the_runtime_gives(parts: Parts, options: dict[str, Any]) -> None:
    assert differences(variant(parts, **options), texts_of_every_kind(VARIANTS_TEXTS)) == []


def test_skip_grams_of_any_bytes_are_the_runtimes_own() -> None:
    """Also of text that Normalize never gives: with white space at the beginning."""
    texts = [text[:60] for text in texts_of_every_kind(300)]
    for size, skip, include_all in (
        (1, 0, True),
        (2, 3, True),
        (3, 2, True),
        (5, 10, True),
        (1, 1, False),
        (3, 1, False),
    ):
        writer = GraphWriter()
        text, ngrams = (writer.variable(name, tflite.TensorType.STRING) for name in ("text", "ngrams"))
        options = writer.skip_gram_options(size, skip, include_all)
        writer.builtin(tflite.BuiltinOperator.SKIP_GRAM, [text], [ngrams], options)
        interpreter = stock_interpreter(writer.finish([text], [ngrams], "skip-grams"))
        for each in texts:
            interpreter.set_tensor(text, np.array([each], dtype=object))
            interpreter.invoke()
            ours = _smart_reply.skip_grams(each, _smart_reply.SkipGramOptions(size, skip, include_all))
            assert ours == interpreter.get_tensor(ngrams).tolist(), (each, size, skip, include_all)


def tensors_after(interpreter: Any, segment: bytes) -> dict[str, list[Any]]:
    """Name -> content of what the runtime computed."""
    interpreter.set_tensor(interpreter.get_input_details()[0]["index"], np.array([segment], dtype=object))
    interpreter.invoke()
    names = ("normalized", "ngrams", "feature", "weight", "signature", "predicted_label", "score")
    details = {detail["name"]: detail["index"] for detail in interpreter.get_tensor_details()}
    return {name: interpreter.get_tensor(details[name]).tolist() for name in names}


def test_its_operators_give_what_their_descriptions_say() -> None:
    """So that test_executor.py, which compares ours with the descriptions, says the same on a later Python."""
    parts = small_parts()
    table, limits = parts.table, parts.limits
    interpreter = stock_interpreter(parts.graph(), preserve_all=True)
    for segment in [b"", b"a b c d e f g", b"xyz " * 100, *texts_of_every_kind(150)]:
        tensors = tensors_after(interpreter, segment)
        normalized = plain.normalized(segment)
        ngrams = plain.ngrams(normalized)
        ids, weights = plain.features(ngrams)
        signatures = plain.signatures(parts.seeds, ids, weights)
        assert tensors["normalized"] == [normalized]
        assert tensors["ngrams"] == ngrams
        assert (tensors["feature"], tensors["weight"]) == (ids, weights)
        assert tensors["signature"] == signatures
        best = plain.predicted(
            signatures, table.keys, table.labels, table.weights, limits.max_replies, limits.threshold
        )
        missing = limits.max_replies - len(best)
        assert tensors["predicted_label"] == [label for label, _ in best] + [-1] * missing
        assert tensors["score"] == [float(score) for _, score in best] + [0.0] * missing
