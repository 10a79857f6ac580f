"""The benchmark of batch jobs measures what it says, and checks what the issue asks for."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from benchmarks.batch import main

if TYPE_CHECKING:
    from pathlib import Path


def test_tables_and_verdict(classifier: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--model", str(classifier), "--quick"]) in (0, 1)  # 1: too slow, as a busy machine may be
    printed = capsys.readouterr().out
    for head in ("model alone, as many threads", "interactive requests", "half_plus_two"):
        assert head in printed
    verdict = printed.split("\n\n")[-1].splitlines()[2:]
    assert [line.split("|")[2].strip() for line in verdict] == [
        ">= 0.85 of the model alone",
        ">= 0.85 of the model alone",
        "<= 2 times",
        ">= 0.15 of its own",
        "0",
    ]
    assert "| yes" in verdict[4].split(" 0 ")[-1], "interactive requests had errors"


def test_memory_stays_flat(classifier: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--model", str(classifier), "--quick", "--memory"]) == 0, capsys.readouterr().out


def test_without_a_model_it_says_how_to_get_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        main(["--model", str(tmp_path / "none.pt")])
    assert "make models/classifier.pt" in capsys.readouterr().err
