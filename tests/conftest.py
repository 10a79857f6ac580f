"""Models and servers that many tests share."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
import torch
import uvloop
from hypothesis import settings

from scripts.export_encoder import default_folder
from tests.server.tensorflow.standin import StandIn
from tests.support.gate import Gate
from tests.support.service import ROOT, Service
from tests.support.zoo import save_named

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable, Iterator
    from pathlib import Path

    import numpy as np
    from numpy.typing import NDArray


# A time for each example would be one for the machine.
settings.register_profile("any machine", settings.default, deadline=None)
settings.load_profile("any machine")


def pytest_asyncio_loop_factories() -> dict[str, Callable[[], asyncio.AbstractEventLoop]]:
    """Tests that are coroutines run on the loop that the server and the proxy run on."""
    return {"uvloop": uvloop.new_event_loop}


@pytest.fixture(scope="session", autouse=True)
def _one_thread_for_torch() -> None:
    """The cores belong to the servers under test; torch's second thread would spin, 50 times as slow."""
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def classifier(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The demo classifier, trained as `make run` trains it."""
    path = tmp_path_factory.mktemp("classifier") / "classifier.pt"
    command = [sys.executable, "scripts/train_classifier.py", "--output", str(path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    return path


@pytest.fixture(scope="session")
def saved_models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the SavedModels of scripts/make_saved_models.py, and tests/server/tensorflow/models.py's: zoo."""
    folder = tmp_path_factory.mktemp("saved_models")
    command = [sys.executable, "-m", "tests.server.tensorflow.models", str(folder)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    return folder


@pytest.fixture(scope="session")
def saved_model_server(saved_models: Path) -> Iterator[str]:
    """The URL of a TensorFlow server's model that has the signatures of tests/server/tensorflow/models.py."""
    with StandIn(saved_models / "zoo", "zoo") as server:
        yield server.url


@pytest.fixture(scope="session")
def zoo(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """zoo(name): the file of a model of tests/support/zoo.py, built when it is first asked for."""
    folder = tmp_path_factory.mktemp("zoo")

    def path_of(name: str) -> Path:
        path = folder / f"{name}.pt"
        return path if path.exists() else save_named(name, folder)

    return path_of


@pytest.fixture
def gate(tmp_path: Path) -> Gate:
    """A model whose batches end when the test lets them."""
    return Gate(tmp_path)


@pytest.fixture(scope="session")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The default sentence encoder, exported as `make run` exports it."""
    folder = tmp_path_factory.mktemp("encoder") / "encoder"
    done = subprocess.run(
        [sys.executable, "scripts/export_encoder.py", str(folder)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    return folder


@pytest.fixture(scope="session")
def sentence_vectors() -> Callable[[list[str]], NDArray[np.float32]]:
    """What sentence-transformers gives for texts, with the model that `encoder` was exported from."""
    from sentence_transformers import SentenceTransformer  # seconds

    model = SentenceTransformer(str(default_folder()), device="cpu", local_files_only=True)
    return lambda texts: model.encode(texts, show_progress_bar=False)


@pytest.fixture(scope="session")
def slow_generator(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A GPT-2 whose texts are long enough for their callers to leave in the middle."""
    from tests.support.generators import train_slow  # it needs the extension, which some tests do without

    return train_slow(tmp_path_factory.mktemp("slow") / "generator")


@pytest.fixture(scope="session")
def service(classifier: Path) -> Iterator[Service]:
    """The service as `make run` starts it, on free ports. Tests that use it must leave it as it was."""
    with Service(classifier) as running:
        yield running
