"""The comparison of classifiers and rerankers runs, and its verdict shows what the issue asks for."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from benchmarks.classification import CLASSIFIER, checks, main
from benchmarks.embeddings import TEXTS
from benchmarks.figures import Figures, Row

if TYPE_CHECKING:
    from collections.abc import Mapping

ALONE: Mapping[str, float] = {"pipeline, one": 40, "pipeline, batches": 50, "CrossEncoder": 30}


def rows(rps: float, errors: int = 0) -> dict[Row, Figures]:
    return {Row(CLASSIFIER.endpoints[0].label, TEXTS, 16): Figures(rps, 1, 2, 3, 1, 1, None, errors, 1)}


@pytest.mark.parametrize(
    ("rps", "reranked", "errors", "holds"),
    [(100, 60, 0, [True, True, True]), (99, 59, 1, [False, False, False])],
)
def test_the_verdict_compares_with_the_libraries_best(
    rps: float, reranked: float, errors: int, holds: list[bool]
) -> None:
    assert [check.holds for check in checks(rows(rps, errors), ALONE, reranked)] == holds


@pytest.mark.slow
def test_the_tables_have_a_row_for_each_way(capsys: pytest.CaptureFixture[str]) -> None:
    options = ("--rounds", "1", "--seconds", "1", "--warmup", "0", "--connections", "2")
    assert main(options) in (0, 1)  # 1: too slow, as a busy machine may be
    _, alone, _, network, verdict = (part.splitlines() for part in capsys.readouterr().out.split("\n\n"))
    assert len(alone) == 2 + 4
    table = [[cell.strip() for cell in line.split("|")[1:-1]] for line in network[2:]]
    assert [cells[:3] for cells in table] == [[endpoint.label, TEXTS, "2"] for endpoint in CLASSIFIER.endpoints]
    assert "errors of ours" in verdict[-1]
