"""Files that are no Smart Reply model, or a damaged one: refused with what is wrong."""

from __future__ import annotations

import dataclasses
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import tflite

from ext import _smart_reply
from scripts.smart_reply_graph import GraphWriter
from server.errors import ModelError
from server.models.smart_reply_engine import SmartReplyInterpreter
from tests.support.smart_reply_models import small_parts, variant

if TYPE_CHECKING:
    from collections.abc import Callable


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


def with_seeds(hashes: int, bits: int) -> bytes:
    """The small model with other seeds."""
    return dataclasses.replace(small_parts(), seeds=np.ones((hashes, bits), dtype=np.float32)).graph()


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
        lambda: variant(small_parts(), skip_gram=(100, 100, True)),
        "SKIP_GRAM: the n-grams must be of 1 to 5 words",
    ),
    "no n-grams": (lambda: variant(small_parts(), skip_gram=(0, 2, True)), "n-grams must be of 1 to 5 words"),
    "a projection of no kind": (lambda: variant(small_parts(), projection=0), "sparse or dense"),
    "too many bits": (lambda: with_seeds(4, 33), "at least one hash, of 1 to 32 bits"),
    "no hashes": (lambda: with_seeds(0, 12), "at least one hash"),
    "signatures over 32 bits": (lambda: with_seeds(60, 28), "32-bit signatures"),
    "ids that are not sorted": (lambda: variant(small_parts(), ids=[*range(11), 3]), "must be sorted"),
    "an id twice": (lambda: variant(small_parts(), ids=[*range(11), 10]), "none there twice"),
    "fewer ids than responses": (lambda: variant(small_parts(), ids=range(11)), "as many responses, strings, as ids"),
    "only one operator": (lambda: one_operator("Normalize"), "no Smart Reply graph"),
    "no operators": (lambda: GraphWriter().finish([], [], "empty"), "no Smart Reply graph"),
    "an unknown operator": (lambda: one_operator("Conjure"), "Conjure"),
    "responses that nobody wrote": (
        lambda: variant(small_parts(), given_responses=False),
        "response_text must be a constant",
    ),
    "labels that nobody wrote": (lambda: variant(small_parts(), chained=False), "HASHTABLE_LOOKUP does not read what"),
}


def one_operator(name: str) -> bytes:
    """A graph that is no Smart Reply."""
    writer = GraphWriter()
    tensors = [writer.variable(name, tflite.TensorType.STRING) for name in ("in", "out")]
    writer.custom(name, tensors[:1], tensors[1:])
    return writer.finish(tensors[:1], tensors[1:], name)


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


def with_options_of_reshape(sizes: list[int]) -> bytes:
    """A graph of another operator, whose options refer to a vector."""
    writer = GraphWriter()
    text, output = (writer.variable(name, tflite.TensorType.STRING) for name in ("text", "output"))
    shape = writer._indices(sizes)
    tflite.ReshapeOptionsStart(writer._builder)
    tflite.ReshapeOptionsAddNewShape(writer._builder, shape)
    options = tflite.BuiltinOptions.ReshapeOptions, tflite.ReshapeOptionsEnd(writer._builder)
    writer.builtin(tflite.BuiltinOperator.RESHAPE, [text], [output], options)
    return writer.finish([text], [output], "reshape")


def test_what_any_operators_options_refer_to_must_lie_in_the_file() -> None:
    """A runtime would follow it without looking."""
    graph = with_options_of_reshape([111, 222, 333])
    assert _smart_reply.ModelFile.copied(graph).operators == ["builtin 22"]
    sizes = np.array([3, 111, 222, 333], dtype="<i4").tobytes()
    assert graph.count(sizes) == 1
    wild = graph.replace(sizes, np.array([1 << 28, 111, 222, 333], dtype="<i4").tobytes())
    with pytest.raises(_smart_reply.ModelError, match="damaged: the BuiltinOptions, or what it refers to, at byte"):
        _smart_reply.ModelFile.copied(wild)


def test_a_name_without_an_end_is_refused() -> None:
    graph = small_parts().graph().replace(b"ExtractFeatures\0", b"ExtractFeatures!")
    with pytest.raises(_smart_reply.ModelError, match="the OperatorCode, or what it refers to, at byte"):
        _smart_reply.ModelFile.copied(graph)


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


@pytest.mark.slow
def test_no_damage_ends_the_process() -> None:
    """400 damaged files, cut or with wrong bytes: each loads or is refused with a message."""
    done = subprocess.run([sys.executable, "-c", MUTATIONS], capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) > 100
