"""Every kernel of ext/kernels against a plain loop, for each instruction set that this processor has."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow  # compiles the kernels

ROOT = Path(__file__).resolve().parents[3]
BUILD = ROOT / "build" / "kernel-tests"

# What a processor must have for each way to compile the kernels (x86-64 psABI), as Linux names it.
_LEVELS = {
    "x86-64": set[str](),
    "x86-64-v3": {"avx2", "bmi1", "bmi2", "f16c", "fma", "abm", "movbe", "xsave"},
    "x86-64-v4": {"avx512f", "avx512bw", "avx512cd", "avx512dq", "avx512vl"},
}


def _flags() -> set[str]:
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    return next((set(line.split(":")[1].split()) for line in lines if line.startswith("flags")), set())


def _programs() -> list[str]:
    """The library as it is, and the kernels compiled for each level."""
    levels = _LEVELS if platform.machine() == "x86_64" else {}
    have = _flags()
    return ["kernel_tests", *(f"kernel_tests_{level}" for level, needed in levels.items() if needed <= have)]


PROGRAMS = _programs()


@cache
def _build() -> None:
    """All programs at once, as ext/CMakeLists.txt builds them; only what has changed since the last time."""
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    cmake = shutil.which("cmake", path=path)
    assert cmake, "pip install cmake ninja"
    configure = [cmake, "-S", str(ROOT / "ext"), "-B", str(BUILD), "-G", "Ninja", "-DPREDICTOR_TESTS=ON"]
    for command in (configure, [cmake, "--build", str(BUILD), "--target", *PROGRAMS]):
        built = subprocess.run(command, env=os.environ | {"PATH": path}, capture_output=True, text=True, check=False)
        assert built.returncode == 0, built.stdout + built.stderr


@cache
def _run(program: str) -> subprocess.CompletedProcess[str]:
    _build()
    return subprocess.run([BUILD / "tests" / program], capture_output=True, text=True, timeout=300, check=False)


@pytest.mark.parametrize("program", PROGRAMS)
def test_kernels(program: str) -> None:
    done = _run(program)
    assert done.returncode == 0, done.stderr


def test_instruction_sets_agree_to_the_last_bit() -> None:
    """All but attention over whole texts, which may fuse its multiplications and additions."""
    digests = {program: _run(program).stdout for program in PROGRAMS}
    assert len(set(digests.values())) == 1, digests
