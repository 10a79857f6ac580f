"""scripts/setup.sh on machines that lack something: what it says, and that it says which step and what to do."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING

from tests.support.service import ROOT, free_port

if TYPE_CHECKING:
    from pathlib import Path

OFFLINE_STEPS = ("HTTPS_PROXY", "PIP_INDEX_URL", "PIP_NO_INDEX=1", "pip wheel --wheel-dir FOLDER")


def refusal(venv: Path, **settings: str) -> str:
    """What it says on stderr before it gives up."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("PIP_", "TORCH"))}
    done = subprocess.run(
        ["scripts/setup.sh", str(venv)],
        cwd=ROOT,
        env=environment | {"PYTHON": sys.executable} | settings,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 1, done.stderr
    assert done.stdout == ""
    return done.stderr


def test_a_python_that_is_too_old(tmp_path: Path) -> None:
    old = tmp_path / "python3.9"
    old.write_text('#!/bin/sh\n[ "$1" = --version ] && echo Python 3.9.2 || exit 1\n')
    old.chmod(0o755)
    said = refusal(tmp_path / "venv", PYTHON=str(old))
    assert said == (
        f"error: {old} is Python 3.9.2, but Python 3.11, 3.12 or 3.13 is needed. Name one: PYTHON=python3.12\n"
    )


def test_no_compiler(tmp_path: Path) -> None:
    said = refusal(tmp_path / "venv", CXX="no-such-compiler")
    assert said == "error: no C++ compiler (no-such-compiler); on Debian: apt-get install g++\n"


def test_a_build_of_torch_that_there_is_not(tmp_path: Path) -> None:
    assert refusal(tmp_path / "venv", TORCH="metal") == "error: TORCH=metal: it is cpu or cuda\n"


def test_no_network(tmp_path: Path) -> None:
    """pip's index is a port where nobody listens, and nothing lies on this machine."""
    index = f"http://127.0.0.1:{free_port()}/simple"
    said = refusal(tmp_path / "venv", PIP_CONFIG_FILE=os.devnull, PIP_INDEX_URL=index, PIP_RETRIES="1")
    assert "== libtorch\n" in said  # the step
    assert "error: torch==" in said
    assert ": pip cannot reach a package index. What to do:\n" in said
    for step in OFFLINE_STEPS:
        assert step in said
