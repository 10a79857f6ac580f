"""Polite clients in a crowd."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from benchmarks.crowd import ALONE, CROWD, POLITE, checks, main
from benchmarks.figures import Figures, Row
from tests.support.generators import train_tiny

if TYPE_CHECKING:
    from pathlib import Path

BASE = Figures(1000.0, 500.0, 1000.0, 60.0, 300.0, 250.0, None, 0, 6.0)


def rows(http: float = 2000.0, thrift: float = 2000.0, errors: int = 0) -> dict[Row, Figures]:
    """Of a run with these p99s in a crowd."""
    figures = {
        f"16 HTTP clients, {ALONE}": BASE,
        f"16 Thrift clients, {ALONE}": BASE,
        f"16 HTTP clients, {CROWD}": replace(BASE, p99_us=http, errors=errors),
        f"16 Thrift clients, {CROWD}": replace(BASE, p99_us=thrift),
    }
    return {Row(case, "fixed", POLITE): figure for case, figure in figures.items()}


@pytest.mark.parametrize(
    ("run", "holding"),
    [
        (rows(), [True, True, True]),
        (rows(http=2001.0), [False, True, True]),
        (rows(thrift=2001.0), [True, False, True]),
        (rows(errors=1), [True, True, False]),
    ],
)
def test_what_is_asked(run: dict[Row, Figures], holding: list[bool]) -> None:
    assert [check.holds for check in checks(run)] == holding


@pytest.mark.slow
def test_measures_all_cases(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    generator = train_tiny(tmp_path / "generator")
    times = ("--rounds", "1", "--seconds", "0.3", "--warmup", "0.1", "--silent", "20", "--streams", "8")
    assert main(("--generator", str(generator), *times)) in (0, 1)  # where others are busy, it may be 1
    out = capsys.readouterr().out
    for case in (ALONE, CROWD):
        assert f"| 16 HTTP clients, {case}" in out
    assert "| errors, all rows" in out
