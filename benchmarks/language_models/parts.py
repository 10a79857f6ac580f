"""What is measured of the engines, in turns: so that what else the machine does is the same for all of them."""

from __future__ import annotations

import os
import sys
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, TypeVar

from benchmarks.language_models import ctranslate2, models
from benchmarks.language_models.ctranslate2 import CTranslate2
from benchmarks.language_models.llama_cpp import LlamaCpp
from benchmarks.language_models.ours import Ours
from benchmarks.process import memory
from ext import _generator

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable, Iterator

    from benchmarks.language_models.engines import Engine, Gaps, Server

E = TypeVar("E", bound="Engine")

STREAMS = (1, 4, 8, 16)
TOKENS, PROMPT = 64, 16  # of each text
FIRST_PROMPT, FIRST_TOKENS = 128, 8  # where the first token is waited for
LONG = 900
USUAL = 40  # tokens before the long prompt comes
GAP_ROUNDS = 3  # times as many as of other parts: see report.held_up
SAME_PROMPTS = 4  # whose first token all engines must agree on, but for one


@dataclass
class Figures:
    """Of one engine in one precision; of every round."""

    rates: dict[int, list[float]] = field(default_factory=dict)
    """Texts at a time -> tokens a second, prompts included."""
    first_tokens: list[list[float]] = field(default_factory=list)
    """Seconds to the first token of each of 16 texts that come at once."""
    gaps: list[Gaps] = field(default_factory=list)
    known: list[tuple[float, float]] = field(default_factory=list)
    """(first, again): seconds to the token after a long prompt."""
    memory: float = 0
    """MiB that the process has grown by at most while the model was loaded: its own memory and mapped files."""
    weights: float = 0
    """MiB of the model's matrices in this precision; without their scales, but in int4."""
    after: float = 0
    """MiB that it has grown by when texts were written, with what of the cache they have used."""

    def rate(self, streams: int) -> float:
        """The median of the rounds."""
        return median(self.rates[streams])


Results = dict[tuple[str, str, str], Figures]
"""(shape, precision, engine)"""


def _say(*parts: object) -> None:
    print(*parts, f"(load {os.getloadavg()[0]:.1f})", file=sys.stderr)


@contextmanager
def _servers(shape: str, precision: str, options: argparse.Namespace) -> Iterator[list[Server]]:
    """Those that requests join while they run, warm."""
    servers: list[Server] = [Ours(shape, precision, options.threads, max(STREAMS))]
    try:
        if LlamaCpp.name in options.peers:
            servers.append(LlamaCpp(shape, precision, options.threads, max(STREAMS)))
        for server in servers:
            server.texts([models.prompt(0, 999, PROMPT)], TOKENS)
        yield servers
    finally:
        for server in servers:
            server.close()


@contextmanager
def _engines(shape: str, precision: str, options: argparse.Namespace) -> Iterator[list[Engine]]:
    """All that have this precision."""
    with _servers(shape, precision, options) as servers:
        if CTranslate2.name not in options.peers or not ctranslate2.computes(precision):
            yield [*servers]
            return
        with closing(CTranslate2(shape, precision, options.threads)) as library:
            library.texts([models.prompt(0, 999, PROMPT)], TOKENS)
            yield [*servers, library]


def _in_turns(engines: list[E], rounds: int) -> Iterator[tuple[int, E]]:
    """(round, engine): each round begins with another engine."""
    for number in range(rounds):
        for place in range(len(engines)):
            yield number, engines[(number + place) % len(engines)]


def measure_rates(results: Results, shape: str, precision: str, options: argparse.Namespace) -> None:
    """Tokens a second of 1, 4, 8 and 16 texts that grow together."""
    with _engines(shape, precision, options) as engines:
        _require_same_weights(engines, precision)
        for streams in STREAMS:
            for number, engine in _in_turns(engines, options.rounds):
                prompts = [models.prompt(text, 10 * number + streams, PROMPT) for text in range(streams)]
                texts, taken = engine.texts(prompts, TOKENS)
                rates = _figures(results, shape, precision, engine).rates.setdefault(streams, [])
                rates.append(sum(map(len, texts)) / taken)
            found = {engine.name: _figures(results, shape, precision, engine).rate(streams) for engine in engines}
            _say(shape, precision, f"{streams} texts, tokens/s:", *(f"{of} {rate:,.1f}" for of, rate in found.items()))


def _require_same_weights(engines: list[Engine], precision: str) -> None:
    """Whole numbers and halves of each engine's own make other texts; floats must not."""
    if precision != "float32":
        return
    prompts = [models.prompt(text, 7, PROMPT) for text in range(SAME_PROMPTS)]
    found = [[text[0] for text in engine.texts(prompts, 1)[0]] for engine in engines]
    for engine, tokens in zip(engines, found, strict=True):
        if sum(one == other for one, other in zip(tokens, found[0], strict=True)) < SAME_PROMPTS - 1:
            raise RuntimeError(f"{engine.name} has other weights: first tokens {tokens}, ours {found[0]}")


def measure_first_tokens(results: Results, shape: str, precision: str, options: argparse.Namespace) -> None:
    """How long 16 texts wait that come at once."""
    with _servers(shape, precision, options) as engines:
        for number, engine in _in_turns(engines, options.rounds):
            prompts = [models.prompt(text, 100 + number, FIRST_PROMPT) for text in range(max(STREAMS))]
            times = engine.first_tokens(prompts, FIRST_TOKENS)
            _figures(results, shape, precision, engine).first_tokens.append(times)
            _say(shape, precision, engine.name, f"first tokens: {median(times) * 1e3:,.0f} ms, {times[-1] * 1e3:,.0f}")


def measure_gaps(results: Results, shape: str, precision: str, options: argparse.Namespace) -> None:
    """How long a text that grows stands still while a long prompt is read beside it."""
    with _servers(shape, precision, options) as engines:
        for number, engine in _in_turns(engines, GAP_ROUNDS * options.rounds):
            text, other = models.prompt(1, 200 + number, PROMPT), models.prompt(2, 200 + number, LONG)
            gaps = engine.gaps(text, USUAL, other)
            _figures(results, shape, precision, engine).gaps.append(gaps)
            longest = f"{max(gaps.beside) * 1e3:,.1f}, without {max(gaps.alone, default=gaps.usual) * 1e3:,.1f}"
            _say(shape, precision, engine.name, f"gap: {gaps.usual * 1e3:,.1f} ms, beside a prompt {longest}")


def measure_known(results: Results, shape: str, precision: str, options: argparse.Namespace) -> None:
    """A long prompt that comes for the first time and again."""
    with _servers(shape, precision, options) as engines:
        for number, engine in _in_turns(engines, options.rounds):
            long = [models.prompt(0, 300 + number, LONG)]
            first = engine.texts(long, 1)[1]
            again = median(engine.texts(long, 1)[1] for _ in range(3))
            _figures(results, shape, precision, engine).known.append((first, again))
            _say(shape, precision, engine.name, f"long prompt: {first * 1e3:,.0f} ms, again {again * 1e3:,.1f}")


def measure_memory(results: Results, shape: str, precision: str, options: argparse.Namespace) -> None:
    """Of ours alone: others keep their keys and values in advance."""
    models.folder_of(shape)
    _generator.give_back_memory()
    before = memory(os.getpid()).rss
    Path("/proc/self/clear_refs").write_text("5")  # VmHWM begins anew
    engine = Ours(shape, precision, options.threads, max(STREAMS))
    figures = results.setdefault((shape, precision, engine.name), Figures())
    figures.memory, figures.weights = _most_memory() - before, models.weight_bytes(shape, precision) / 2**20
    for streams in STREAMS:
        engine.texts([models.prompt(text, streams, PROMPT) for text in range(streams)], TOKENS)
    figures.after = memory(os.getpid()).rss - before
    engine.close()
    _say(shape, precision, f"MiB: {figures.memory:,.0f}, weights {figures.weights:,.0f}")


def _most_memory() -> float:
    """MiB that were in memory at a time: anonymous and of files."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM:")) / 1024


def _figures(results: Results, shape: str, precision: str, engine: Engine) -> Figures:
    return results.setdefault((shape, precision, engine.name), Figures())


PARTS: dict[str, Callable[[Results, str, str, argparse.Namespace], None]] = {
    "memory": measure_memory,
    "rates": measure_rates,
    "first": measure_first_tokens,
    "gaps": measure_gaps,
    "known": measure_known,
}
"""Memory first: what others leave behind in this process would count as ours."""
