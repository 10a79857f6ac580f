"""The results as Markdown tables, to be read on a terminal and pasted into the README."""

from __future__ import annotations

from typing import TYPE_CHECKING

from benchmarks.figures import middle_row, spread

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from benchmarks.checks import Check
    from benchmarks.figures import Figures, InProcess, Row

HEAD = (
    "server",
    "documents",
    "conn.",
    "req/s",
    "+-%",
    "p50 ms",
    "p99 ms",
    "CPU us/req",
    "RSS MiB",
    "PSS MiB",
    "batch",
    "errors",
    "load us/req",
)


def markdown(head: Sequence[str], lines: Sequence[Sequence[str]], text_columns: int = 1) -> str:
    """A table with columns of even width, numbers to the right; the first `text_columns` are text."""
    widths = [max(len(line[i]) for line in (head, *lines)) for i in range(len(head))]

    def joined(cells: Sequence[str]) -> str:
        padded = (
            cell.ljust(width) if i < text_columns else cell.rjust(width)
            for i, (cell, width) in enumerate(zip(cells, widths, strict=True))
        )
        return f"| {' | '.join(padded)} |"

    rule = [("-" * width) if i < text_columns else "-" * (width - 1) + ":" for i, width in enumerate(widths)]
    return "\n".join(joined(line) for line in (head, rule, *lines))


def server_table(rounds: Mapping[Row, Sequence[Figures]]) -> str:
    """Medians of all rounds, in the order of measuring, the fixed sentence first."""
    order = sorted(rounds, key=lambda row: row.documents)
    return markdown(HEAD, [_cells(row, rounds[row]) for row in order], text_columns=2)


def _cells(row: Row, rounds: Sequence[Figures]) -> list[str]:
    figures = middle_row(rounds)
    return [
        row.label,
        row.documents,
        str(row.connections),
        f"{figures.rps:,.0f}",
        f"{spread(rounds) * 50:.0f}",
        f"{figures.p50_us / 1e3:.2f}",
        f"{figures.p99_us / 1e3:.2f}",
        f"{figures.cpu_us:.0f}",
        f"{figures.rss_mib:.0f}",
        f"{figures.pss_mib:.0f}",
        "-" if figures.mean_batch is None else f"{figures.mean_batch:.1f}",
        str(figures.errors),
        f"{figures.load_cpu_us:.1f}",
    ]


def model_table(alone: Mapping[str, Sequence[InProcess]]) -> str:
    """The model alone."""
    lines = [
        [
            name,
            str(figure.batch),
            str(figure.threads),
            f"{figure.documents_per_s:,.0f}",
            f"{figure.call_us:,.0f}",
            f"{figure.cpu_us_per_document:.1f}",
        ]
        for name, figures in alone.items()
        for figure in figures
    ]
    return markdown(("documents", "batch", "threads", "documents/s", "us a call", "CPU us/document"), lines)


def check_table(checks: Sequence[Check], subject: str = "on the fixed sentence") -> str:
    """The bound, the figure, and whether it holds; `subject` is what was measured."""
    lines = [[check.what, check.bound, check.measured, "yes" if check.holds else "NO"] for check in checks]
    return markdown((subject, "asked", "measured", "holds"), lines, text_columns=4)
