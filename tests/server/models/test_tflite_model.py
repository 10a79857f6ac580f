"""Any other TensorFlow Lite graph that reads one text: replies, vectors and labels, and what is refused at load.

The graphs are built here, of operators that every runtime has; their answers are compared with plain models of these.
"""

from __future__ import annotations

import importlib
import importlib.util
import os
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
from server.models.requests import AS_IT_IS, ITS_OWN_SCORES, ReplyFilter, RequestContext
from tests.server.waiting import error_of, result
from tests.support.plain_smart_reply import fingerprint64
from tests.support.service import ROOT
from tests.support.smart_reply_models import google_model

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

KIND, CODE = tflite.TensorType, tflite.BuiltinOperator
SPARSE, DENSE = tflite.LSHProjectionType.SPARSE, tflite.LSHProjectionType.DENSE
SEEDS = np.random.default_rng(3).uniform(0, 9, (2, 3)).astype(np.float32)
TEXTS = ["Hello", "see you at ten", "", "thank you so much", "\U0001f600 \0 é"]
REPLIES = ["yes", "no", "", "maybe", "yes", "never", "ok", "fine"] * 2
"""By signature, of which the first three bits are random; one reply is empty, and some are the same."""
SCORES = np.random.default_rng(4).uniform(0, 1, len(REPLIES)).astype(np.float32)


class Graph(GraphWriter):
    """From one text to bits of its hashes: what all graphs here begin with."""

    def __init__(self, shape: tuple[int, ...] = (), kind: int = DENSE) -> None:
        super().__init__()
        self.text = self.variable("text", KIND.STRING, shape)
        self.bits = self.variable("bits", KIND.INT32)
        self.builtin(
            CODE.LSH_PROJECTION, [self.constant("seed", SEEDS), self.text], [self.bits], self.projection_options(kind)
        )

    def cast(self, tensor: int, name: str, kind: int) -> int:
        """The same numbers of another type."""
        output = self.variable(name, kind)
        self.builtin(CODE.CAST, [tensor], [output])
        return output


def bits_graph(shape: tuple[int, ...] = ()) -> bytes:
    """One string in; each bit of the dense projection as a float."""
    graph = Graph(shape)
    return graph.finish([graph.text], [graph.cast(graph.bits, "vector", KIND.FLOAT32)], "bits")


def bits(text: str) -> list[float]:
    """What it answers: the sign of each seed's hash of the whole tensor, which holds the text behind its offsets."""
    content = np.array([1, 12, 12 + len(text.encode())], dtype="<i4").tobytes() + text.encode()
    return [float(0 < fingerprint64(seed.tobytes() + content) < 1 << 63) for seed in SEEDS.ravel()]


def places_graph() -> bytes:
    """One string in; the places of the bits that are set: more or fewer numbers for each text."""
    graph = Graph()
    places = graph.variable("places", KIND.INT64)
    graph.builtin(CODE.WHERE, [graph.cast(graph.bits, "set", KIND.BOOL)], [places])
    return graph.finish([graph.text], [graph.cast(places, "vector", KIND.FLOAT32)], "places")


def replies_graph(*, scores_first: bool = False) -> bytes:
    """Strings and scores out, as Smart Reply's, but not its graph."""
    graph = Graph((1,), SPARSE)
    keys = graph.constant("key", np.arange(len(REPLIES), dtype=np.int32))
    replies, scores = graph.variable("reply", KIND.STRING), graph.variable("score", KIND.FLOAT32)
    texts, weights = graph.strings("text", [text.encode() for text in REPLIES]), graph.constant("weight", SCORES)
    for values, output in ((texts, replies), (weights, scores)):
        hits = graph.variable("hit", KIND.UINT8)
        graph.builtin(CODE.HASHTABLE_LOOKUP, [graph.bits, keys, values], [output, hits])
    return graph.finish([graph.text], [scores, replies] if scores_first else [replies, scores], "replies")


def plain_replies(messages: list[str]) -> dict[str, float]:
    """What it answers, best first."""
    sums: dict[str, float] = {}
    for message in messages:
        found = bits(message)
        for row in range(2):
            signature = int("".join(str(int(bit)) for bit in found[3 * row : 3 * row + 3]), 2) + (row << 3)
            if text := REPLIES[signature]:
                sums[text] = sums.get(text, 0.0) + float(SCORES[signature])
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
    assert [numbers(await result(model.embed(text, AS_IT_IS, context()))) for text in TEXTS] == [
        bits(text) for text in TEXTS
    ]
    await model.close()


async def test_a_file_of_labels_makes_it_predict(load: Callable[..., Any]) -> None:
    labels = "a\nb\nc\nd\ne\nü f\n"
    model = await load(bits_graph(), labels)
    assert (model.kind, model.capabilities) == ("tflite-labels", (Capability.CLASSIFY,))
    for text in TEXTS:
        assert await result(model.predict(text, ITS_OWN_SCORES, context())) == dict(
            zip(labels.splitlines(), bits(text), strict=True)
        )
    await model.close()


@pytest.mark.parametrize("scores_first", [False, True])
async def test_strings_and_scores_serve_reply(load: Callable[..., Any], scores_first: bool) -> None:
    model = await load(replies_graph(scores_first=scores_first))
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
    pending = [model.embed(text, AS_IT_IS, context()) for text in texts]
    assert [numbers(await result(each)) for each in pending] == [bits(text) for text in texts]
    assert model.stats()["batches"] == 5
    await model.close()
    assert not any(thread.is_alive() for thread in model._threads)


async def test_a_text_on_which_the_graph_fails_fails_alone(load: Callable[..., Any]) -> None:
    """Its vector has another number of numbers than that of the text at load."""
    wanted = sum(bits("Hello"))
    texts = [f"text {number}" for number in range(40)]
    like, other = (next(text for text in texts if (sum(bits(text)) == wanted) is same) for same in (True, False))
    model = await load(places_graph(), hold=3)
    with capture_logs() as logs:
        pending = [model.embed(text, AS_IT_IS, context()) for text in ("Hello", other, like)]
        error = await error_of(pending[1])
    assert error.code == ErrorCode.INTERNAL
    assert [entry["error"] for entry in logs] == [f"{sum(bits(other)):g} numbers came out instead of {wanted:g}"]
    for answer, text in ((pending[0], "Hello"), (pending[2], like)):
        assert numbers(await result(answer)) == [float(place) for place, bit in enumerate(bits(text)) if bit]
    await model.close()


async def test_a_text_over_the_limit_is_refused(load: Callable[..., Any]) -> None:
    model = await load(bits_graph(), max_message_bytes=10)

    async def embed(text: str) -> Any:
        return await model.embed(text, AS_IT_IS, context())

    await result(embed("x" * 10))
    error = await error_of(embed("x" * 11))
    assert (error.code, "setting max_message_bytes" in error.message) == (ErrorCode.TOO_LARGE, True)
    await model.close()


# ------------------------------------------------------------------------------------------------------------ refused


def other_graph(inputs: list[int], outputs: list[int]) -> bytes:
    """Strings come in by one tensor, numbers by another; each kind of output is there."""
    graph = Graph()
    number, ngrams = graph.variable("number", KIND.FLOAT32, (1,)), graph.variable("ngrams", KIND.STRING)
    graph.builtin(CODE.SKIP_GRAM, [graph.text], [ngrams], graph.skip_gram_options())
    tensors = [graph.text, number, ngrams, graph.bits, graph.cast(graph.bits, "vector", KIND.FLOAT32)]
    return graph.finish([tensors[i] for i in inputs], [tensors[i] for i in outputs], "other")


def custom(name: str) -> bytes:
    """A graph whose operator nobody knows."""
    graph = GraphWriter()
    text, output = graph.variable("text", KIND.STRING), graph.variable("output", KIND.STRING)
    graph.custom(name, [text], [output])
    return graph.finish([text], [output], name)


def with_wild_string() -> bytes:
    """A reply that lies outside of the file."""
    graph = bytearray(replies_graph())
    first = 4 * (len(REPLIES) + 2)
    begin = graph.index(np.array([first, first + len(REPLIES[0])], dtype="<i4").tobytes())
    graph[begin + 7] = 0x40
    return bytes(graph)


class Crafted(Graph):
    """With its seeds in another place or form."""

    def __init__(self, place: tuple[int, int] | None = None, *, is_sparse: bool = False) -> None:
        self.place, self.is_sparse = place, is_sparse
        super().__init__()

    def _buffer(self, content: bytes) -> int:
        if self.place is None or content != SEEDS.tobytes():
            return super()._buffer(content)
        tflite.BufferStart(self._builder)
        tflite.BufferAddOffset(self._builder, self.place[0])
        tflite.BufferAddSize(self._builder, self.place[1])
        return int(tflite.BufferEnd(self._builder))

    def _tensor(self, name: str, kind: int, shape: Any, buffer: int) -> int:
        if not self.is_sparse or name != "seed":
            return super()._tensor(name, kind, shape, buffer)
        builder = self._builder
        encoded_name, encoded_shape = builder.CreateString(name), self._indices(shape)
        tflite.SparsityParametersStart(builder)
        sparsity = tflite.SparsityParametersEnd(builder)
        tflite.TensorStart(builder)
        tflite.TensorAddName(builder, encoded_name)
        tflite.TensorAddType(builder, kind)
        tflite.TensorAddShape(builder, encoded_shape)
        tflite.TensorAddBuffer(builder, buffer)
        tflite.TensorAddSparsity(builder, sparsity)
        self._tensors.append(tflite.TensorEnd(builder))
        return len(self._tensors) - 1

    def written(self) -> bytes:
        return self.finish([self.text], [self.cast(self.bits, "vector", KIND.FLOAT32)], "crafted")


def behind_the_flatbuffer() -> bytes:
    """As writers of large models do it."""
    size = SEEDS.nbytes
    begin = -(-len(Crafted((2, size)).written()) // 16) * 16
    return Crafted((begin, size)).written().ljust(begin, b"\0") + SEEDS.tobytes()


def with_wild_options(offset: int, size: int) -> bytes:
    """An operator of somebody's own, whose options lie elsewhere."""
    graph = GraphWriter()
    builder = graph._builder
    text, output = graph.variable("text", KIND.STRING), graph.variable("output", KIND.STRING)
    code, inputs, outputs = graph._code(CODE.CUSTOM, "Conjure"), graph._indices([text]), graph._indices([output])
    tflite.OperatorStart(builder)
    tflite.OperatorAddOpcodeIndex(builder, code)
    tflite.OperatorAddInputs(builder, inputs)
    tflite.OperatorAddOutputs(builder, outputs)
    tflite.OperatorAddLargeCustomOptionsOffset(builder, offset)
    tflite.OperatorAddLargeCustomOptionsSize(builder, size)
    graph._operators.append(tflite.OperatorEnd(builder))
    return graph.finish([text], [output], "options")


def with_content_for_none() -> bytes:
    """The buffer that stands for none has content, which no runtime gives to a tensor."""
    graph = Graph()
    graph._buffers[0] = graph._buffer(b"1234")
    number, total = graph.variable("number", KIND.INT32, (1,)), graph.variable("total", KIND.INT32)
    graph.builtin(CODE.MAXIMUM, [graph.bits, number], [total])
    return graph.finish([graph.text], [graph.cast(total, "vector", KIND.FLOAT32)], "none")


def with_a_resource() -> bytes:
    """A table's handle that is given, though nobody checks of how many bytes it is."""
    graph = Graph()
    graph._buffers.append(graph._buffer(b"1"))
    graph._tensor("table", KIND.RESOURCE, (1,), len(graph._buffers) - 1)
    return graph.finish([graph.text], [graph.cast(graph.bits, "vector", KIND.FLOAT32)], "resource")


async def test_content_may_lie_behind_the_flatbuffer(load: Callable[..., Any]) -> None:
    model = await load(behind_the_flatbuffer())
    for text in TEXTS:
        assert numbers(await result(model.embed(text, AS_IT_IS, context()))) == bits(text)
    await model.close()


WRAPS = 2**64 - 16


@pytest.mark.parametrize(
    ("graph", "message"),
    [
        (lambda: Crafted((WRAPS, 24)).written(), f"buffer 1 has 24 bytes from byte {WRAPS} on, which the file's"),
        (lambda: Crafted((WRAPS, 2**64 - 1)).written(), f"bytes from byte {WRAPS} on, which"),
        (lambda: Crafted((2, 2**64 - 1)).written(), f"buffer 1 has {2**64 - 1} bytes from byte 2 on, which"),
        (lambda: Crafted((1 << 20, 24)).written(), "buffer 1 has 24 bytes from byte 1048576 on, which"),
        (lambda: behind_the_flatbuffer()[:-1], "buffer 1 has 24 bytes from byte"),
        (lambda: Crafted((2**40, 1)).written(), r"operator 0 reads tensor \d+, which nobody wrote"),
        (lambda: with_wild_options(WRAPS, 24), f"an operator's options have 24 bytes from byte {WRAPS} on"),
        (lambda: with_wild_options(2, 2**64 - 1), "an operator's options have"),
        (with_content_for_none, r"operator 1 reads tensor \d+, which nobody wrote"),
        (lambda: Crafted(is_sparse=True).written(), r"tensor \d+ is sparse, which is not served"),
        (with_a_resource, r"tensor \d+ is a resource with content of its own"),
    ],
)
async def test_content_that_no_runtime_checks_is_refused(
    load: Callable[..., Any], graph: Callable[[], bytes], message: str
) -> None:
    with pytest.raises(ModelError, match=message):
        await load(graph())


@pytest.mark.parametrize(
    ("graph", "message"),
    [
        (lambda: other_graph([0, 1], [4]), r"the inputs are text \(bytes_\), number \(float32\)"),
        (lambda: other_graph([1], [4]), "operator 0 reads tensor 0, which nobody wrote"),
        (lambda: other_graph([0], [3]), r"the outputs are bits \(int32\)"),
        (lambda: other_graph([0], [2]), r"the outputs are ngrams \(bytes_\)"),
        (lambda: other_graph([0], [4, 3]), r"the outputs are vector \(float32\), bits \(int32\)"),
        (lambda: bits_graph((2,)), r"one string is all that a request carries, but the inputs are text"),
        (lambda: custom("Conjure"), "Conjure"),
        (lambda: custom("Normalize"), "Normalize"),
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
    assert "\n" not in str(caught.value)


async def test_a_pipe_beside_it_is_not_waited_for(load: Callable[..., Any], tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "model.tflite.labels.txt")
    with pytest.raises(ModelError, match=r"model\.tflite\.labels\.txt is no regular file"):
        await load(bits_graph())


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
from tests.server.models.test_tflite_model import bits_graph, places_graph, replies_graph
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
    for graph in (bits_graph(), replies_graph(), places_graph(), small_parts().graph()):
        for _ in range(150):
            damaged = bytearray(graph)
            for _ in range(chance.randint(1, 4)):
                damaged[chance.randrange(8, len(damaged))] = chance.choice((0, 1, 255, chance.randrange(256)))
            count += await refused(pathlib.Path(sys.argv[1]), damaged)
    print(count)

asyncio.run(main())
"""


@pytest.mark.slow
def test_no_damage_ends_the_process(tmp_path: Path) -> None:
    """600 damaged files of four graphs: each loads, as what it then is, or is refused with a message."""
    command = [sys.executable, "-c", DAMAGE, str(tmp_path / "damaged.tflite")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    assert 100 < int(done.stdout) < 600


# ----------------------------------------------------------------------------------------------------------- runtimes


def hide(monkeypatch: pytest.MonkeyPatch, *packages: str) -> None:
    """As if they were not installed."""
    for package in packages:
        monkeypatch.delitem(sys.modules, f"{package}.interpreter", raising=False)
        monkeypatch.setitem(sys.modules, package, None)


async def test_without_a_runtime_the_refusal_names_what_to_install(
    load: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    hide(monkeypatch, "tflite_runtime", "ai_edge_litert")
    with pytest.raises(ModelError) as caught:
        await load(bits_graph())
    for package in (
        "pip install tflite-runtime 'numpy<2'` (Python 3.11)",
        "pip install ai-edge-litert` (later ones too)",
    ):
        assert package in str(caught.value)
    assert "is here" not in str(caught.value)


async def test_a_runtime_that_cannot_be_imported_is_named(
    load: Callable[..., Any], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    package = tmp_path / "ai_edge_litert"
    package.mkdir()
    (package / "__init__.py").touch()
    (package / "interpreter.py").write_text("import a_library_that_is_missing")
    monkeypatch.syspath_prepend(tmp_path)
    for module in ("ai_edge_litert.interpreter", "ai_edge_litert"):
        monkeypatch.delitem(sys.modules, module, raising=False)
    hide(monkeypatch, "tflite_runtime")
    with pytest.raises(ModelError, match="ai_edge_litert is here, but cannot be imported: No module named 'a_library"):
        await load(bits_graph())
    sys.modules.pop("ai_edge_litert", None)


async def test_the_other_runtime_will_do(load: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """Under its name the one that is installed stands in: they have the same interface."""
    names = ("tflite_runtime", "ai_edge_litert")
    here, other = names if importlib.util.find_spec(names[0]) else reversed(names)
    interpreter = importlib.import_module(f"{here}.interpreter")
    hide(monkeypatch, here)
    monkeypatch.setitem(sys.modules, other, sys)
    monkeypatch.setitem(sys.modules, f"{other}.interpreter", interpreter)
    model = await load(bits_graph())
    assert numbers(await result(model.embed("Hello", AS_IT_IS, context()))) == bits("Hello")
    await model.close()


async def test_smart_reply_needs_no_runtime(monkeypatch: pytest.MonkeyPatch) -> None:
    hide(monkeypatch, "tflite_runtime", "ai_edge_litert")
    model: Any = await kinds.load(google_model(), Settings(replicas=1))
    assert model.kind == "smart-reply"
    await model.close()
