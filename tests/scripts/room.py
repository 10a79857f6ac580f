"""Scripts on a disk that is full."""

from __future__ import annotations

import subprocess
import sys

from tests.support.service import ROOT

_BLOCK_BYTES = 512


def run_without_room(script: str, *arguments: object, most_bytes: int) -> subprocess.CompletedProcess[str]:
    """The script, ended, of which no file can grow over `most_bytes`. What it prints goes through pipes, which can.

    A limit of its own process: that of the tests would hold for the file that their output may go to.
    """
    limit = f'ulimit -f {most_bytes // _BLOCK_BYTES}; exec "$@"'
    command = ["sh", "-c", limit, "sh", sys.executable, f"scripts/{script}.py", *map(str, arguments)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300, check=False)
