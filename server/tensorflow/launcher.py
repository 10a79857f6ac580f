"""Runs tensorflow_model_server for one SavedModel, on a UNIX socket that nobody else can reach.

    python -m server.tensorflow.launcher PROGRAM FOLDER

It prints the socket's address. When its stdin ends, the program ends too. The program itself listens on every interface
of the machine, needs versions in numbered folders, and goes on when the process that started it is killed.
"""

from __future__ import annotations

import argparse
import shutil
import signal
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from process.supervision import die_with_parent, end_with_stdin
from server.errors import ModelError
from server.tensorflow.location import newest_version
from server.tensorflow.model_server import MODEL_NAME

if TYPE_CHECKING:
    from collections.abc import Sequence


def main(arguments: Sequence[str] | None = None) -> int:
    """Run it until stdin ends. Gives the program's exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m server.tensorflow.launcher", description=__doc__.partition("\n")[0]
    )
    parser.add_argument("program", help="tensorflow_model_server")
    parser.add_argument("folder", type=Path, help="a SavedModel, or a folder with numbered versions: the newest is it")
    options = parser.parse_args(arguments)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    own = Path(tempfile.mkdtemp(prefix="predictor-tensorflow-"))
    try:
        return _run(options.program, options.folder, own)
    finally:
        shutil.rmtree(own, ignore_errors=True)


def _run(program: str, folder: Path, own: Path) -> int:
    try:
        newest, version = newest_version(folder)
    except ModelError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    (own / MODEL_NAME).mkdir()
    (own / MODEL_NAME / str(version)).symlink_to(newest.resolve())
    socket = own / "socket"
    command = [
        program,
        "--port=0",
        "--rest_api_port=0",
        f"--grpc_socket_path={socket}",
        f"--model_name={MODEL_NAME}",
        f"--model_base_path={own / MODEL_NAME}",
    ]
    # Only this thread is there yet: what runs between fork and exec is safe, and the signal is bound to it.
    child = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=sys.stderr, preexec_fn=die_with_parent)
    end_with_stdin(lambda: _end(child, own))
    print(f"unix:{socket}", flush=True)
    try:
        return child.wait()
    finally:
        _end(child, own)


def _end(child: subprocess.Popen[bytes], own: Path) -> None:
    child.kill()
    child.wait()
    shutil.rmtree(own, ignore_errors=True)


if __name__ == "__main__":
    sys.exit(main())
