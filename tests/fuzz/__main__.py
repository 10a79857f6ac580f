"""Runs the fuzzers, each in a process of its own, and prints what they did.

    python -m tests.fuzz [TARGET ...] [--seconds 600] [--together 1]

Needs atheris: `make fuzz` installs it. Ends with 0 where no unit crashed, raised what is no error of ours, took more
than a second of processor time, or made the process grow by more than its target allows. A unit that did stays below
build/fuzz/found; put it below tests/fuzz/crashes/TARGET when it is mended.
"""

from __future__ import annotations

import argparse
import hashlib
import importlib.util
import os
import re
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, NamedTuple

from tests.fuzz.targets import NAMES, made
from tests.support.service import ROOT
from tests.support.shared import SharedFiles

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

FOLDER = ROOT / "build" / "fuzz"
CRASHES = ROOT / "tests" / "fuzz" / "crashes"

MEMORY_MB = 2048
"""Of a fuzzer's process, with all that it imports."""

HANG_S = 60
"""A unit that takes so many seconds of time hangs. (What it may take of the processor is in unit.py.)"""

_LONGEST = 1 << 18
_SLACK_S = 300
_SHOWN_LINES = 40
_FIGURE = re.compile(r"^stat::(\w+): +(\d+)", re.MULTILINE)
_COVERAGE = re.compile(r"cov: (\d+) ft: (\d+)")
_EMPTY = SystemExit(
    "the fuzzers need atheris, which is not installed: `make fuzz` installs it into build/fuzz/atheris, or\n"
    f"  {sys.executable} -m pip install --target build/fuzz/atheris atheris==3.0.0"
)


class Outcome(NamedTuple):
    """Of one fuzzer."""

    name: str
    seconds: float
    executions: int
    coverage: int
    features: int
    corpus: int
    peak_mb: int
    found: list[Path]
    log: Path
    exit_code: int


def main(arguments: Sequence[str] | None = None) -> int:
    """Gives 0 when nothing was found."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description="Run the fuzzers.")
    parser.add_argument("targets", nargs="*", metavar="TARGET", help=f"some of {', '.join(NAMES)} (all of them)")
    parser.add_argument("--seconds", type=int, default=600, help="how long each runs (%(default)s)")
    parser.add_argument("--together", type=int, default=1, help="how many run at a time (%(default)s)")
    given = parser.parse_args(arguments)
    unknown = set(given.targets) - set(NAMES)
    if unknown:
        parser.error(f"there is no target {min(unknown)}; there are {', '.join(NAMES)}")
    if importlib.util.find_spec("atheris") is None:
        raise _EMPTY
    with ThreadPoolExecutor(given.together) as pool:
        outcomes = list(pool.map(lambda name: fuzz(name, given.seconds), given.targets or NAMES))
    bad = [outcome for outcome in outcomes if outcome.found or outcome.exit_code]
    print("fuzz: nothing was found" if not bad else f"fuzz: FOUND by {', '.join(outcome.name for outcome in bad)}")
    return int(bool(bad))


def fuzz(name: str, seconds: int) -> Outcome:
    """Run one, and print its figures."""
    corpus, seeds, found = (FOLDER / part / name for part in ("corpus", "seeds", "found"))
    for folder in (corpus, seeds, found):
        folder.mkdir(parents=True, exist_ok=True)
    before = set(found.iterdir())
    log = FOLDER / f"{name}.log"
    command = [
        *(sys.executable, "-m", "tests.fuzz.engine", name),
        f"-max_total_time={seconds}",
        f"-rss_limit_mb={MEMORY_MB}",
        f"-timeout={HANG_S}",
        f"-max_len={_LONGEST}",
        f"-artifact_prefix={found}/",
        "-len_control=0",
        "-print_final_stats=1",
        *map(str, (corpus, seeds, *([CRASHES / name] if (CRASHES / name).is_dir() else []))),
    ]
    began = time.monotonic()
    with log.open("w") as output:
        _run([sys.executable, "-m", "tests.fuzz.corpus", name, str(seeds)], output, _SLACK_S)
        code = _run(command, output, seconds + _SLACK_S)
    text = log.read_text(errors="replace")
    figures = {key: int(value) for key, value in _FIGURE.findall(text)}
    coverage, features = map(int, (_COVERAGE.findall(text) or [("0", "0")])[-1])
    outcome = Outcome(
        name,
        time.monotonic() - began,
        figures.get("number_of_executed_units", 0),
        coverage,
        features,
        len(list(corpus.iterdir())),
        figures.get("peak_rss_mb", 0),
        sorted(set(found.iterdir()) - before),
        log,
        code,
    )
    _show(outcome, text)
    return outcome


def _run(command: list[str], output: object, limit_s: float) -> int:
    try:
        done = subprocess.run(
            command, cwd=ROOT, stdin=subprocess.DEVNULL, stdout=output, stderr=output, timeout=limit_s, env=os.environ
        )  # type: ignore[call-overload]
    except subprocess.TimeoutExpired:
        return -1
    return int(done.returncode)


def _show(outcome: Outcome, text: str) -> None:
    print(
        f"{outcome.name}: {outcome.executions:,} executions in {outcome.seconds:.0f} s, coverage {outcome.coverage}"
        f" (features {outcome.features}), corpus {outcome.corpus}, peak memory {outcome.peak_mb} MB of {MEMORY_MB}",
        flush=True,
    )
    if outcome.exit_code or outcome.found:
        print(f"  FOUND, exit code {outcome.exit_code}: {', '.join(map(str, outcome.found)) or 'no unit'}")
        print("\n".join(f"  | {line}" for line in text.splitlines()[-_SHOWN_LINES:]))
        print(f"  the whole log: {outcome.log}")


def write_seeds(name: str, folder: Path) -> int:
    """Right inputs as files; how many."""
    models = FOLDER / "models"
    models.mkdir(parents=True, exist_ok=True)
    target = made(name, SharedFiles(models))
    count = 0
    for data in target.seeds():
        (folder / hashlib.sha1(data).hexdigest()).write_bytes(data)
        count += 1
    target.close()
    return count


if __name__ == "__main__":
    sys.exit(main())
