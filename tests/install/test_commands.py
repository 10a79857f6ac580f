"""The commands that pip installs, and the same by `python -m`: each names itself as it was called."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.service import ROOT, environment

MODULES = {
    "predictor-batch": "server.batch",
    "predictor-rest-proxy": "rest_proxy",
    "predictor-server": "server",
}


def run(*command: str | Path, code: int) -> str:
    """What the command prints."""
    done = subprocess.run(command, cwd=ROOT, env=environment(), capture_output=True, text=True, timeout=120)
    assert done.returncode == code, done.stderr
    return done.stdout + done.stderr


@pytest.mark.parametrize(("installed", "module"), MODULES.items())
@pytest.mark.parametrize("way", ["installed", "module"])
def test_help_and_errors(installed: str, module: str, way: str) -> None:
    script = Path(sys.executable).with_name(installed)
    by_module = [sys.executable, "-m", module]
    command, name, other = (
        ([script], installed, f"python -m {module}")
        if way == "installed"
        else (by_module, f"python -m {module}", installed)
    )
    shown = run(*command, "--help", code=0)
    assert shown.startswith(f"usage: {name} ")
    assert f"\n  {name} " in shown, "an example"
    assert other not in shown
    refused = run(*command, "--no-such-flag", code=2)
    assert refused.startswith(f"usage: {name} ")
    assert f"\n{name}: error: " in refused
