"""The benchmark of language models runs, has a row for each engine and precision, and judges what is asked."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from benchmarks.language_models import ctranslate2, models
from benchmarks.language_models.__main__ import main
from benchmarks.language_models.engines import Gaps
from benchmarks.language_models.parts import STREAMS, Figures
from benchmarks.language_models.report import checks, held_up, tables

if TYPE_CHECKING:
    from pathlib import Path

PRECISIONS = ("float32", "bfloat16", "int8", "int4")


def _cells(table: str) -> list[list[str]]:
    return [[cell.strip() for cell in line.split("|")[1:-1]] for line in table.splitlines()[2:]]


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("models")


@pytest.fixture
def written(folders: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(models, "FOLDERS", folders)


@pytest.mark.usefixtures("written")
def test_rates_have_a_row_for_each(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--quick", "--shapes", "tiny", "--threads", "1", "--parts", "rates", "memory"]) in (0, 1)
    _, rates, sizes, verdict = capsys.readouterr().out.split("\n\n")
    engines = [
        (precision, engine)
        for precision in PRECISIONS
        for engine in ("ours", "llama.cpp", "CTranslate2")
        if engine != "CTranslate2" or ctranslate2.computes(precision)
    ]
    assert [tuple(row[:3]) for row in _cells(rates)] == [("tiny", *row) for row in engines]
    assert all(float(cell.replace(",", "")) > 0 for row in _cells(rates) for cell in row[3:])
    assert len(_cells(sizes)) == len(PRECISIONS)
    assert len(verdict.splitlines()) == 2 + len(PRECISIONS) * len(STREAMS) + 1


@pytest.mark.usefixtures("written")
def test_times_are_those_of_servers(capsys: pytest.CaptureFixture[str]) -> None:
    parts = ["--parts", "first", "gaps", "known", "--precisions", "int8"]
    assert main(["--quick", "--shapes", "tiny", "--threads", "1", *parts]) in (0, 1)
    _, times, verdict = capsys.readouterr().out.split("\n\n")
    assert [row[:3] for row in _cells(times)] == [["tiny", "int8", "ours"], ["tiny", "int8", "llama.cpp"]]
    assert all(float(cell.replace(",", "")) >= 0 for row in _cells(times) for cell in row[3:])
    assert len(verdict.splitlines()) == 2 + 4


def test_what_is_asked() -> None:
    ours = Figures(
        {streams: [100.0, 90.0] for streams in STREAMS},
        [[0.1, 0.2]],
        [Gaps(0.01, [0.03], [0.01])],
        [(1.0, 0.02)],
        memory=110,
        weights=100,
    )
    peer = Figures({1: [100.0, 90.0], 4: [100.0, 90.0], 8: [66.0, 60.0], 16: [66.0, 60.0]}, [[0.1, 0.2]])
    slower = Figures({streams: [50.0, 50.0] for streams in STREAMS})
    engines = {"ours": ours, "llama.cpp": peer, "CTranslate2": slower}
    results = {("135m", "int8", name): figures for name, figures in engines.items()}
    assert all(check.holds for check in checks(results))
    ours.known, ours.gaps, ours.memory = [(1.0, 0.04)], [Gaps(0.01, [0.05], [0.01])], 120
    peer.rates[8], peer.first_tokens = [67.0, 61.0], [[0.11, 0.11]]
    missed = [check.what for check in checks(results) if not check.holds]
    assert missed == [
        "135m, int8: 8 texts against llama.cpp",
        "135m, int8: first tokens of all of 16",
        "135m, int8: a prompt that is known",
        "135m, int8: gap beside a prompt",
        "135m, int8: memory of its weights",
    ]
    assert "95" in tables(results)


@pytest.mark.parametrize(
    ("rounds", "expected"),
    [
        pytest.param([[0.02] * 60] * 3, 2, id="as long in every step"),
        pytest.param([[0.02] * k + [0.9] + [0.02] * (60 - k) for k in (3, 30, 50)], 2, id="held up at another place"),
        pytest.param([[0.05, *[0.02] * k] for k in (60, 70, 80)], 5, id="the first step"),
        pytest.param([[*[0.02] * k, 0.05] for k in (60, 70, 80)], 5, id="the last step"),
        pytest.param([[0.02] * k + [0.05] + [0.02] * (60 - k) for k in (30, 31, 32)], 5, id="at the same place"),
        pytest.param([[0.02] * 60, [0.02] * 60, [0.9] * 60], 2, id="a round that was held up all the time"),
        pytest.param([[0.5], [0.4], [0.02, 0.6]], 50, id="fewer steps than parts"),
    ],
)
def test_what_holds_up_one_round_is_not_the_prompt(rounds: list[list[float]], expected: float) -> None:
    assert held_up([Gaps(0.01, beside, [0.01]) for beside in rounds]) == pytest.approx(expected)


@pytest.mark.usefixtures("written")
def test_engines_with_other_weights_are_not_compared(monkeypatch: pytest.MonkeyPatch) -> None:
    def zeros(_self: object, prompts: list[list[int]], count: int) -> tuple[list[list[int]], float]:
        return [[0] * count for _ in prompts], 1.0

    monkeypatch.setattr(ctranslate2.CTranslate2, "texts", zeros)
    with pytest.raises(RuntimeError, match="CTranslate2 has other weights"):
        main(["--quick", "--shapes", "tiny", "--threads", "1", "--parts", "rates", "--precisions", "float32"])
