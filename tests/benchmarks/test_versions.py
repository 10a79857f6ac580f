"""Two versions are measured in turns, and the verdict goes by the ratios of the turns."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from benchmarks.process import ROOT
from benchmarks.versions import MODELS, Pair, main, table
from tests.support.generators import train_tiny
from tests.support.smart_reply_models import google_model

if TYPE_CHECKING:
    from pathlib import Path

KEY = ("predict, Thrift", 16, 0.03)


def test_a_version_beside_itself(
    tmp_path: Path, classifier: Path, encoder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    models = (classifier, google_model(), encoder, train_tiny(tmp_path / "trained", steps=1))
    for name, model in zip(MODELS, models, strict=True):
        (tmp_path / name).symlink_to(model)
    options = ("--rounds", "1", "--seconds", "1", "--warmup", "0.1", "--connections", "2")
    # 1: slower than allowed, as rounds this short may say on a busy machine
    assert main([str(ROOT), "--models", str(tmp_path), *options]) in (0, 1)
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in capsys.readouterr().out.splitlines()[4:]]
    what = ("predict, Thrift", "predict, HTTP", "reply, Thrift", "embed_matrix, Thrift")
    assert [row[:2] for row in rows] == [
        *([name, "2"] for name in what),
        *(["generate, Thrift", n] for n in ("1", "8")),
    ]
    assert all(float(row[2].replace(",", "")) > 0 and float(row[4]) > 0 for row in rows)


@pytest.mark.parametrize(
    ("rates", "cpu_us", "holds"),
    [((100.0, 100.0), (10.0, 10.0), True), ((96.0, 100.0), (10.0, 10.0), False), ((100.0, 100.0), (10.4, 10.0), False)],
)
def test_slower_than_allowed_does_not_hold(
    rates: tuple[float, float], cpu_us: tuple[float, float], holds: bool
) -> None:
    slow_minute = Pair((10.0, 10.0), (50.0, 50.0))  # of the machine: it hits both
    assert table({KEY: [slow_minute, *3 * [Pair(rates, cpu_us)]]})[1] is holds


def test_without_models_it_says_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(ROOT), "--models", str(tmp_path), "--rounds", "1"]) == 2
    assert "classifier.pt" in capsys.readouterr().err
