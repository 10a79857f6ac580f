"""SavedModels in the service, from its command line to its end: kills, limits, and a machine without TensorFlow."""

from __future__ import annotations

import os
import signal
from typing import TYPE_CHECKING, Any

import pytest
from predictor.ttypes import EmbedOptions, ModelState, RequestOptions

from tests.server.tensorflow.model_server import ModelServer
from tests.support.service import Service, child_pids, eventually, is_running, run_server

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

JSON = {"Content-Type": "application/json"}
TEXTS = ["Hello world!", "How are you today?", ""]

WITHOUT_TENSORFLOW = """
import importlib.machinery as machinery

real = machinery.PathFinder.find_spec

def find_spec(name, path=None, target=None):
    return None if name.partition(".")[0] in ("tensorflow", "tensorflow_serving", "grpc") else real(name, path, target)

machinery.PathFinder.find_spec = find_spec
"""


@pytest.fixture(scope="module")
def running(saved_models: Path) -> Iterator[Service]:
    """The encoder in its own process, and by URL on another's."""
    folder = saved_models / "sentence_encoder"
    with (
        ModelServer(folder, "use") as server,
        Service(folder, f"--model=remote={server.url}", "--replicas=1") as service,
    ):
        yield service


def tensorflow_of(service: Service) -> int:
    """The process id of its TensorFlow process."""
    command_lines = {pid: read(f"/proc/{pid}/cmdline") for pid in child_pids(service.pid)}
    (pid,) = (pid for pid, line in command_lines.items() if b"server.tensorflow.model_server" in line)
    return pid


def read(path: str) -> bytes:
    with open(path, "rb") as file:  # noqa: PTH123
        return file.read()


def test_models_are_listed_with_their_signatures(running: Service) -> None:
    with running.client() as predictor:
        local, remote = predictor.list_models()
    assert (local.name, local.kind, local.state) == ("sentence_encoder", "saved-model-vector", ModelState.READY)
    assert (remote.name, remote.version, remote.location[:12]) == ("remote", "1", "tfserving://")
    assert len(local.version) == 12
    assert local.default_for == ["embed", "embed_batch", "embed_matrix"]
    assert local.details == remote.details
    assert local.details["dimensions"] == "64"


def test_texts_are_embedded_over_thrift_and_http(running: Service) -> None:
    with running.client() as predictor:
        vectors = predictor.embed_batch(TEXTS, None, EmbedOptions(truncate=False))
        assert predictor.embed(TEXTS[0], RequestOptions(model="remote"), None) == vectors[0]
        matrix = predictor.embed_matrix(TEXTS, None, None)
    assert (matrix.rows, matrix.columns) == (3, 64)
    assert [len(vector) for vector in vectors] == [64, 64, 64]
    assert vectors[2] == [0.0] * 64
    answer = running.http("/embed", method="POST", body='{"texts": ["Hello world!"]}', headers=JSON)
    assert answer.status == 200
    assert answer.json()["embeddings"][0] == pytest.approx(vectors[0])


def test_requests_survive_the_death_of_their_process(running: Service) -> None:
    first = tensorflow_of(running)
    with running.client(timeout_s=60) as predictor:
        wanted = predictor.embed("Hello", None, None)
        os.kill(first, signal.SIGKILL)
        assert predictor.embed("Hello", RequestOptions(timeout_ms=60_000), None) == wanted
    assert tensorflow_of(running) != first
    assert any("the TensorFlow process died" in entry.get("event", "") for entry in running.log)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_the_process_ends_with_the_server(saved_models: Path, number: signal.Signals) -> None:
    with Service(saved_models / "sentence_encoder", "--no-rest") as service:
        child = tensorflow_of(service)
        service.signal(number)
        assert service.wait() == (0 if number == signal.SIGTERM else -number)
        eventually(lambda: not is_running(child), "the process has ended")


@pytest.mark.parametrize(
    ("location", "message"),
    [
        (
            "half_plus_two",
            "half_plus_two: signature 'serving_default' (x: float[n] -> y: float[n]) does not read texts",
        ),
        ("none", "none: no such file or folder"),
        ("sentence_encoder/variables", "no kind of model that this server knows is in this folder"),
    ],
)
def test_what_cannot_be_served_ends_the_start(saved_models: Path, location: str, message: str) -> None:
    done = run_server(saved_models / location, "--port=0", "--no-rest")
    assert done.returncode == 1
    assert message in done.stderr


@pytest.fixture
def without_tensorflow(tmp_path: Path) -> dict[str, str]:
    """The environment of a Python that has none of the optional packages."""
    (tmp_path / "sitecustomize.py").write_text(WITHOUT_TENSORFLOW)
    return {"PYTHONPATH": os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")])}


@pytest.mark.parametrize("location", ["sentence_encoder", "tfserving://127.0.0.1:1/use"])
def test_without_the_optional_packages_the_message_names_them(
    saved_models: Path, without_tensorflow: dict[str, str], location: str
) -> None:
    place: Any = location if "://" in location else saved_models / location
    done = run_server(place, "--port=0", "--no-rest", env=without_tensorflow)
    assert done.returncode == 1
    assert "`make setup-tf`, or `pip install tensorflow tensorflow-serving-api`" in done.stderr


def test_other_models_do_without_the_optional_packages(classifier: Path, without_tensorflow: dict[str, str]) -> None:
    with Service(classifier, "--no-rest", env=without_tensorflow) as service, service.client() as predictor:
        assert "alarm/set_alarm" in predictor.predict("set an alarm", None)
