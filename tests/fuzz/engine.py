"""One target under atheris, for as long as libFuzzer's own flags say.

python -m tests.fuzz.engine TARGET [-max_total_time=SECONDS ...] CORPUS...
"""

from __future__ import annotations

import importlib
import sys
from pathlib import Path

import atheris

from tests.fuzz import targets
from tests.fuzz.mutations import json_mutated

FILES = Path(__file__).parents[2] / "build" / "fuzz" / "models"

_MUTATED_BYTES = 1 << 18
"""Longer inputs are left to libFuzzer: to parse one takes too long."""


def main() -> None:
    """Does not return: libFuzzer ends the process."""
    name, *flags = sys.argv[1:]
    with atheris.instrument_imports(include=list(targets.INSTRUMENTED[name])):
        importlib.import_module(f"tests.fuzz.targets.{name}")
    from tests.fuzz.unit import run
    from tests.support.shared import SharedFiles

    FILES.mkdir(parents=True, exist_ok=True)
    target = targets.made(name, SharedFiles(FILES))

    def one(data: bytes) -> None:
        run(target, data)

    def mutate(data: bytes, most: int, seed: int) -> bytes:
        if seed % 2 and len(data) <= _MUTATED_BYTES:
            mutated = json_mutated(data, seed)
            if mutated is not None and len(mutated) <= most:
                return mutated
        return bytes(atheris.Mutate(data, len(data) if len(data) >= most else most))

    atheris.Setup([sys.argv[0], *flags], one, custom_mutator=mutate)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
