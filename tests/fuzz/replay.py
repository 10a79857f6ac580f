"""Feeds targets everything that a fuzzer began with or found, and more that comes by chance; without atheris.

    python -m tests.fuzz.replay [TARGET ...] [--spoilt 200]

Such as for an extension that was built with sanitizers. Nothing is measured.
"""

from __future__ import annotations

import argparse
import sys
from random import Random
from typing import TYPE_CHECKING

from tests.fuzz.__main__ import CRASHES, FOLDER
from tests.fuzz.mutations import json_mutated, spoilt
from tests.fuzz.targets import NAMES, made
from tests.support.shared import SharedFiles

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

_MOST_OF_CORPUS = 2000


def main(arguments: Sequence[str] | None = None) -> int:
    """Gives 0; what a target raises ends the process."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz.replay", description="Feed the targets what is there.")
    parser.add_argument("targets", nargs="*", metavar="TARGET", help=f"some of {', '.join(NAMES)} (all of them)")
    parser.add_argument("--spoilt", type=int, default=200, help="inputs by chance for each (%(default)s)")
    given = parser.parse_args(arguments)
    models = FOLDER / "models"
    models.mkdir(parents=True, exist_ok=True)
    for name in given.targets or NAMES:
        target = made(name, SharedFiles(models))
        seeds = list(target.seeds())
        assert all(target.one(data) for data in seeds), f"{name}: a right input is refused"
        count = len(seeds)
        for data in (*_kept(name), *_by_chance(seeds, given.spoilt)):
            target.one(data)
            count += 1
        target.close()
        print(f"{name}: {count} inputs", flush=True)
    return 0


def _kept(name: str) -> Iterator[bytes]:
    for folder in (CRASHES / name, FOLDER / "corpus" / name):
        if folder.is_dir():
            for path in sorted(folder.iterdir())[:_MOST_OF_CORPUS]:
                yield path.read_bytes()


def _by_chance(seeds: Sequence[bytes], count: int) -> Iterator[bytes]:
    rng = Random(7)
    for number in range(count):
        data = rng.choice(seeds)
        yield (json_mutated(data, number) if number % 2 else None) or spoilt(data, rng)


if __name__ == "__main__":
    sys.exit(main())
