"""The options of `python -m benchmarks`."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from benchmarks.process import ROOT
from benchmarks.servers import OWN_SERVERS, PEER_SERVERS

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping, Sequence

T = TypeVar("T", int, float)

SERVERS = {server.name: server for server in (*OWN_SERVERS, *PEER_SERVERS)}
KINDS = ("fixed", "varied")
MODEL = ROOT / "models" / "classifier.pt"
QUICK = {"rounds": 1, "seconds": 1.0, "warmup": 0.5}


def _among(names: Collection[str]) -> Callable[[str], tuple[str, ...]]:
    """The type of an option that takes some of `names`, with commas between."""

    def parse(text: str) -> tuple[str, ...]:
        chosen = tuple(text.split(","))
        if unknown := set(chosen) - set(names):
            raise argparse.ArgumentTypeError(f"{', '.join(sorted(unknown))}: choose from {', '.join(names)}")
        return chosen

    return parse


def number(kind: Callable[[str], T], low: float, high: float) -> Callable[[str], T]:
    """The type of an option that takes a number from `low` to `high`."""

    def parse(text: str) -> T:
        value = kind(text)
        if not low <= value <= high:
            raise argparse.ArgumentTypeError(f"{text} is not from {low:g} to {high:g}")
        return value

    parse.__name__ = kind.__name__  # argparse names it when the text is no number
    return parse


def connection_counts(text: str) -> tuple[int, ...]:
    """The type of an option that takes numbers of connections, with commas between."""
    return tuple(number(int, 1, 10_000)(part) for part in text.split(","))


def parse_arguments(arguments: list[str] | None = None) -> argparse.Namespace:
    """The options; ends the program when they are wrong."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks",
        description="Measures this service, the plain Apache Thrift server and the model alone, in one run.",
        epilog="Tables go to stdout, progress to stderr. "
        "The exit status is 1 when something that is asked for does not hold, "
        "2 when nothing can be measured. "
        "benchmarks/README.md explains the figures.",
    )
    add = parser.add_argument
    add(
        "--model",
        type=Path,
        default=MODEL,
        metavar="FILE",
        help="TorchScript classifier (default: models/classifier.pt)",
    )
    add("--peers", action="store_true", help="also mosec and LitServe, installed on first use below build/bench-venvs")
    add("--servers", type=_among(SERVERS), metavar="NAMES", help=f"only some of {','.join(SERVERS)}")
    add(
        "--documents",
        type=_among(KINDS),
        default=KINDS,
        metavar="KINDS",
        help=f"some of {','.join(KINDS)} (default: all)",
    )
    add("--connections", type=connection_counts, default=(1, 16, 64), metavar="N,N,...", help="(default: 1,16,64)")
    add("--rounds", type=number(int, 1, 100), default=3, help="the tables show their medians (default: %(default)s)")
    add("--seconds", type=number(float, 0.1, 600), default=3.0, help="time for each row (default: %(default)s)")
    add("--warmup", type=number(float, 0, 600), default=1.0, help="load before that, seconds (default: %(default)s)")
    add("--output", type=Path, metavar="FILE", help="JSON of every round (default: benchmarks/results/TIME.json)")
    add("--quick", action="store_true", help="one round of 1 s after 0.5 s of warm-up: to see that it works")
    options = parsed(parser, arguments, QUICK)
    if options.servers is None:
        options.servers = tuple(server.name for server in (*OWN_SERVERS, *(PEER_SERVERS if options.peers else ())))
    return options


def parsed(
    parser: argparse.ArgumentParser, arguments: Sequence[str] | None, quick: Mapping[str, float]
) -> argparse.Namespace:
    """The options, of which --quick replaces some; ends the program when they are wrong, or --model is not there."""
    options = parser.parse_args(arguments)
    if options.quick:
        vars(options).update(quick)
    if not options.model.is_file():
        parser.error(f"--model: {options.model} is not there; `make models/classifier.pt` trains the demo classifier")
    return options


def add_times(parser: argparse.ArgumentParser, rounds: int, seconds: float, warmup: float) -> None:
    """How often and how long a comparison measures, with its own defaults."""
    add = parser.add_argument
    add(
        "--rounds", type=number(int, 1, 100), default=rounds, help="the tables show their medians; default: %(default)s"
    )
    add("--seconds", type=number(float, 0.01, 600), default=seconds, help="time for each row; default: %(default)s")
    add("--warmup", type=number(float, 0, 600), default=warmup, help="load before that, seconds; default: %(default)s")


def add_load_options(parser: argparse.ArgumentParser, rounds: int, seconds: float, warmup: float) -> None:
    """What every comparison of servers under load takes, with its own defaults."""
    add = parser.add_argument
    add("--connections", type=connection_counts, default=(1, 16, 64), metavar="N,N,...", help="default: 1,16,64")
    add_times(parser, rounds, seconds, warmup)
    add("--quick", action="store_true", help="one round of a second a row: to see that it works")
