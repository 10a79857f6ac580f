"""The benchmark of language models runs, has a row for each engine and precision, and judges what is asked."""

from __future__ import annotations

from typing import TYPE_CHECKING

from benchmarks import language_models
from benchmarks.language_models import Figures, checks, main, tables

if TYPE_CHECKING:
    from pathlib import Path

    import pytest


def test_the_tables_have_a_row_for_each(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(language_models, "FOLDERS", tmp_path)
    assert main(["--quick", "--shapes", "tiny", "--threads", "1"]) in (0, 1)
    _, rates, others, verdict = capsys.readouterr().out.split("\n\n")
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in rates.splitlines()[2:]]
    ours = [["tiny", "ours", precision] for precision in ("float32", "bfloat16", "int8", "int4")]
    assert [row[:3] for row in rows] == [*ours, *(["tiny", "CTranslate2", kind] for kind in ("float32", "int8"))]
    assert all(float(cell.replace(",", "")) > 0 for row in rows for cell in row[3:])
    assert len(others.splitlines()) == 2 + 4
    assert len(verdict.splitlines()) == 2 + 2 * 4 + 4 * 2 + 1


def test_what_is_asked() -> None:
    ours = Figures({streams: [100.0] for streams in language_models.STREAMS}, 1.0, 0.02, 0.01, 0.03, 110, 100)
    peer = Figures({1: [100.0], 4: [100.0], 8: [66.0], 16: [66.0]})
    results = {("135m", "ours", "int8"): ours, ("135m", "CTranslate2", "int8"): peer}
    assert all(check.holds for check in checks(results))
    ours.again_s, ours.largest_gap_s, ours.memory, peer.rates[8] = 0.04, 0.05, 120, [67.0]
    assert [check.holds for check in checks(results)] == [True, True, False, True, False, False, False]
    assert "100" in tables(results)
