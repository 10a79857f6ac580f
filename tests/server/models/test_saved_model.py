"""SavedModels online: behind the queue, with real TensorFlow processes."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import signal
import time
from array import array
from typing import TYPE_CHECKING, Any

import pytest
from structlog.testing import capture_logs

from server.config import Settings
from server.errors import ErrorCode, ModelError
from server.models import kinds
from server.models.capabilities import Capability
from server.models.registry import parse_location
from server.models.requests import AS_IT_IS, ITS_OWN_SCORES, RequestContext
from server.models.saved_model import Text, TextReader
from server.tensorflow.caller import Caller
from tests.server.tensorflow.model_server import ModelServer
from tests.server.tensorflow.models import LABELS
from tests.server.waiting import error_of, result
from tests.support.service import child_pids, is_running

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from pathlib import Path

TEXTS = ["Hello world!", "how are you", "", "Grüße \0 €", "how are you", "x " * 500]


def settings(**changes: Any) -> Settings:
    return Settings(**{"replicas": 2} | changes)


def context(timeout_s: float = 60) -> RequestContext:
    return RequestContext(0, time.monotonic_ns() + int(timeout_s * 1e9), None)


def processes() -> set[int]:
    """Child processes of this one."""
    return set(child_pids(os.getpid()))


def numbers(vector: bytes) -> list[float]:
    return array("f", vector).tolist()


@pytest.fixture(scope="module")
def server(saved_models: Path) -> Iterator[str]:
    """A URL of the sentence encoder's: a TensorFlow server that others keep running."""
    with ModelServer(saved_models / "sentence_encoder", "use") as running:
        yield running.url


@contextlib.asynccontextmanager
async def reading(url: str, name: str, labels: list[str] | None) -> AsyncIterator[TextReader]:
    """A reader of one of its signatures."""
    caller = Caller(url, 60, name)
    try:
        await asyncio.to_thread(caller.start)
        yield await asyncio.to_thread(TextReader, caller, labels)
    finally:
        caller.close()


def text(content: str) -> Text:
    return Text(content.encode(), time.monotonic() + 60)


async def test_vectors_of_a_folder_and_of_its_server_are_the_same(saved_models: Path, server: str) -> None:
    before = processes()
    local = await kinds.load(saved_models / "sentence_encoder", settings())
    (child,) = processes() - before
    remote = await kinds.load(f"{server}/1", settings())
    assert (local.kind, local.capabilities) == ("saved-model-vector", (Capability.EMBED,))
    assert local.details == {
        "input": "texts",
        "output": "vector",
        "dimensions": "64",
        "signature": "signature 'serving_default' (inputs: string[n] -> outputs: float[n, 64])",
    }
    vectors = [await result(local.embed(text, AS_IT_IS, context())) for text in TEXTS]
    assert vectors == [await result(remote.embed(text, AS_IT_IS, context())) for text in TEXTS]
    lengths = [sum(number**2 for number in numbers(vector)) for vector in vectors]
    assert lengths == pytest.approx([1, 1, 0, 1, 1, 1], abs=1e-5)
    assert vectors[1] == vectors[4] != vectors[0]
    assert await kinds.version_of(server) == "1"
    await local.close()
    await remote.close()
    assert not is_running(child)


async def test_a_batch_is_one_call_and_answers_do_not_depend_on_mates(server: str) -> None:
    alone = await kinds.load(server, settings())
    model = await kinds.load(server, settings(hold=40, batch_items=20))
    texts = [f"message {number} of many" for number in range(40)]
    pending = [model.embed(text, AS_IT_IS, context()) for text in texts]
    for text, each in zip(texts, pending, strict=True):
        expected = numbers(await result(alone.embed(text, AS_IT_IS, context())))
        assert numbers(await result(each)) == pytest.approx(expected, rel=1e-6)
    assert model.stats()["batches"] == 2
    await model.close()
    await alone.close()


async def test_a_text_over_the_limit_is_refused(server: str) -> None:
    model = await kinds.load(server, settings(max_message_bytes=10))

    async def embed(text: str) -> Any:
        return await model.embed(text, AS_IT_IS, context())

    await result(embed("x" * 10))
    error = await error_of(embed("x" * 11))
    assert (error.code, "setting max_message_bytes" in error.message) == (ErrorCode.TOO_LARGE, True)
    await model.close()


async def test_labels_and_scores_serve_predict(saved_model_server: str) -> None:
    async with reading(saved_model_server, "classes", None) as reader:
        assert reader.output == "labels"
        assert reader.answers([text("four"), text("")]) == [{"low": -4, "mid": 0, "high": 4}, dict.fromkeys(LABELS, 0)]


async def test_labels_of_a_file_make_a_vector_scores_and_a_bad_text_fails_alone(saved_model_server: str) -> None:
    async with reading(saved_model_server, "lengths", ["a", "b", "c"]) as reader:
        answers = reader.answers([text(each) for each in ("one", "", "three", "", "fifteen")])
    assert [answers[index] for index in (0, 2, 4)] == [{"a": -size, "b": 0, "c": size} for size in (3, 5, 7)]
    assert all("an empty text" in str(answers[index]) for index in (1, 3))
    with pytest.raises(ModelError, match=r"2 labels in a file for signature 'lengths' .*, which gives 3 scores"):
        async with reading(saved_model_server, "lengths", ["a", "b"]):
            pass


async def test_numbered_versions_and_a_file_of_labels_beside_them(saved_models: Path, tmp_path: Path) -> None:
    for version in ("2", "10", "x"):
        shutil.copytree(saved_models / "sentence_encoder", tmp_path / "versions" / version)
    (tmp_path / "versions" / "2" / "saved_model.pb").write_bytes(b"an old one")
    labels = [f"label {number}" for number in range(64)]
    (tmp_path / "versions.labels.txt").write_text("\n".join(labels))
    model = await kinds.load(tmp_path / "versions", settings())
    assert (model.kind, model.capabilities) == ("saved-model-labels", (Capability.CLASSIFY,))
    scores = await result(model.predict("Hello", ITS_OWN_SCORES, context()))
    assert list(scores) == labels
    assert sum(score**2 for score in scores.values()) == pytest.approx(1)
    await model.close()


async def test_a_killed_process_is_started_again_and_requests_wait_for_it(saved_models: Path) -> None:
    before = processes()
    model = await kinds.load(saved_models / "sentence_encoder", settings(replicas=1))
    vector = await result(model.embed("Hello", AS_IT_IS, context()))
    with capture_logs() as logs:
        os.kill((processes() - before).pop(), signal.SIGKILL)
        late = model.embed("Hello", AS_IT_IS, context(0.3))
        patient = model.embed("Hello", AS_IT_IS, context())
        assert (await error_of(late)).code == ErrorCode.DEADLINE_EXCEEDED
        assert await result(patient, timeout_s=60) == vector
    assert [entry["exit_code"] for entry in logs if "died" in entry["event"]] == [-signal.SIGKILL]
    await model.close()
    assert processes() <= before


async def test_a_server_that_is_gone(saved_models: Path) -> None:
    with ModelServer(saved_models / "sentence_encoder") as server:
        model = await kinds.load(server.url, settings())
        for url in (f"{server.url}2", f"{server.url}/2"):
            with pytest.raises(ModelError, match="no such model"):
                await kinds.load(url, settings())
    error = await error_of(model.embed("Hello", AS_IT_IS, context()))
    assert error.code == ErrorCode.UNAVAILABLE
    assert "the TensorFlow server cannot be reached" in error.message
    await model.close()
    with pytest.raises(ModelError, match=r"no answer from 127.0.0.1:\d+ in 0.5 s"):
        await kinds.load(server.url, settings(tensorflow_start_s=0.5))


async def test_a_signature_that_is_not_served_online(saved_models: Path) -> None:
    before = processes()
    folder = saved_models / "half_plus_two"
    with pytest.raises(ModelError) as caught:
        await kinds.load(folder, settings())
    assert str(caught.value) == (
        f"{folder}: signature 'serving_default' (x: float[n] -> y: float[n]) does not read texts; online a SavedModel"
        " reads string[n] and gives float[n, d], or string[n, k] with float[n, k]; batch jobs take any"
    )
    assert processes() <= before


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("fragile", "signature 'fragile' .* fails on the text 'Hello': the model failed: StringToNumberOp .*: Hello$"),
        ("echo", "signature 'echo' .* does not read texts"),
        ("sums", "signature 'sums' .* does not read texts"),
    ],
)
async def test_other_signatures_that_are_not(saved_model_server: str, name: str, message: str) -> None:
    with pytest.raises(ModelError, match=message):
        async with reading(saved_model_server, name, None):
            pass


@pytest.mark.parametrize(
    ("location", "message"),
    [
        ("tfserving://host/use", "is not of the form"),
        ("tfserving://host:99999/use", "is not of the form"),
        ("tfserving://host:1/use/new", "is not of the form"),
        ("tfserving://host:1/", "is not of the form"),
        ("tfserving://user@host:1/use", "is not of the form"),
        ("tests", "no kind of model that this server knows is in this folder"),
    ],
)
def test_locations_that_plainly_hold_no_model(location: str, message: str) -> None:
    with pytest.raises(ModelError, match=message):
        kinds.check(location)


@pytest.mark.parametrize(
    ("text", "name", "location"),
    [
        ("tfserving://host:8500/use", "use", "tfserving://host:8500/use"),
        ("tfserving://host:8500/use/3/", "use", "tfserving://host:8500/use/3/"),
        ("tfserving://[::1]:8500/a.b", "a.b", "tfserving://[::1]:8500/a.b"),
        ("u=tfserving://host:8500/use", "u", "tfserving://host:8500/use"),
    ],
)
def test_names_of_urls(text: str, name: str, location: str) -> None:
    assert parse_location(text) == (name, location)
    kinds.check(location)
