"""The operators inside the graph, against plain Python models of each; and models that they refuse."""

from __future__ import annotations

import dataclasses
import struct
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import tflite
from hypothesis import example, given, settings
from hypothesis import strategies as st
from tflite_runtime.interpreter import InterpreterWithCustomOps, OpResolverType

from ext import _tflite_ops
from scripts.smart_reply_graph import GraphWriter, Limits, projection_graph, reply_graph
from server.errors import ModelError
from server.models.smart_reply_engine import SmartReplyInterpreter
from tests.support import plain_smart_reply as plain
from tests.support.smart_reply_models import Parts, small_parts

if TYPE_CHECKING:
    from collections.abc import Callable

words = st.text(alphabet="ab'n?! ,.-é\0", max_size=12)
messages = st.lists(words, max_size=6).map(" ".join)


def tensors_after(graph: bytes, segment: bytes) -> dict[str, Any]:
    """Name -> content of the computed tensors."""
    interpreter = InterpreterWithCustomOps(
        model_content=graph,
        custom_op_registerers=[_tflite_ops.register_operators],
        experimental_op_resolver_type=OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES,
        experimental_preserve_all_tensors=True,
    )
    interpreter.allocate_tensors()
    interpreter.set_tensor(interpreter.get_input_details()[0]["index"], np.array(segment))
    interpreter.invoke()
    return {detail["name"]: interpreter.get_tensor(detail["index"]) for detail in interpreter.get_tensor_details()}


@settings(max_examples=150)
@given(messages.map(lambda text: text.encode().rstrip(b"\0") + b" "))  # numpy's strings end at their last non-NUL
@example(b" ")
@example(b"a b c d e f g")
@example(b"xyz " * 100)
def test_each_operator_gives_what_its_description_says(segment: bytes) -> None:
    parts = small_parts()
    tensors = tensors_after(parts.graph(), segment)
    normalized = plain.normalized(segment)
    ngrams = plain.ngrams(normalized)
    ids, weights = plain.features(ngrams)
    signatures = plain.signatures(parts.seeds, ids, weights)
    assert tensors["normalized"].tolist() == [normalized]
    assert tensors["ngrams"].tolist() == ngrams
    assert (tensors["feature"].tolist(), tensors["weight"].tolist()) == (ids, weights)
    assert tensors["signature"].tolist() == signatures
    table, limits = parts.table, parts.limits
    best = plain.predicted(signatures, table.keys, table.labels, table.weights, limits.max_replies, limits.threshold)
    missing = limits.max_replies - len(best)
    assert tensors["predicted_label"].tolist() == [label for label, _ in best] + [-1] * missing
    assert tensors["score"].tolist() == [float(score) for _, score in best] + [0.0] * missing


@settings(max_examples=150)
@given(st.lists(messages, min_size=1, max_size=3))
@example(["", "?!.,", "a" * 300, "a" * 301])
def test_replies_add_up_over_segments_and_messages(texts: list[str]) -> None:
    """Empty texts are dropped, and the same text adds up: two responses of this model are the same, one is empty."""
    parts = small_parts()
    wanted: dict[str, np.float32] = {}
    for text in texts:
        for segment in plain.segments(text.encode()):
            ids, weights = plain.features(plain.ngrams(plain.normalized(segment)))
            found = plain.signatures(parts.seeds, ids, weights)
            table, limits = parts.table, parts.limits
            for label, score in plain.predicted(
                found, table.keys, table.labels, table.weights, limits.max_replies, limits.threshold
            ):
                if reply := parts.responses[label]:
                    wanted[reply] = np.float32(wanted.get(reply, np.float32(0)) + score)
    replies = interpreter_of(parts).merged_replies(texts)
    assert replies == {reply: float(score) for reply, score in wanted.items()}
    assert list(replies) == sorted(wanted, key=lambda reply: (-wanted[reply], reply))


_interpreters: list[SmartReplyInterpreter] = []


def interpreter_of(parts: Parts) -> SmartReplyInterpreter:
    """One for all examples."""
    if not _interpreters:
        _interpreters.append(SmartReplyInterpreter(parts.graph()))
    return _interpreters[0]


def test_a_new_length_of_input_is_noticed() -> None:
    """SKIP_GRAM's output changes its size without telling, and what follows must be prepared again."""
    texts = ["a b c d e f g h", "", "a", "a b c", "", "a b c d e f g h i j k"]
    shared = interpreter_of(small_parts())
    assert [shared.replies(text) for text in texts] == [
        SmartReplyInterpreter(small_parts().graph()).replies(text) for text in texts
    ]


# ----------------------------------------------------------------------------------------------------- broken models


def with_table(**changes: Any) -> bytes:
    """The small model with parts of its table exchanged."""
    parts = small_parts()
    return dataclasses.replace(parts, table=dataclasses.replace(parts.table, **changes)).graph()


def with_options(options: bytes) -> bytes:
    """The small model with Predict's custom options exchanged."""
    parts = small_parts()
    original = np.int32(parts.limits.max_replies).tobytes() + np.float32(parts.limits.threshold).tobytes()
    graph = parts.graph()
    assert graph.count(original) == 1
    return graph.replace(np.int32(8).tobytes() + original, np.int32(len(options)).tobytes() + options.ljust(8))


TABLE = small_parts().table

BROKEN: dict[str, tuple[Callable[[], bytes], str]] = {
    "options too short": (lambda: with_options(b"1234"), "custom options must be 8 bytes"),
    "no options": (lambda: with_options(b""), "custom options must be 8 bytes"),
    "no outputs": (lambda: with_options(bytes(8)), "number of outputs must be 1 to"),
    "too many outputs": (lambda: with_options(b"\xff\xff\xff\x7f\0\0\0\0"), "number of outputs must be 1 to"),
    "threshold is no number": (lambda: with_options(b"\x05\0\0\0\0\0\xc0\x7f"), "threshold finite"),
    "unsorted keys": (lambda: with_table(keys=TABLE.keys[::-1].copy()), "keys are not sorted"),
    "more keys than rows": (lambda: with_table(keys=np.arange(999, dtype=np.int32)), "as many rows of labels as keys"),
    "labels of another width": (lambda: with_table(labels=TABLE.labels[:, :2].copy()), "same shape"),
    "labels without rows": (lambda: with_table(labels=TABLE.labels.ravel()), "labels must be int32"),
    "labels of another type": (lambda: with_table(labels=TABLE.weights), "labels must be int32"),
    "keys of another type": (lambda: with_table(keys=TABLE.keys.astype(np.float32)), "keys must be int32"),
    "a weight that is no number": (lambda: with_table(weights=TABLE.weights * np.float32("nan")), "must be finite"),
    "endless n-grams": (
        lambda: reply_graph(small_parts().seeds, TABLE, ["a"], Limits(), ngram_size=100, max_skip=100),
        "n-grams must be of 1 to 5 words",
    ),
    "only the projection": (lambda: projection_graph(small_parts().seeds), "no Smart Reply graph"),
    "no operators": (lambda: GraphWriter().finish([], [], "empty"), "no Smart Reply graph"),
    "an unknown operator": (lambda: unknown_operator(), "Conjure"),
    "responses that nobody wrote": (lambda: miswired(given_responses=False), "response_text must be a constant"),
    "labels that nobody wrote": (lambda: miswired(chained=False), "HASHTABLE_LOOKUP does not read what"),
}


def unknown_operator() -> bytes:
    """A graph that asks for what nobody has."""
    writer = GraphWriter()
    tensors = [writer.variable(name, tflite.TensorType.STRING) for name in ("in", "out")]
    writer.custom("Conjure", tensors[:1], tensors[1:])
    return writer.finish(tensors[:1], tensors[1:], "unknown")


def miswired(*, given_responses: bool = True, chained: bool = True) -> bytes:
    """The small model with its last operator reading other tensors than it should."""
    parts, kinds = small_parts(), tflite.TensorType
    writer = GraphWriter()
    variable = writer.variable
    message, normalized, ngrams, texts = (variable(name, kinds.STRING) for name in ("message", "n", "g", "reply"))
    features, signatures, labels, loose = (variable(name, kinds.INT32) for name in ("f", "s", "label", "loose"))
    weights, scores, hits = variable("w", kinds.FLOAT32), variable("score", kinds.FLOAT32), variable("h", kinds.UINT8)
    seeds = writer.constant("seed", parts.seeds)
    table = [writer.constant(name, getattr(parts.table, name)) for name in ("keys", "labels", "weights")]
    ids = writer.constant("id", np.arange(len(parts.responses), dtype=np.int32))
    responses = [response.encode() for response in parts.responses]
    response_text = (
        writer.strings("response_text", responses)
        if given_responses
        else variable("response_text", kinds.STRING, (len(responses),))
    )
    code = tflite.BuiltinOperator
    writer.custom("Normalize", [message], [normalized])
    writer.builtin(code.SKIP_GRAM, [normalized], [ngrams], writer.skip_gram_options(3, 2))
    writer.custom("ExtractFeatures", [ngrams], [features, weights])
    writer.builtin(code.LSH_PROJECTION, [seeds, features, weights], [signatures], writer.projection_options())
    writer.custom("Predict", [signatures, *table], [labels, scores], struct.pack("<if", 3, 0.1))
    writer.builtin(code.HASHTABLE_LOOKUP, [labels if chained else loose, ids, response_text], [texts, hits])
    return writer.finish([message], [texts, scores], "miswired")


def test_the_small_model_built_by_hand_is_not_refused_when_nothing_is_wrong() -> None:
    assert SmartReplyInterpreter(miswired()).replies("a b c")


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_model_is_refused_with_its_fault(name: str) -> None:
    build, message = BROKEN[name]
    with pytest.raises(ModelError, match=message):
        SmartReplyInterpreter(build())


@pytest.mark.parametrize(
    ("offset", "value", "message"),
    [
        (0, 2**31 - 1, "says that it holds"),
        (0, 3, "where its shape says"),
        (4, 7, "has an offset of 7"),
        (8, 2**30, "has an offset of"),
        (8, -1, "has an offset of"),
    ],
)
def test_a_broken_table_of_responses_is_refused(offset: int, value: int, message: str) -> None:
    """The runtime would read whatever lies at these offsets."""
    graph = bytearray(small_parts().graph())
    begin = graph.index(np.array([12, 4 * 14, 4 * 14 + len("Reply 0")], dtype="<i4").tobytes())
    graph[begin + offset : begin + offset + 4] = np.int32(value).tobytes()
    with pytest.raises(ModelError, match=message):
        SmartReplyInterpreter(bytes(graph))


def test_a_response_that_is_no_text_is_refused() -> None:
    graph = small_parts().graph().replace(b"Reply 3", b"Reply \xff")
    with pytest.raises(ModelError, match="response 3 is not UTF-8"):
        SmartReplyInterpreter(graph)


MUTATIONS = """
import random, sys
from server.errors import ModelError
from server.models.smart_reply_engine import SmartReplyInterpreter
from tests.support.smart_reply_models import small_parts
import tempfile, pathlib
graph = small_parts().graph()
path = pathlib.Path(tempfile.mkdtemp()) / "mutant.tflite"
refused = 0
for seed in range(400):
    chance = random.Random(seed)
    mutant = bytearray(graph[: chance.choice([len(graph), len(graph), chance.randrange(1, len(graph))])])
    for _ in range(chance.choice([1, 2, 8])):
        position = chance.randrange(chance.choice([len(mutant), min(3000, len(mutant))]))
        mutant[position] = chance.choice([0, 1, 127, 128, 255])
    path.write_bytes(mutant)
    try:
        SmartReplyInterpreter(path).replies("a b c. d e f?")
    except ModelError as error:
        refused += bool(str(error))
path.unlink()
path.parent.rmdir()
print(refused)
"""


def test_no_damage_ends_the_process() -> None:
    """400 damaged files, cut or with wrong bytes: each loads or is refused with a message."""
    done = subprocess.run([sys.executable, "-c", MUTATIONS], capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) > 100


def test_another_version_of_the_runtime_is_refused() -> None:
    code = "import tflite_runtime; tflite_runtime.__version__ = '2.15.0'; import ext._tflite_ops"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 1
    assert "ImportError: tflite-runtime 2.15.0 is installed, but these operators are compiled for 2.14.0" in done.stderr


@pytest.mark.parametrize("ports", [((99, "message"), (0, "message")), ((0, "other"), (0, "message"))])
def test_a_session_needs_the_ports_that_it_is_told(ports: tuple[tuple[int, str], tuple[int, str]]) -> None:
    interpreter = InterpreterWithCustomOps(
        model_content=small_parts().graph(), custom_op_registerers=[_tflite_ops.register_operators]
    )
    message, texts = (_tflite_ops.Port(*port) for port in ports)
    with pytest.raises(ValueError, match="tensor"):
        _tflite_ops.Session(interpreter, message, texts, texts, [])
    with pytest.raises(ValueError, match="one operator Normalize"):
        _tflite_ops.Session(interpreter, message, texts, texts, [])
