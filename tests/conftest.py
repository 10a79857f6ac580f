"""Models and servers that many tests share, and which tests are slow."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
import torch
import uvloop
from hypothesis import settings

from tests.server.tensorflow.model_server import ModelServer
from tests.support.gate import Gate
from tests.support.hub import LocalHub, local_hub
from tests.support.service import ROOT, Service
from tests.support.shared import SharedFiles
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


# Slow is what starts the service or another heavy program: all tests of these folders, and whoever asks for one of
# these fixtures. Other modules and tests say so themselves: pytestmark = pytest.mark.slow.
SLOW_FOLDERS = [ROOT / "tests" / name for name in ("benchmarks", "e2e", "install", "scripts")]
SLOW_FIXTURES = {
    "encoder",
    "exported",
    "gcs_port",
    "s3_port",
    "saved_model_server",
    "saved_models",
    "sentence_vectors",
    "service",
    "slow_generator",
}
QUICK_S = 5  # a quick test that takes longer is named at the end of the run

# What compares with tflite-runtime's stock operators: its last release is for Python 3.11.
collect_ignore = (
    [] if sys.version_info < (3, 12) else ["benchmarks/test_smart_reply.py", "ext/smart_reply/test_against_runtime.py"]
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark every test as quick or slow. The files with slow ones come first: no worker is left alone with them."""
    for item in items:
        if item.get_closest_marker("slow") is None:
            slow = not SLOW_FIXTURES.isdisjoint(getattr(item, "fixturenames", ()))
            slow |= not set(SLOW_FOLDERS).isdisjoint(item.path.parents)
            item.add_marker("slow" if slow else "quick")
    slow_files = {item.path for item in items if item.get_closest_marker("slow")}
    items.sort(key=lambda item: item.path not in slow_files)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Name the quick tests that were not quick. It is no failure: the machine may have been busy."""
    passed = terminalreporter.stats.get("passed", [])
    late = [report for report in passed if "quick" in report.keywords and report.duration > QUICK_S]
    for report in sorted(late, key=lambda report: report.duration, reverse=True):
        terminalreporter.write_line(f"{report.duration:.1f} s, not marked as slow: {report.nodeid}")


def pytest_asyncio_loop_factories() -> dict[str, Callable[[], asyncio.AbstractEventLoop]]:
    """Tests that are coroutines run on the loop that the server and the proxy run on."""
    return {"uvloop": uvloop.new_event_loop}


@pytest.fixture(scope="session", autouse=True)
def _one_thread_for_torch() -> None:
    """The cores belong to the servers under test; torch's second thread would spin, 50 times as slow."""
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def shared_files(tmp_path_factory: pytest.TempPathFactory) -> SharedFiles:
    """Files that are made once for all workers of the run."""
    return SharedFiles.of_run(tmp_path_factory)


@pytest.fixture(scope="session")
def classifier(shared_files: SharedFiles) -> Path:
    """The demo classifier, trained as `make run` trains it."""
    return shared_files.made("classifier.pt", lambda path: run_python("scripts/train_classifier.py", "--output", path))


@pytest.fixture(scope="session")
def saved_models(shared_files: SharedFiles) -> Path:
    """A folder with the SavedModels of scripts/make_saved_models.py, and tests/server/tensorflow/models.py's: zoo."""
    return shared_files.made("saved_models", lambda folder: run_python("-m", "tests.server.tensorflow.models", folder))


@pytest.fixture(scope="session")
def saved_model_server(saved_models: Path) -> Iterator[str]:
    """The URL of a TensorFlow server's model that has the signatures of tests/server/tensorflow/models.py."""
    with ModelServer(saved_models / "zoo", "zoo") as server:
        yield server.url


@pytest.fixture(scope="session")
def zoo(shared_files: SharedFiles) -> Callable[[str], Path]:
    """zoo(name): the file of a model of tests/support/zoo.py, built when it is first asked for."""
    return lambda name: shared_files.made(f"zoo/{name}.pt", lambda path: save_named(name, path.parent))


@pytest.fixture
def gate(tmp_path: Path) -> Gate:
    """A model whose batches end when the test lets them."""
    return Gate(tmp_path)


@pytest.fixture(scope="session")
def encoder(shared_files: SharedFiles) -> Path:
    """The default sentence encoder, as `make run` serves it."""
    return shared_files.made(
        "encoder", lambda folder: run_python("scripts/fetch_models.py", "encoder", "--folder", folder.parent)
    )


@pytest.fixture(scope="session")
def sentence_vectors(encoder: Path) -> Callable[[list[str]], NDArray[np.float32]]:
    """What sentence-transformers gives for texts, with the same folder."""
    from sentence_transformers import SentenceTransformer  # seconds

    model = SentenceTransformer(str(encoder), device="cpu", local_files_only=True)
    return lambda texts: model.encode(texts, show_progress_bar=False)


@pytest.fixture(scope="session")
def exported(shared_files: SharedFiles) -> Callable[[str], Path]:
    """exported(name): a folder of tests/support/exports.py, which a compiler needs half a minute for."""
    return lambda name: shared_files.made(
        f"exports/{name}", lambda folder: run_python("-m", "tests.support.exports", name, folder)
    )


@pytest.fixture(scope="session")
def slow_generator(shared_files: SharedFiles) -> Path:
    """A GPT-2 whose texts are long enough for their callers to leave in the middle."""
    from tests.support.generators import train_slow  # it needs the extension, which some tests do without

    return shared_files.made("slow_generator", train_slow)


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[LocalHub]:
    """A hub on this machine, which this process uses: without waiting after failures, and without a token."""
    from huggingface_hub import constants
    from huggingface_hub.utils import close_session

    from server.hub import client

    monkeypatch.setattr(client, "WAITS_S", (0, 0, 0))
    monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(tmp_path / "no-token"))
    monkeypatch.delenv("HF_TOKEN", raising=False)
    with local_hub() as served:
        monkeypatch.setenv("HF_ENDPOINT", served.address)
        yield served
        close_session()


@pytest.fixture(scope="session")
def service(classifier: Path) -> Iterator[Service]:
    """The service as `make run` starts it, on free ports. Tests that use it must leave it as it was."""
    with Service(classifier) as running:
        yield running


def run_python(*arguments: object) -> None:
    """Run one of our programs, which must end with 0."""
    command = [sys.executable, *map(str, arguments)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
