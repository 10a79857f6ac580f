"""The peers' virtual environments, made on first use below build/bench-venvs."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

FOLDER = Path(__file__).parent.parent.parent / "build" / "bench-venvs"


class InstallError(RuntimeError):
    """pip could not install a peer; the message has its output."""


def python_of(name: str) -> Path:
    """The interpreter of the peer `name`, with what `name`.txt beside this file asks for installed."""
    requirements = Path(__file__).with_name(f"{name}.txt")
    python = FOLDER / name / "bin" / "python"
    stamp = FOLDER / name / "installed.txt"  # a copy of the requirements, once they are all there
    if stamp.exists() and stamp.read_bytes() == requirements.read_bytes():
        return python
    print(f"installing {name} below {FOLDER} (once, some minutes)", file=sys.stderr)
    _run(name, [sys.executable, "-m", "venv", "--clear", str(FOLDER / name)])
    _run(name, [str(python), "-m", "pip", "install", "--quiet", "-r", str(requirements)])
    stamp.write_bytes(requirements.read_bytes())
    return python


def _run(name: str, command: list[str]) -> None:
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    if done.returncode != 0:
        raise InstallError(f"cannot install {name}: {' '.join(command)}\n{done.stdout[-4000:]}")
