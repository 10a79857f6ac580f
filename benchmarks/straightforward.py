"""Smart Reply on tflite-runtime, and behind the plain Apache Thrift server: what ours is compared with.

Straightforward: the runtime's own SKIP_GRAM, LSH_PROJECTION and HASHTABLE_LOOKUP, Normalize with the published patterns
by std::regex (stock_operators.cc), and the interpreter driven from Python.

    python -m benchmarks.straightforward MODEL PORT
"""

from __future__ import annotations

import importlib.util
import queue
import subprocess
import sys
import sysconfig
from collections import defaultdict
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pybind11
from tflite_runtime.interpreter import InterpreterWithCustomOps, OpResolverType

from benchmarks.apache_server import serve
from benchmarks.load import BUILD, COMPILE
from ext import _smart_reply
from process.files import replacing
from server.config import Settings

if TYPE_CHECKING:
    from collections.abc import Sequence

ROOT = Path(__file__).parent.parent
SOURCES = [ROOT / "benchmarks" / "stock_operators.cc", ROOT / "ext" / "smart_reply" / "fingerprint.cc"]
HEADERS = [ROOT / "benchmarks" / "tflite_abi.h", ROOT / "ext" / "smart_reply" / "fingerprint.h"]


class BuildError(RuntimeError):
    """The straightforward operators could not be built; the message says why."""


def stock_operators() -> Any:
    """The extension module with the operators; compiled when it is missing or older than a source."""
    target = BUILD / "stock_operators.so"
    if not target.exists() or target.stat().st_mtime < max(path.stat().st_mtime for path in (*SOURCES, *HEADERS)):
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


def stock_interpreter(graph: bytes, *, compile_once: bool = True, preserve_all: bool = False) -> Any:
    """The runtime's interpreter of a Smart Reply graph or a part of it, for an input of one string.

    `compile_once`: Normalize's patterns, and not at every call. With `preserve_all` what every operator computed can be
    looked at.
    """
    register = partial(stock_operators().register_operators, compile_once=compile_once)
    interpreter = InterpreterWithCustomOps(
        model_content=graph,
        custom_op_registerers=[register],
        experimental_op_resolver_type=OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES,
        experimental_preserve_all_tensors=preserve_all,
    )
    # As a vector of one: the runtime's Python takes no empty string for a scalar.
    interpreter.resize_tensor_input(interpreter.get_input_details()[0]["index"], [1])
    interpreter.allocate_tensors()
    return interpreter


class StraightforwardInterpreter:
    """The model on tflite-runtime; of one thread at a time. `compile_once`: see stock_interpreter."""

    def __init__(self, model: Path | bytes, *, compile_once: bool = False) -> None:
        graph = model if isinstance(model, bytes) else model.read_bytes()
        self._interpreter = stock_interpreter(graph, compile_once=compile_once)
        self._input = self._interpreter.get_input_details()[0]["index"]
        outputs = {detail["dtype"]: detail["index"] for detail in self._interpreter.get_output_details()}
        self._texts, self._scores = outputs[np.bytes_], outputs[np.float32]

    def replies(self, message: str | bytes) -> dict[str, float]:
        """Reply -> score, best first."""
        return self.merged_replies([message])

    def replies_many(self, messages: Sequence[str | bytes]) -> list[dict[str, float]]:
        """The same for many."""
        return [self.replies(message) for message in messages]

    def merged_replies(self, messages: Sequence[str | bytes]) -> dict[str, float]:
        """One map, in which the scores of a reply add up: in single precision, segment by segment."""
        sums: defaultdict[bytes, np.float32] = defaultdict(lambda: np.float32(0))
        for message in messages:
            for segment in _smart_reply.segments(message if isinstance(message, bytes) else message.encode()):
                for text, score in self._scored(segment):
                    if text:
                        sums[text] += score
        best_first = sorted(sums.items(), key=lambda pair: (-pair[1], pair[0]))
        return {text.decode(): float(score) for text, score in best_first}

    def _scored(self, segment: bytes) -> zip[tuple[bytes, np.float32]]:
        self._interpreter.set_tensor(self._input, np.array([segment], dtype=object))
        self._interpreter.invoke()
        texts, scores = (self._interpreter.get_tensor(index) for index in (self._texts, self._scores))
        return zip(texts, scores, strict=True)


class Handler:
    """`reply` as one writes it without a queue: with as many interpreters as our server has workers."""

    def __init__(self, model: Path) -> None:
        self._idle: queue.SimpleQueue[StraightforwardInterpreter] = queue.SimpleQueue()
        for _ in range(Settings().workers):
            self._idle.put(StraightforwardInterpreter(model))

    def reply(self, message: str, options: object, reply_options: object) -> dict[str, float]:
        """Reply -> score."""
        interpreter = self._idle.get()
        try:
            return interpreter.replies(message)
        finally:
            self._idle.put(interpreter)


if __name__ == "__main__":
    serve(Handler(Path(sys.argv[1])), int(sys.argv[2]))
