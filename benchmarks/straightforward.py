"""Smart Reply on straightforward operators, and behind the plain Apache Thrift server: what ours is compared with.

Straightforward: the runtime's own LSH_PROJECTION, and Normalize with the published patterns by std::regex.

    python -m benchmarks.straightforward MODEL PORT
"""

from __future__ import annotations

import importlib.util
import queue
import subprocess
import sys
import sysconfig
from pathlib import Path
from typing import Any

import pybind11

from benchmarks.apache_server import serve
from benchmarks.load import BUILD, COMPILE
from ext import _tflite_ops
from process.files import replacing
from server.config import Settings
from server.models.smart_reply_engine import SmartReplyInterpreter

ROOT = Path(__file__).parent.parent
SOURCES = [
    ROOT / "benchmarks" / "stock_operators.cc",
    *(ROOT / "ext" / name for name in ("tflite_library.cc", "tflite_strings.cc")),
]


class BuildError(RuntimeError):
    """The straightforward operators could not be built; the message says why."""


def stock_operators() -> Any:
    """The extension module with the straightforward Normalize; compiled when it is missing or older than a source."""
    target = BUILD / "stock_operators.so"
    headers = (ROOT / "ext").glob("tflite_*.h")
    if not target.exists() or target.stat().st_mtime < max(path.stat().st_mtime for path in (*SOURCES, *headers)):
        _compile(target)
    spec = importlib.util.spec_from_file_location("stock_operators", target)
    if spec is None or spec.loader is None:
        raise BuildError(f"{target} is no extension module")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _compile(target: Path) -> None:
    includes = [f"-I{path}" for path in (ROOT / "ext", pybind11.get_include(), sysconfig.get_path("include"))]
    command = [*COMPILE, "-shared", "-fPIC", "-fvisibility=hidden", *includes, *map(str, SOURCES), "-ldl"]
    with replacing(target) as made:
        done = subprocess.run([*command, "-o", str(made)], capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise BuildError(f"the straightforward operators do not compile:\n{done.stderr}")


def straightforward(model: Path) -> SmartReplyInterpreter:
    """The model on straightforward operators."""
    registerers = (_tflite_ops.register_operators_with_stock_projection, stock_operators().register_normalize)
    return SmartReplyInterpreter(model, registerers=registerers)


class Handler:
    """`reply` as one writes it without a queue: with as many interpreters as our server has workers."""

    def __init__(self, model: Path) -> None:
        self._idle: queue.SimpleQueue[SmartReplyInterpreter] = queue.SimpleQueue()
        for _ in range(Settings().workers):
            self._idle.put(straightforward(model))

    def reply(self, message: str, options: object, reply_options: object) -> dict[str, float]:
        """Reply -> score."""
        interpreter = self._idle.get()
        try:
            return interpreter.replies(message)
        finally:
            self._idle.put(interpreter)


if __name__ == "__main__":
    serve(Handler(Path(sys.argv[1])), int(sys.argv[2]))
