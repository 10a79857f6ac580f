"""Language models of the shapes that people serve: our engine, llama.cpp's server and CTranslate2, on as many threads.

    python -m benchmarks.language_models
    python -m benchmarks.language_models --shapes 135m --precisions int8 --parts rates

The weights are random: how fast they are does not depend on their values. Parts: `rates`, tokens a second of 1, 4, 8
and 16 greedy texts; `first`, how long 16 texts that come at once wait for their first token; `gaps`, how long a text
stands still while a prompt of 900 tokens is read beside it; `known`, such a prompt for the first time and again;
`memory`, what a model takes. The engines take turns, so that what else the machine does is the same for all of them.
"""

from __future__ import annotations

import argparse
import os
import sys
from typing import TYPE_CHECKING

import torch

from benchmarks.arguments import number
from benchmarks.language_models import llama_cpp
from benchmarks.language_models.models import SHAPES
from benchmarks.language_models.parts import PARTS, PROMPT, TOKENS
from benchmarks.language_models.report import checks, tables
from benchmarks.report import machine_line
from benchmarks.table import check_table
from server.models.options import GENERATOR_PRECISIONS as PRECISIONS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from benchmarks.language_models.parts import Results

ORDER = {name: place for place, name in enumerate((*SHAPES, *PRECISIONS))}
"""Of the tables."""
PEERS = ("llama.cpp", "CTranslate2")


def parse_arguments(arguments: Sequence[str] | None) -> argparse.Namespace:
    """The options; ends the program when they are wrong."""
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        prog="python -m benchmarks.language_models",
        epilog="The exit status is 1 when something that is asked for does not hold.",
    )
    add = parser.add_argument
    add("--shapes", nargs="+", choices=SHAPES, default=["135m", "500m"], help="default: 135m 500m")
    add("--precisions", nargs="+", choices=PRECISIONS, default=list(PRECISIONS), help="default: all")
    add("--parts", nargs="+", choices=PARTS, default=list(PARTS), help="default: all")
    add("--peers", nargs="*", choices=PEERS, default=list(PEERS), help="default: all")
    add("--threads", type=number(int, 1, 256), default=2, help="of each engine; default: %(default)s")
    add("--rounds", type=number(int, 1, 100), default=3, help="the tables show medians; default: %(default)s")
    add("--quick", action="store_true", help="one round of the smaller shape")
    options = parser.parse_args(arguments)
    if options.quick:
        options.rounds, options.shapes = 1, options.shapes[:1]
    return options


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the tables; the exit status, as --help gives it."""
    options = parse_arguments(arguments)
    results: Results = {}
    for part in PARTS:
        for shape in options.shapes:
            for precision in options.precisions:
                if part in options.parts:
                    PARTS[part](results, shape, precision, options)
    ordered = dict(sorted(results.items(), key=lambda item: (ORDER[item[0][0]], ORDER[item[0][1]])))
    verdict = checks(ordered)
    print(f"Llamas of random weights, {TOKENS} tokens after {PROMPT}, {options.threads} threads; {machine_line()}")
    print(f"Instructions: ours {torch.backends.cpu.get_cpu_capability()}; llama.cpp {llama_cpp.instructions()}")
    print(f"Load average at the end: {', '.join(f'{load:.1f}' for load in os.getloadavg())}\n")
    print(f"{tables(ordered)}\n\n{check_table(verdict)}")
    return 0 if all(check.holds for check in verdict) else 1


if __name__ == "__main__":
    sys.exit(main())
