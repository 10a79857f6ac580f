"""Models that would end or hold up the server: it refuses them, and serves on."""

from __future__ import annotations

import os
import shutil
import threading
import time
from typing import TYPE_CHECKING, Any

import pytest
from predictor.ttypes import ErrorCode, PredictionError, RequestOptions

from tests.support import hostile
from tests.support.service import Service, eventually

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

FAST = ("--warm-up-tokens=0", "--replicas=1", "--equal-lengths=never")


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory, zoo: Callable[[str], Path]) -> Path:
    """A folder with a model of each kind."""
    folder = tmp_path_factory.mktemp("models")
    for name in hostile.MODELS:
        hostile.write(name, folder)
    shutil.copy(zoo("doc_model"), folder / "good.pt")
    (folder / "sparse.pt").write_bytes(b"")
    os.truncate(folder / "sparse.pt", 1 << 42)
    os.mkfifo(folder / "pipe.pt")
    (folder / "zero.pt").symlink_to("/dev/zero")
    return folder


@pytest.fixture(scope="module")
def open_service(root: Path) -> Iterator[Service]:
    flags = (f"--model-root={root}", "--max-models=2")
    with Service(root / "good.pt", *flags, *FAST) as service:
        yield service


def refusal(service: Service, name: str, location: str) -> PredictionError:
    with service.client(timeout_s=100) as predictor, pytest.raises(PredictionError) as caught:
        predictor.load_model(name, location)
    return caught.value


@pytest.mark.parametrize(
    ("location", "reason"),
    [
        ("overflowing.pt", "it ends the process in which it is tried, by SIGFPE"),
        ("greedy.pt", "(setting model_trial_bytes)"),
        ("sparse.pt", "no kind of model that this server knows"),
        ("pipe.pt", "neither a file nor a folder"),
        ("zero.pt", "lies outside of the folder for models (setting model_root)"),
    ],
)
def test_it_is_refused_and_the_server_serves_on(open_service: Service, location: str, reason: str) -> None:
    refused_while_it_serves(open_service, location, reason)


def test_one_that_does_not_end_is_refused_in_time(root: Path) -> None:
    with Service(root / "good.pt", f"--model-root={root}", "--model-trial-s=3", *FAST) as service:
        refused_while_it_serves(service, "endless.pt", "its trial did not end within 3 s (setting model_trial_s)")


def refused_while_it_serves(service: Service, location: str, reason: str) -> None:
    answers: list[dict[str, float]] = []
    over = threading.Event()

    def ask() -> None:
        with service.client() as predictor:
            while not over.is_set():
                answers.append(predictor.predict("set an alarm", None))
                time.sleep(0.01)

    asking = threading.Thread(target=ask)
    asking.start()
    eventually(lambda: answers)
    error = refusal(service, "other", location)
    before = len(answers)
    eventually(lambda: len(answers) > before)
    over.set()
    asking.join()
    assert (error.code, error.field) == (ErrorCode.INVALID_ARGUMENT, "location")
    assert reason in error.message
    with service.client() as predictor:
        assert len(predictor.predict("set an alarm", None)) == 3
        assert [model.name for model in predictor.list_models()] == ["good"]
    assert service.children() == []


def test_there_are_only_so_many_models(open_service: Service) -> None:
    with open_service.client() as predictor:
        predictor.load_model("second", "good.pt")
        error = refusal(open_service, "third", "good.pt")
        assert (error.code, error.setting) == (ErrorCode.OVERLOADED, "max_models")
        predictor.unload_model("second")


def test_a_drain_ends_a_trial_at_once(root: Path) -> None:
    found: list[PredictionError] = []
    with Service(root / "good.pt", f"--model-root={root}", "--model-trial-s=600", *FAST) as service:
        loading = threading.Thread(target=lambda: found.append(refusal(service, "endless", "endless.pt")))
        loading.start()
        (child,) = eventually(service.children)
        begin = time.monotonic()
        service.stop()
        assert time.monotonic() - begin < 20  # of 30 s for draining
        loading.join()
    (error,) = found
    assert (error.code, error.message) == (ErrorCode.UNAVAILABLE, "the server is draining")
    assert child


@pytest.mark.parametrize(
    ("name", "word"), [("endless_at_a_word", hostile.LOOP), ("long_at_a_number", hostile.LONG)], ids=["while", "for"]
)
def test_a_model_that_does_not_end_with_a_text_keeps_neither_callers_nor_the_process(
    root: Path, name: str, word: str
) -> None:
    flags = (f"--model-root={root}", "--drain-timeout-ms=2000", "--replicas=1", "--inline-us=100000")
    with Service(root / f"{name}.pt", *flags) as service, service.client() as predictor:
        assert len(predictor.predict("set an alarm", None)) == 3
        with pytest.raises(PredictionError) as caught:
            predictor.predict(f"the {word}", RequestOptions(timeout_ms=300))
        assert caught.value.code == ErrorCode.DEADLINE_EXCEEDED
        predictor.load_model("good", "good.pt")
        assert len(predictor.predict("set an alarm", RequestOptions(model="good"))) == 3
        service.stop()
        assert "a model still runs" in service.log_text


@pytest.mark.parametrize("name", ["endless"])
def test_a_start_with_a_model_that_does_not_end_can_be_ended(root: Path, name: str) -> None:
    with Service(root / f"{name}.pt", *FAST, wait_ready=False) as service:
        eventually(lambda: "loading a model" in service.log_text)
        assert f"{name}.pt" in service.log_text
        service.stop()


def test_a_start_with_a_model_that_ends_the_process_names_it(root: Path) -> None:
    with Service(root / "overflowing.pt", *FAST, wait_ready=False) as service:
        assert service.wait() < 0
        last: dict[str, Any] = [entry for entry in service.log if "event" in entry][-1]
        assert (last["event"], last["location"]) == ("loading a model", str(root / "overflowing.pt"))
