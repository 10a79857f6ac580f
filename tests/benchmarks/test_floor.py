"""What sockets and the event loop cost alone."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from benchmarks.figures import Figures, Row
from benchmarks.floor import CHECKED_AT, DOCUMENTS, SIDES, beyond_table, checks, main
from tests.support.zoo import save_named

if TYPE_CHECKING:
    from pathlib import Path

BASE = Figures(1000.0, 500.0, 1000.0, 9.0, 300.0, 250.0, None, 0, 6.0)


def rows(thrift: float = 9.0, http: float = 9.0, errors: int = 0) -> dict[Row, Figures]:
    """Of a run in which a request costs the floor so much."""
    floors = dict(zip((side.floor.label for side in SIDES), (thrift, http), strict=True))
    figures = {side.endpoint.label: replace(BASE, cpu_us=50.0, errors=errors) for side in SIDES}
    figures |= {label: replace(BASE, cpu_us=cpu_us) for label, cpu_us in floors.items()}
    return {Row(label, DOCUMENTS, CHECKED_AT): figure for label, figure in figures.items()}


@pytest.mark.parametrize(
    ("run", "holding"),
    [
        (rows(), [True, True, True]),
        (rows(thrift=10.0), [False, True, True]),
        (rows(http=20.0), [True, False, True]),
        (rows(errors=1), [True, True, False]),
    ],
)
def test_what_is_asked_must_be_above_the_floor(run: dict[Row, Figures], holding: list[bool]) -> None:
    assert [check.holds for check in checks(run)] == holding


def test_the_model_and_the_floor_are_taken_off() -> None:
    lines = beyond_table(rows(http=12.0), 13.0).splitlines()
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[2:]]
    assert cells == [
        ["Thrift", "64", "50.0", "37.0", "9.0", "28.0"],
        ["HTTP", "64", "50.0", "37.0", "12.0", "25.0"],
    ]


@pytest.mark.slow
def test_measures_ours_and_the_floor(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    times = ("--rounds", "1", "--seconds", "0.3", "--warmup", "0.1", "--connections", "4,64")
    # where others are busy, it may be 1
    assert main(("--model", str(save_named("docnn_mask", tmp_path)), *times)) in (0, 1)
    out = capsys.readouterr().out
    for side in SIDES:
        assert f"| {side.endpoint.label}" in out
        assert f"| {side.floor.label}" in out
    errors = next(line for line in out.splitlines() if line.startswith("| errors, all rows"))
    assert errors.endswith("| yes   |")
