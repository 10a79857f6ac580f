"""What this service's speed must be, against what was measured."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from benchmarks.figures import Figures, InProcess, Row
from benchmarks.servers import MOSEC, OURS

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence


@dataclass(frozen=True)
class Target:
    """Of one protocol."""

    label: str
    of_mosec: float
    """Times mosec's best requests/s."""
    beyond_us: float
    """Processor time of a request beyond the model's, at 64 connections."""
    lone_us: float
    """p50 of a lone request beyond the model's time."""


TARGETS = {
    "HTTP": Target("ours, HTTP", 1.3, 20, 120),
    "Thrift": Target("ours, Thrift", 2.0, 10, 100),
}
assert {target.label for target in TARGETS.values()} <= {endpoint.label for endpoint in OURS.endpoints}
MOSEC_LABELS = tuple(server.endpoints[0].label for server in MOSEC)
DOCUMENTS = "fixed"  # every bound is for the fixed sentence


@dataclass(frozen=True)
class Check:
    """One line of the verdict."""

    what: str
    bound: str
    measured: str
    holds: bool


def no_errors(figures: Iterable[Figures]) -> Check:
    """Of all rows."""
    errors = sum(each.errors for each in figures)
    return Check("errors, all rows", "0", str(errors), errors == 0)


def checks(rows: Mapping[Row, Figures], alone: Mapping[str, Sequence[InProcess]]) -> list[Check]:
    """Every check for which the run has the figures."""
    found: list[Check] = []
    for protocol, target in TARGETS.items():
        found += _against_mosec(protocol, target, rows)
        found += _against_the_model(protocol, target, rows, alone.get(DOCUMENTS, ()))
    return [*found, *_memory(rows), *_errors(rows)]


def _ours(target: Target, rows: Mapping[Row, Figures], connections: int) -> Figures | None:
    return rows.get(Row(target.label, DOCUMENTS, connections))


def _mosec(rows: Mapping[Row, Figures], connections: int) -> Figures | None:
    """mosec's setting with the most requests/s there."""
    found = [rows[row] for label in MOSEC_LABELS if (row := Row(label, DOCUMENTS, connections)) in rows]
    return max(found, key=lambda figures: figures.rps, default=None)


def _against_mosec(protocol: str, target: Target, rows: Mapping[Row, Figures]) -> Iterator[Check]:
    for connections in (64, 16):
        ours, mosec = _ours(target, rows, connections), _mosec(rows, connections)
        if ours is None or mosec is None or mosec.rps == 0:
            continue
        at = f"by {protocol} at {connections} connections"
        ratio = ours.rps / mosec.rps
        what = f"requests/s of mosec's best {at}"
        yield Check(what, f">= {target.of_mosec} times", f"{ratio:.2f} times", ratio >= target.of_mosec)
        p99 = f"{ours.p99_us / 1e3:.2f} ms"
        yield Check(f"p99 {at}", f"< {mosec.p99_us / 1e3:.2f} ms (mosec)", p99, ours.p99_us < mosec.p99_us)


def _against_the_model(
    protocol: str, target: Target, rows: Mapping[Row, Figures], alone: Sequence[InProcess]
) -> Iterator[Check]:
    by_batch = {figure.batch: figure for figure in alone if figure.threads == 1}
    lone, loaded = _ours(target, rows, 1), _ours(target, rows, 64)
    if lone and 1 in by_batch:
        limit = by_batch[1].call_us + target.lone_us
        bound = f"<= {limit:.0f} us (the model + {target.lone_us:.0f})"
        yield Check(f"p50 by {protocol} at 1 connection", bound, f"{lone.p50_us:.0f} us", lone.p50_us <= limit)
    if loaded and 32 in by_batch:
        beyond = loaded.cpu_us - by_batch[32].cpu_us_per_document
        what = f"CPU beyond the model's by {protocol} at 64 connections"
        bound = f"<= {target.beyond_us:.0f} us a request"
        yield Check(what, bound, f"{beyond:.1f} us", beyond <= target.beyond_us)


def _memory(rows: Mapping[Row, Figures]) -> Iterator[Check]:
    ours, mosec = _ours(TARGETS["HTTP"], rows, 64), _mosec(rows, 64)
    if ours is None or mosec is None:
        return
    for name, own, other in (("RSS", ours.rss_mib, mosec.rss_mib), ("PSS", ours.pss_mib, mosec.pss_mib)):
        what = f"{name} of the whole service at 64 connections"
        yield Check(what, f"< {other:.0f} MiB (mosec)", f"{own:.0f} MiB", own < other)


def _errors(rows: Mapping[Row, Figures]) -> Iterator[Check]:
    own = [figures.errors for row, figures in rows.items() if row.label.startswith(OURS.name)]
    if own:
        yield Check("errors of ours, all rows", "0", str(sum(own)), sum(own) == 0)
