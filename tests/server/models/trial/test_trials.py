"""The processes in which models are tried: whatever becomes of them, the server knows in time."""

from __future__ import annotations

import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from predictor.ttypes import PredictionError

from server.config import Settings
from server.errors import ErrorCode, ModelError
from server.models.trial import trials
from server.models.trial.trials import AT_A_TIME, Trials, Tried
from tests.support.service import eventually, is_running

if TYPE_CHECKING:
    from collections.abc import Callable

SETTINGS = Settings()


@pytest.fixture(autouse=True)
def _stand_ins(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trials, "_CHILD", "tests.server.models.trial.children")
    monkeypatch.setenv("PYTHONPATH", f"{Path.cwd()}:{Path.cwd() / 'gen-py'}")


def refusal(call: Callable[[], object]) -> PredictionError:
    with pytest.raises(PredictionError) as caught:
        call()
    return caught.value


@pytest.mark.parametrize(
    ("way", "reason"),
    [
        ("no JSON", "it ends the process in which it is tried, with exit code 0"),
        ("no object", "it ends the process in which it is tried, with exit code 0"),
        ("flood of answers", "it ends the process in which it is tried, with exit code 0"),
        ("flood", "it ends the process in which it is tried, with exit code 3: x+"),
        ("terminate", "it ends the process in which it is tried, by SIGABRT: index out of bounds$"),
        ("out of memory", r"by SIGABRT: memory allocation .* failed; in its trial .* \(setting model_trial_bytes\)"),
    ],
)
def test_a_process_without_an_answer(way: str, reason: str) -> None:
    with pytest.raises(ModelError, match=reason) as caught:
        Trials(SETTINGS).run(way, SETTINGS)
    assert len(str(caught.value)) < 1000


@pytest.mark.parametrize("way", ["silent", "closes its pipes"])
def test_a_process_that_does_not_end(way: str) -> None:
    with pytest.raises(ModelError, match=r"its trial did not end within 0\.3 s \(setting model_trial_s\)"):
        Trials(Settings(model_trial_s=0.3)).run(way, SETTINGS)


def test_what_a_process_has_started_ends_with_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CHILD_PID", str(tmp_path / "pid"))
    assert Trials(SETTINGS).run("leaves a child", SETTINGS) == Tried(whole=True)
    eventually(lambda: not is_running(int((tmp_path / "pid").read_text())))


def test_only_so_many_are_tried_at_a_time_and_a_drain_ends_them() -> None:
    tried = Trials(SETTINGS)
    found: list[PredictionError] = []
    threads = [
        threading.Thread(target=lambda: found.append(refusal(lambda: tried.run("silent", SETTINGS))))
        for _ in range(AT_A_TIME)
    ]
    for thread in threads:
        thread.start()
    eventually(lambda: len(tried._running) == AT_A_TIME)
    busy = refusal(lambda: tried.run("silent", SETTINGS))
    assert (busy.code, busy.retry_after_ms) == (ErrorCode.UNAVAILABLE, 5000)
    assert busy.message == "2 other models are being tried before they are loaded"
    begin = time.monotonic()
    tried.stop("the server is draining")
    for thread in threads:
        thread.join()
    assert time.monotonic() - begin < 60  # of ten minutes
    found.append(refusal(lambda: tried.run("silent", SETTINGS)))
    assert [(error.code, error.message) for error in found] == [(ErrorCode.UNAVAILABLE, "the server is draining")] * 3
