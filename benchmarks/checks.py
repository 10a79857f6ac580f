"""What is asked of this service's speed, against what was measured."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from benchmarks.figures import Figures, InProcess, Row
from benchmarks.servers import MOSEC, OURS

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence


OUR_LABEL = OURS.endpoints[0].label
MOSEC_LABELS = tuple(server.endpoints[0].label for server in MOSEC)
DOCUMENTS = "fixed"  # every figure that is asked for is for the fixed sentence


@dataclass(frozen=True)
class Check:
    """One line of the verdict. An aim is hoped for, not asked: the run does not fail by it."""

    what: str
    asked: str
    measured: str
    holds: bool
    aim: bool = False


def checks(rows: Mapping[Row, Figures], alone: Mapping[str, Sequence[InProcess]]) -> list[Check]:
    """Every check for which the run has the figures."""
    return [*_against_mosec(rows), *_against_the_model(rows, alone.get(DOCUMENTS, ())), *_errors(rows)]


def _ours(rows: Mapping[Row, Figures], connections: int) -> Figures | None:
    return rows.get(Row(OUR_LABEL, DOCUMENTS, connections))


def _mosec(rows: Mapping[Row, Figures], connections: int) -> Figures | None:
    """mosec's setting with the most requests/s there."""
    found = [rows[row] for label in MOSEC_LABELS if (row := Row(label, DOCUMENTS, connections)) in rows]
    return max(found, key=lambda figures: figures.rps, default=None)


def _against_mosec(rows: Mapping[Row, Figures]) -> Iterator[Check]:
    for connections in (64, 16):
        ours, mosec = _ours(rows, connections), _mosec(rows, connections)
        if ours is None or mosec is None or mosec.rps == 0:
            continue
        at = f"at {connections} connections"
        ratio = ours.rps / mosec.rps
        what = f"requests/s of mosec's best {at}"
        for asked, aim in ((1.3, False), (2.0, True)):
            yield Check(what, f">= {asked} times", f"{ratio:.2f} times", ratio >= asked, aim)
        if connections == 64:
            p99 = f"{ours.p99_us / 1e3:.2f} ms"
            yield Check(f"p99 {at}", f"< {mosec.p99_us / 1e3:.2f} ms (mosec)", p99, ours.p99_us < mosec.p99_us)
            for name, own, other in (("RSS", ours.rss_mib, mosec.rss_mib), ("PSS", ours.pss_mib, mosec.pss_mib)):
                yield Check(
                    f"{name} of the whole service {at}", f"< {other:.0f} MiB (mosec)", f"{own:.0f} MiB", own < other
                )


def _against_the_model(rows: Mapping[Row, Figures], alone: Sequence[InProcess]) -> Iterator[Check]:
    by_batch = {figure.batch: figure for figure in alone if figure.threads == 1}
    lone, loaded = _ours(rows, 1), _ours(rows, 64)
    if lone and 1 in by_batch:
        limit = by_batch[1].call_us + 100
        yield Check(
            "p50 at 1 connection", f"<= {limit:.0f} us (the model + 100)", f"{lone.p50_us:.0f} us", lone.p50_us <= limit
        )
    if loaded and 32 in by_batch:
        beyond = loaded.cpu_us - by_batch[32].cpu_us_per_document
        for asked, aim in ((25, False), (10, True)):
            what = "CPU beyond the model's at 64 connections"
            yield Check(what, f"<= {asked} us a request", f"{beyond:.1f} us", beyond <= asked, aim)


def _errors(rows: Mapping[Row, Figures]) -> Iterator[Check]:
    own = [figures.errors for row, figures in rows.items() if row.label.startswith(OURS.name)]
    if own:
        yield Check("errors of ours, all rows", "0", str(sum(own)), sum(own) == 0)
