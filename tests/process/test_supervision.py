"""Tasks that begin again; child processes: how long they stay down, and that they end with their parent. Real ones."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from typing import TYPE_CHECKING

from structlog.testing import capture_logs

from process import supervision
from process.supervision import Restarts, kept_up
from tests.support.service import ROOT, eventually, is_running

if TYPE_CHECKING:
    import pytest


def test_pauses_grow_to_the_longest(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(time, "monotonic", lambda: 0.0)
    restarts = Restarts("the child", first_s=1, longest_s=5)
    assert [restarts.pause_s(1) for _ in range(5)] == [1, 2, 4, 5, 5]


def test_a_long_life_makes_the_next_pause_short(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    restarts = Restarts("the child", first_s=1, longest_s=5)
    pauses = []
    for lived_s in (0, 0, 5, 6, 0):
        restarts.started()
        now[0] += lived_s
        pauses.append(restarts.pause_s(1))
    assert pauses == [1, 2, 4, 1, 2]


async def test_a_task_that_fails_begins_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(supervision, "_AGAIN_S", 0.0)
    failures: list[Exception] = [KeyError("a"), RuntimeError("the handler is closed")]

    async def work() -> None:
        if failures:
            raise failures.pop()

    with capture_logs() as entries:
        await kept_up("the work", work)
    assert [entry["event"] for entry in entries] == ["the work failed and begins again"] * 2
    assert failures == []


def test_a_death_is_logged() -> None:
    with capture_logs() as entries:
        Restarts("the child", first_s=0.5).pause_s(-9, last="words")
    assert entries == [
        {
            "event": "the child died and is started again",
            "log_level": "error",
            "exit_code": -9,
            "pause_s": 0.5,
            "last": "words",
        }
    ]


def test_a_child_ends_with_its_stdin() -> None:
    program = (
        "import time; from process.supervision import end_with_stdin\n"
        "end_with_stdin(lambda: print('last', flush=True))\n"
        "time.sleep(60)\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", program], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as child:
        assert child.stdin is not None
        assert child.stdout is not None
        child.stdin.write(b"what is written is not heeded\n")
        child.stdin.close()
        assert child.stdout.read() == b"last\n"
        assert child.wait(60) == 0


def test_a_program_of_others_dies_with_its_parent() -> None:
    program = (
        "import subprocess, time; from process.supervision import die_with_parent\n"
        "print(subprocess.Popen(['sleep', '60'], preexec_fn=die_with_parent).pid, flush=True)\n"
        "time.sleep(60)\n"
    )
    with subprocess.Popen([sys.executable, "-c", program], cwd=ROOT, stdout=subprocess.PIPE) as parent:
        assert parent.stdout is not None
        child = int(parent.stdout.readline())
        assert is_running(child)
        parent.send_signal(signal.SIGKILL)
        parent.wait(60)
    eventually(lambda: not is_running(child), "it has ended")
