"""Any other TensorFlow Lite graph that reads one text: replies, vectors and labels, and what is refused at load.

The graphs are built here, of the projection's operators; their answers are compared with the plain model of these.
"""

from __future__ import annotations

import struct
import subprocess
import sys
import time
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import tflite
from structlog.testing import capture_logs

from scripts.smart_reply_graph import GraphWriter
from server.config import Settings
from server.errors import ErrorCode, ModelError
from server.models import kinds
from server.models.capabilities import Capability
from server.models.requests import ReplyFilter, RequestContext
from tests.server.waiting import error_of, result
from tests.support.plain_smart_reply import features, ngrams, normalized, predicted, projection_sum, signatures
from tests.support.service import ROOT
from tests.support.smart_reply_models import small_parts

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

KIND, CODE = tflite.TensorType, tflite.BuiltinOperator
SEEDS = np.random.default_rng(3).uniform(0, 9, (2, 3)).astype(np.float32)
TEXTS = ["Hello", "see you at ten", "", "thank you so much", "\U0001f600 \0 é"]


class Graph(GraphWriter):
    """From one text to its features: what all graphs here begin with."""

    def __init__(self, shape: tuple[int, ...] = (), *, normalize: bool = True) -> None:
        super().__init__()
        self.text = self.variable("text", KIND.STRING, shape)
        self.ngrams = self.variable("ngrams", KIND.STRING)
        self.ids, self.weights = self.variable("id", KIND.INT32), self.variable("weight", KIND.FLOAT32)
        text = self.text
        if normalize:
            text = self.variable("normalized", KIND.STRING)
            self.custom("Normalize", [self.text], [text])
        self.builtin(CODE.SKIP_GRAM, [text], [self.ngrams], self.skip_gram_options(3, 2))
        self.custom("ExtractFeatures", [self.ngrams], [self.ids, self.weights])

    def projected(self, kind: int, seeds: np.ndarray) -> int:
        """The projection of the features."""
        output = self.variable("projection", KIND.INT32)
        inputs = [self.constant("seed", seeds), self.ids, self.weights]
        self.builtin(CODE.LSH_PROJECTION, inputs, [output], self.projection_options(kind))
        return output


def bits_graph(shape: tuple[int, ...] = ()) -> bytes:
    """One string in; each bit of the dense projection as a float."""
    graph = Graph(shape)
    bits = graph.projected(tflite.LSHProjectionType.DENSE, SEEDS)
    vector = graph.variable("vector", KIND.FLOAT32)
    graph.builtin(CODE.CAST, [bits], [vector])
    return graph.finish([graph.text], [vector], "bits")


def bits(text: str) -> list[float]:
    """What it answers."""
    ids, weights = features(ngrams(normalized(text.encode())))
    return [float(projection_sum(seed, ids, weights) > 0) for seed in SEEDS.ravel()]


def reply_graph_without_normalize(*, scores_first: bool) -> bytes:
    """Strings and scores out, as Smart Reply's, but not its graph."""
    parts = small_parts()
    graph = Graph((1,), normalize=False)
    found = graph.projected(tflite.LSHProjectionType.SPARSE, parts.seeds)
    labels, scores = graph.variable("label", KIND.INT32), graph.variable("score", KIND.FLOAT32)
    table = [graph.constant(name, getattr(parts.table, name)) for name in ("keys", "labels", "weights")]
    graph.custom("Predict", [found, *table], [labels, scores], struct.pack("<if", 6, 0.2))
    ids = graph.constant("response_id", np.arange(len(parts.responses), dtype=np.int32))
    responses = graph.strings("response_text", [response.encode() for response in parts.responses])
    replies, hits = graph.variable("reply", KIND.STRING), graph.variable("hit", KIND.UINT8)
    graph.builtin(CODE.HASHTABLE_LOOKUP, [labels, ids, responses], [replies, hits])
    outputs = [scores, replies] if scores_first else [replies, scores]
    return graph.finish([graph.text], outputs, "replies")


def plain_replies(messages: list[str]) -> dict[str, float]:
    """What it answers, best first."""
    parts = small_parts()
    sums: dict[str, float] = {}
    for message in messages:
        found = signatures(parts.seeds, *features(ngrams(message.encode())))
        table = parts.table
        for label, score in predicted(found, table.keys, table.labels, table.weights, 6, 0.2):
            if text := parts.responses[label]:
                sums[text] = sums.get(text, 0.0) + float(score)
    return dict(sorted(sums.items(), key=lambda pair: (-pair[1], pair[0])))


def context() -> RequestContext:
    return RequestContext(0, time.monotonic_ns() + 30 * 10**9, None)


def numbers(vector: bytes) -> list[float]:
    return np.frombuffer(vector, "<f4").tolist()


@pytest.fixture
def load(tmp_path: Path) -> Callable[..., Any]:
    """load(graph, labels=text, **settings): the model of a file, with a file of labels beside it."""

    async def load(graph: bytes, labels: str | bytes | None = None, **settings: Any) -> Any:
        path = tmp_path / "model.tflite"
        path.write_bytes(graph)
        if labels is not None:
            beside = tmp_path / "model.tflite.labels.txt"
            beside.write_bytes(labels if isinstance(labels, bytes) else labels.encode())
        return await kinds.load(path, Settings(**{"replicas": 2} | settings))

    return load


@pytest.mark.parametrize("shape", [(), (1,), (1, 1)])
async def test_a_float_vector_serves_embed(load: Callable[..., Any], shape: tuple[int, ...]) -> None:
    model = await load(bits_graph(shape))
    assert (model.kind, model.capabilities) == ("tflite-vector", (Capability.EMBED,))
    assert model.details["dimensions"] == "6"
    assert [numbers(await result(model.embed(text, True, context()))) for text in TEXTS] == [
        bits(text) for text in TEXTS
    ]
    await model.close()


async def test_a_file_of_labels_makes_it_predict(load: Callable[..., Any]) -> None:
    labels = "a\nb\nc\nd\ne\nü f\n"
    model = await load(bits_graph(), labels)
    assert (model.kind, model.capabilities) == ("tflite-labels", (Capability.CLASSIFY,))
    for text in TEXTS:
        assert await result(model.predict(text, context())) == dict(zip(labels.splitlines(), bits(text), strict=True))
    await model.close()


@pytest.mark.parametrize("scores_first", [False, True])
async def test_strings_and_scores_serve_reply(load: Callable[..., Any], scores_first: bool) -> None:
    model = await load(reply_graph_without_normalize(scores_first=scores_first))
    assert (model.kind, model.capabilities) == ("tflite-replies", (Capability.REPLY,))
    for messages in ([], ["a b c d"], ["a b c d", "c d e", "a b c d"]):
        wanted = plain_replies(messages)
        found = await result(model.reply(messages, ReplyFilter(), context()))
        assert found == pytest.approx(wanted, rel=1e-6)
        assert list(found.values()) == sorted(found.values(), reverse=True)
        two = await result(model.reply(messages, ReplyFilter(2, 0.3), context()))
        assert list(two.items()) == [pair for pair in found.items() if pair[1] >= 0.3][:2]
    await model.close()


async def test_answers_do_not_depend_on_mates_and_every_worker_answers(load: Callable[..., Any]) -> None:
    model = await load(bits_graph(), hold=40, batch_items=8)
    texts = [f"message {number} of many" for number in range(40)]
    pending = [model.embed(text, True, context()) for text in texts]
    assert [numbers(await result(each)) for each in pending] == [bits(text) for text in texts]
    assert model.stats()["batches"] == 5
    await model.close()
    assert not any(thread.is_alive() for thread in model._threads)


async def test_a_text_on_which_the_graph_fails_fails_alone(load: Callable[..., Any]) -> None:
    """Its vector has a number for each n-gram: only texts of one word, as the one at load, give as many."""
    graph = Graph()
    model = await load(graph.finish([graph.text], [graph.weights], "weights"), hold=3)
    with capture_logs() as logs:
        pending = [model.embed(text, True, context()) for text in ("one", "two words", "three")]
        error = await error_of(pending[1])
    assert error.code == ErrorCode.INTERNAL
    assert [entry["error"] for entry in logs] == ["14 numbers came out instead of 7"]
    weights = features(ngrams(b"<S> one <E>"))[1]
    assert numbers(await result(pending[0])) == numbers(await result(pending[2])) == weights
    await model.close()


async def test_a_text_over_the_limit_is_refused(load: Callable[..., Any]) -> None:
    model = await load(bits_graph(), max_message_bytes=10)

    async def embed(text: str) -> Any:
        return await model.embed(text, True, context())

    await result(embed("x" * 10))
    error = await error_of(embed("x" * 11))
    assert (error.code, "setting max_message_bytes" in error.message) == (ErrorCode.TOO_LARGE, True)
    await model.close()


# ------------------------------------------------------------------------------------------------------------ refused


def other_graph(inputs: list[int], outputs: list[int]) -> bytes:
    """Strings come in by one tensor, numbers by another; each kind of output is there."""
    graph = Graph()
    number = graph.variable("number", KIND.FLOAT32, (1,))
    tensors = [graph.text, number, graph.ngrams, graph.ids, graph.weights]
    return graph.finish([tensors[i] for i in inputs], [tensors[i] for i in outputs], "other")


def reading(name: str) -> bytes:
    """A graph whose operator reads what nobody wrote, or does what nobody knows."""
    graph = GraphWriter()
    text, loose = graph.variable("text", KIND.STRING), graph.variable("loose", KIND.STRING)
    output = graph.variable("output", KIND.STRING)
    if name == "unwritten":
        graph.custom("Normalize", [loose], [output])
    else:
        graph.custom("Conjure", [text], [output])
    return graph.finish([text], [output], name)


def with_wild_string() -> bytes:
    """A reply that lies outside of the file."""
    graph = bytearray(reply_graph_without_normalize(scores_first=False))
    begin = graph.index(np.array([12, 4 * 14], dtype="<i4").tobytes())
    graph[begin + 11] = 0x40
    return bytes(graph)


@pytest.mark.parametrize(
    ("graph", "message"),
    [
        (lambda: other_graph([0, 1], [4]), r"the inputs are text \(bytes_\), number \(float32\)"),
        (lambda: other_graph([1], [4]), r"the inputs are number \(float32\)"),
        (lambda: other_graph([0], [3]), r"the outputs are id \(int32\)"),
        (lambda: other_graph([0], [2]), r"the outputs are ngrams \(bytes_\)"),
        (lambda: other_graph([0], [4, 3]), r"the outputs are weight \(float32\), id \(int32\)"),
        (lambda: bits_graph((2,)), r"one string is all that a request carries, but the inputs are text"),
        (lambda: reading("unwritten"), "operator 0 reads tensor 1, which nobody wrote"),
        (lambda: reading("unknown"), "Conjure"),
        (lambda: with_wild_string(), r"tensor \d+ has an offset of \d+ at string 1"),
        (lambda: bits_graph()[:-100], "no TensorFlow Lite model, or damaged"),
        (lambda: b"\x1c\0\0\0TFL3" + bytes(100), "no TensorFlow Lite model, or damaged"),
    ],
)
async def test_what_cannot_be_served_is_refused_at_load(
    load: Callable[..., Any], graph: Callable[[], bytes], message: str
) -> None:
    with pytest.raises(ModelError, match=message) as caught:
        await load(graph())
    assert "model.tflite: " in str(caught.value)


async def test_settings_that_do_not_fit_together_are_refused(load: Callable[..., Any]) -> None:
    with pytest.raises(ModelError, match="hold must be at most queue_items"):
        await load(bits_graph(), hold=5000)


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        ("a\nb\n", "2 labels for 6 scores"),
        ("", "0 labels for 6 scores"),
        ("a\nb\nc\nd\ne\na\n", "one a line, none empty and none twice"),
        ("a\nb\n\nd\ne\nf\n", "one a line, none empty and none twice"),
        (b"a\nb\nc\nd\ne\n\xff\n", "model.tflite.labels.txt: not UTF-8"),
    ],
)
async def test_labels_that_do_not_fit_are_refused(load: Callable[..., Any], labels: str | bytes, message: str) -> None:
    with pytest.raises(ModelError, match=message):
        await load(bits_graph(), labels)


DAMAGE = """
import asyncio, pathlib, random, sys
from server.config import Settings
from server.models import kinds
from server.errors import ModelError
from tests.server.models.test_tflite_model import bits_graph, reply_graph_without_normalize
from tests.support.service import ROOT
from tests.support.smart_reply_models import small_parts

async def refused(path, content):
    path.write_bytes(content)
    try:
        model = await kinds.load(path, Settings(replicas=1))
    except ModelError as error:
        return bool(str(error))
    await model.close()
    return False

async def main():
    chance, count = random.Random(1), 0
    for graph in (bits_graph(), reply_graph_without_normalize(scores_first=False), small_parts().graph()):
        for _ in range(150):
            damaged = bytearray(graph)
            for _ in range(chance.randint(1, 4)):
                damaged[chance.randrange(8, len(damaged))] = chance.choice((0, 1, 255, chance.randrange(256)))
            count += await refused(pathlib.Path(sys.argv[1]), damaged)
    print(count)

asyncio.run(main())
"""


def test_no_damage_ends_the_process(tmp_path: Path) -> None:
    """450 damaged files of three graphs: each loads, as what it then is, or is refused with a message."""
    command = [sys.executable, "-c", DAMAGE, str(tmp_path / "damaged.tflite")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    assert 100 < int(done.stdout) < 450
