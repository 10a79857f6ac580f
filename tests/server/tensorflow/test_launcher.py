"""tensorflow_model_server, where that program is in PATH: here one that takes its flags."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from structlog.testing import capture_logs

from server.errors import ModelError
from server.tensorflow.child_server import PROGRAM
from server.tensorflow.predictor import open_predictor
from tests.support.service import ROOT, child_pids, eventually, is_running

if TYPE_CHECKING:
    from collections.abc import Iterator

START_S = 120


@pytest.fixture
def temporary(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Where temporary files go; the socket's path must be short."""
    with tempfile.TemporaryDirectory(prefix="t", dir="/tmp") as folder:
        monkeypatch.setenv("TMPDIR", folder)
        yield Path(folder)


@pytest.fixture
def in_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The program, the first in PATH."""
    program = tmp_path / "bin" / PROGRAM
    program.parent.mkdir()
    install(program, f'exec {sys.executable} {ROOT}/tests/server/tensorflow/tensorflow_model_server.py "$@"')
    monkeypatch.setenv("PATH", f"{program.parent}:{os.environ['PATH']}")
    return program


def family(pid: int) -> list[int]:
    """A process's children and theirs."""
    return [each for child in child_pids(pid) for each in (child, *family(child))]


def files(folder: Path) -> list[Path]:
    return list(folder.iterdir())


def install(program: Path, script: str) -> None:
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)


def command_line(pid: int) -> str:
    return Path(f"/proc/{pid}/cmdline").read_text().replace("\0", " ")


async def test_it_is_started_watched_and_ended(saved_models: Path, temporary: Path, in_path: Path) -> None:
    before = set(family(os.getpid()))
    async with open_predictor(str(saved_models / "half_plus_two"), timeout_s=START_S) as predictor:
        assert await predictor.predict([1.0, 2, 5], timeout_s=30) == [2.5, 3, 4.5]
        (own,) = files(temporary)
        first = {pid: command_line(pid) for pid in set(family(os.getpid())) - before}
        (program,) = (pid for pid, line in first.items() if "--grpc_socket_path=" in line)
        with capture_logs() as logs:
            os.kill(program, signal.SIGKILL)
            assert await predictor.predict([3.0], timeout_s=60) == [3.5]
        assert [entry["event"] for entry in logs] == ["the TensorFlow process died and is started again"]
        assert own not in files(temporary)
        second = set(family(os.getpid())) - before
        assert len(files(temporary)) == 1
    assert files(temporary) == []
    eventually(lambda: not any(is_running(pid) for pid in second | set(first)), "its processes end")


async def test_a_program_that_ends_at_once(saved_models: Path, temporary: Path, in_path: Path) -> None:
    install(in_path, "echo not here >&2; exit 7")
    with pytest.raises(ModelError, match=r"(?s)the TensorFlow process ended with exit code 7: .*not here"):
        async with open_predictor(str(saved_models / "half_plus_two"), timeout_s=START_S):
            pass
    assert files(temporary) == []


OWNER = """
import asyncio, sys
from server.tensorflow.predictor import open_predictor

async def main():
    async with open_predictor(sys.argv[1], timeout_s=120):
        print("open", flush=True)
        await asyncio.sleep(3600)

asyncio.run(main())
"""


@pytest.mark.parametrize("program", ["launcher", "model_server"])
def test_nothing_remains_of_an_owner_that_is_killed(
    saved_models: Path, temporary: Path, program: str, request: pytest.FixtureRequest
) -> None:
    if program == "launcher":
        request.getfixturevalue("in_path")
    command = [sys.executable, "-c", OWNER, str(saved_models / "half_plus_two")]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE) as owner:
        assert owner.stdout is not None
        assert owner.stdout.readline() == b"open\n"
        processes = family(owner.pid)
        assert any(f"server.tensorflow.{program} " in command_line(pid) for pid in processes)
        owner.kill()
    eventually(lambda: not any(is_running(pid) for pid in processes), "its processes end")
    eventually(lambda: not files(temporary), "its temporary files are gone")
