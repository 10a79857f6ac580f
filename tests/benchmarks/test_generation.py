"""The benchmark of generated texts runs, has a row for each, and judges what the issue asks for."""

from __future__ import annotations

from typing import TYPE_CHECKING

from benchmarks.generation import USUAL, Rate, checks, main, table
from tests.support.generators import train_tiny

if TYPE_CHECKING:
    from pathlib import Path

    import pytest


def test_the_table_has_a_row_for_each(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = train_tiny(tmp_path / "model", steps=1)
    assert main(["--model", str(folder), "--rounds", "1", "--seconds", "0.3", "--warmup", "0.1"]) in (0, 1)
    head, rates, verdict = capsys.readouterr().out.split("\n\n")
    assert "GPT-2 of 2 layers of 64, 512 tokens" in head
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in rates.splitlines()[2:]]
    ours = [f"ours, {precision}" for precision in ("float32", "bfloat16", "int8")]
    assert [row[0] for row in rows] == [
        *ours,
        *(f"CTranslate2 in-process, {kind}" for kind in ("float32", "int8")),
        USUAL,
    ]
    assert all(float(cell.replace(",", "")) > 0 for row in rows for cell in row[1:4])
    assert len(verdict.splitlines()) == 2 + 2


def test_what_is_asked() -> None:
    fast = {("ours, float32", 1): [Rate(100, 1)], ("ours, float32", 8): [Rate(300, 1)]}
    usual = {(USUAL, 1): [Rate(50, 1)], (USUAL, 8): [Rate(60, 1)]}
    assert [check.holds for check in checks(fast | usual)] == [True, True]
    slow = {("ours, float32", 1): [Rate(100, 1)], ("ours, float32", 8): [Rate(299, 1)]}
    assert [check.holds for check in checks(slow | usual)] == [False, False]
    assert [line.split("|")[4].strip() for line in table(fast | usual).splitlines()[2:]] == ["3.0", "1.2"]
