"""Tables of what was measured, and what is asked of ours."""

from __future__ import annotations

from statistics import median
from typing import TYPE_CHECKING

from benchmarks.checks import Check
from benchmarks.language_models.parts import STREAMS
from benchmarks.table import markdown

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from benchmarks.language_models.engines import Gaps
    from benchmarks.language_models.parts import Figures, Results

LEAST_RATIO = {1: 1.0, 4: 1.0, 8: 1.5, 16: 1.5}  # of the best other's tokens a second, by the number of texts
MOST_FIRST = 1.5  # times the best other's
MOST_AGAIN = 0.03  # of the first time
MOST_GAP = 4.0  # times the usual one
PARTS = 20  # of the time that a prompt is read
MOST_MEMORY = 1.15  # of the weights, in int8
OURS = "ours"
NONE = "-"


def tables(results: Results) -> str:
    """Those for which there are figures."""
    rates = [[*row, *(f"{found.rate(n):,.1f}" for n in STREAMS)] for row, found in results.items() if found.rates]
    times = {row: _times(found) for row, found in results.items()}
    others = [[*row, *cells] for row, cells in times.items() if any(cell != NONE for cell in cells)]
    sizes = [
        [*row[:2], f"{found.memory:,.0f}", f"{found.after:,.0f}", f"{found.weights:,.0f}"]
        for row, found in results.items()
        if found.weights
    ]
    first = ("first token of 16: ms", "of the last")
    gaps = ("gap: ms", "longest", "beside a prompt", "in most rounds")
    head = (*first, *gaps, "900 tokens: ms", "again")
    found = [
        markdown(("tokens/s", "", "", *(f"{streams} texts" for streams in STREAMS)), rates, 3) if rates else "",
        markdown(("", "", "", *head), others, 3) if others else "",
        markdown(("ours", "", "MiB to load", "after", "of weights"), sizes, 2) if sizes else "",
    ]
    return "\n\n".join(filter(None, found))


def _times(figures: Figures) -> list[str]:
    cells = [NONE] * 8
    if figures.first_tokens:
        half, last = _first(figures)
        cells[:2] = f"{half * 1e3:,.0f}", f"{last * 1e3:,.0f}"
    if figures.gaps:
        usual = median(gaps.usual for gaps in figures.gaps)
        alone = median(max(gaps.alone, default=gaps.usual) for gaps in figures.gaps)
        beside = median(max(gaps.beside) for gaps in figures.gaps)
        cells[2:6] = (f"{gap * 1e3:,.1f}" for gap in (usual, alone, beside, held_up(figures.gaps) * usual))
    if figures.known:
        cells[6] = f"{median(first for first, _ in figures.known) * 1e3:,.0f}"
        cells[7] = f"{median(again for _, again in figures.known) * 1e3:,.1f}"
    return cells


def _first(figures: Figures) -> tuple[float, float]:
    """Seconds until half of the texts have their first token, and until all have."""
    return median(map(median, figures.first_tokens)), median(times[-1] for times in figures.first_tokens)


def held_up(rounds: Sequence[Gaps]) -> float:
    """The longest gap beside a prompt, in usual gaps, that comes in most rounds at the same place of the prompt.

    A machine of whose processors others take some holds up a step now and then, whatever it does. Each round is cut
    into parts, each of which has its longest gap; of a part counts the rounds' median, and of all parts the longest.
    """
    parts = [[longest / gaps.usual for longest in _longest_of_parts(gaps.beside)] for gaps in rounds]
    of_parts: list[float] = [median(of_part) for of_part in zip(*parts, strict=True)]
    return max(of_parts)


def _longest_of_parts(gaps: Sequence[float]) -> Iterator[float]:
    for part in range(PARTS):
        begin, end = part * len(gaps) // PARTS, (part + 1) * len(gaps) // PARTS
        yield max(gaps[begin : max(begin + 1, end)])


def checks(results: Results) -> list[Check]:
    """What is asked, of all that was measured."""
    verdict: list[Check] = []
    for (shape, precision, engine), ours in results.items():
        if engine != OURS:
            continue
        others = {
            name: found
            for (other_shape, kind, name), found in results.items()
            if (other_shape, kind) == (shape, precision) and name != OURS
        }
        verdict += [*_against(f"{shape}, {precision}", ours, others), *_alone(f"{shape}, {precision}", ours)]
        if precision == "int8" and ours.weights:
            grown = ours.memory / ours.weights
            what = f"{shape}, int8: memory of its weights"
            verdict.append(Check(what, f"<= {MOST_MEMORY:g} times", f"{grown:.2f} times", grown <= MOST_MEMORY))
    return verdict


def _against(name: str, ours: Figures, others: dict[str, Figures]) -> Iterator[Check]:
    """In turns with the others: the median of the rounds' ratios."""
    for streams, rates in ours.rates.items():
        best = max(others, key=lambda other: others[other].rate(streams), default=None)
        if best is None:
            continue
        ratio = median(own / other for own, other in zip(rates, others[best].rates[streams], strict=True))
        least = LEAST_RATIO[streams]
        what = f"{name}: {streams} texts against {best}"
        yield Check(what, f">= {least:g} times", f"{ratio:.2f} times", ratio >= least)
    waited = {other: _first(found) for other, found in others.items() if found.first_tokens}
    if ours.first_tokens and waited:
        for index, which in enumerate(("half of 16", "all of 16")):
            ratio = _first(ours)[index] / min(times[index] for times in waited.values())
            what = f"{name}: first tokens of {which}"
            yield Check(what, f"<= {MOST_FIRST:g} times", f"{ratio:.2f} times", ratio <= MOST_FIRST)


def _alone(name: str, ours: Figures) -> Iterator[Check]:
    if ours.known:
        again = median(again / first for first, again in ours.known)
        yield Check(f"{name}: a prompt that is known", f"<= {MOST_AGAIN:.0%}", f"{again:.1%}", again <= MOST_AGAIN)
    if ours.gaps:
        gap = held_up(ours.gaps)
        yield Check(f"{name}: gap beside a prompt", f"<= {MOST_GAP:g} times", f"{gap:.1f} times", gap <= MOST_GAP)
