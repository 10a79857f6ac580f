"""Smart Reply without a server: our operators against straightforward ones, on the same model in one run.

    python -m benchmarks.smart_reply

Straightforward: the runtime's own LSH_PROJECTION, and Normalize with the published patterns by std::regex.
Figures are CPU microseconds a message on one thread, medians of rounds in which both take turns.
"""

from __future__ import annotations

import argparse
import importlib.util
import subprocess
import sys
import sysconfig
import time
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

import pybind11

from benchmarks.load import BUILD, COMPILE
from benchmarks.table import markdown
from ext import _tflite_ops
from server.models.smart_reply_engine import SmartReplyInterpreter

if TYPE_CHECKING:
    from collections.abc import Sequence

ROOT = Path(__file__).parent.parent
MODEL = ROOT / "models" / "smart_reply.tflite"
SOURCES = [
    ROOT / "benchmarks" / "stock_operators.cc",
    *(ROOT / "ext" / name for name in ("tflite_library.cc", "tflite_strings.cc")),
]

MESSAGES = {
    "short, 1 word": "Hello",
    "medium, 5 words": "see you at the airport",
    "long, 20 words": "I was thinking that we could all meet for dinner tonight and then see a movie if you like",
}


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
    BUILD.mkdir(exist_ok=True)
    partial = target.with_suffix(".partial")
    includes = [f"-I{path}" for path in (ROOT / "ext", pybind11.get_include(), sysconfig.get_path("include"))]
    command = [*COMPILE, "-shared", "-fPIC", "-fvisibility=hidden", *includes, "-o", str(partial), *map(str, SOURCES)]
    done = subprocess.run([*command, "-ldl"], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise BuildError(f"the straightforward operators do not compile:\n{done.stderr}")
    partial.rename(target)


def straightforward(model: Path) -> SmartReplyInterpreter:
    """The model on straightforward operators."""
    registerers = (_tflite_ops.register_operators_with_stock_projection, stock_operators().register_normalize)
    return SmartReplyInterpreter(model, registerers=registerers)


def cpu_us(interpreter: SmartReplyInterpreter, message: str, seconds: float) -> float:
    """CPU microseconds a message, over at least so many seconds."""
    count, begin = 0, time.process_time()
    while (spent := time.process_time() - begin) < seconds:
        interpreter.replies_many([message] * 16)
        count += 16
    return spent / count * 1e6


def measure(stock: SmartReplyInterpreter, ours: SmartReplyInterpreter, rounds: int, seconds: float) -> list[list[str]]:
    """A row of the table for each kind of message."""
    rows = []
    for name, message in MESSAGES.items():
        if stock.replies(message) != ours.replies(message):
            raise AssertionError(f"the operators do not agree on {message!r}")
        pairs = [(cpu_us(stock, message, seconds), cpu_us(ours, message, seconds)) for _ in range(rounds)]
        theirs, own = (median(column) for column in zip(*pairs, strict=True))
        ratio = median(slow / fast for slow, fast in pairs)
        rows.append([name, f"{theirs:.0f}", f"{own:.1f}", f"{ratio:.1f}", f"{1e6 / own:,.0f}"])
    return rows


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the table; 2 when there is no model, or no compiler."""
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        prog="python -m benchmarks.smart_reply",
    )
    parser.add_argument("--model", type=Path, default=MODEL, help="default: %(default)s")
    parser.add_argument("--rounds", type=int, default=5, help="default: %(default)s")
    parser.add_argument("--seconds", type=float, default=0.5, help="of each measurement; default: %(default)s")
    options = parser.parse_args(arguments)
    if not options.model.exists():
        print(f"error: {options.model} is not there: python scripts/fetch_models.py smart-reply", file=sys.stderr)
        return 2
    try:
        stock, ours = straightforward(options.model), SmartReplyInterpreter(options.model)
    except (BuildError, FileNotFoundError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    rows = measure(stock, ours, options.rounds, options.seconds)
    print(f"LSH_PROJECTION with {_tflite_ops.best_instructions().name}\n")
    print(markdown(("message", "straightforward us", "ours us", "times", "ours messages/s"), rows))
    return 0


if __name__ == "__main__":
    sys.exit(main())
