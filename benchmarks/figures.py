"""What one row of the benchmark measured, and the middle of several rounds."""

from __future__ import annotations

import statistics
from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from collections.abc import Sequence

    from _typeshed import DataclassInstance

T = TypeVar("T", bound="DataclassInstance")


@dataclass(frozen=True, order=True)
class Row:
    """Which measurement it is. `documents` is `fixed` or `varied`."""

    label: str
    documents: str
    connections: int


@dataclass(frozen=True)
class Figures:
    """One measurement of one row. `None`: the server does not tell."""

    rps: float
    p50_us: float
    p99_us: float
    #: utime + stime of the server's process tree, microseconds for each answered request
    cpu_us: float
    #: sums over the tree right after the load, MiB
    rss_mib: float
    pss_mib: float
    mean_batch: float | None
    errors: int
    #: the load generator's own CPU for each request
    load_cpu_us: float


@dataclass(frozen=True)
class InProcess:
    """The model alone, called in a loop. `call_us` is the median time of one call, which gives `batch` documents."""

    batch: int
    threads: int
    documents_per_s: float
    call_us: float
    cpu_us_per_document: float


def middle(rounds: Sequence[T]) -> T:
    """The first of some alike objects, with the medians of all for what is a float; None where one is None."""
    medians: dict[str, Any] = {}
    for field in fields(rounds[0]):
        values = [getattr(figures, field.name) for figures in rounds]
        if None in values:
            medians[field.name] = None
        elif isinstance(values[0], float):
            medians[field.name] = statistics.median(values)
    return replace(rounds[0], **medians)


def middle_row(rounds: Sequence[Figures]) -> Figures:
    """The medians of a row; errors are added up, as one is one too many."""
    return replace(middle(rounds), errors=sum(figures.errors for figures in rounds))


def spread(rounds: Sequence[Figures]) -> float:
    """How far the rounds' requests/s lie apart, as a share of their median: the run's noise."""
    rates = [figures.rps for figures in rounds]
    return (max(rates) - min(rates)) / statistics.median(rates) if any(rates) else 0.0
