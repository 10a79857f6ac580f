"""HTTP clients beside idle connections."""

from __future__ import annotations

import socket
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from benchmarks.figures import Figures, Row
from benchmarks.idle import ALONE, BESIDE_HTTP, BESIDE_THRIFT, BUSY, checks, held, main
from benchmarks.measure import MeasureError
from tests.support.zoo import save_named

if TYPE_CHECKING:
    from pathlib import Path

BASE = Figures(1000.0, 500.0, 1000.0, 60.0, 300.0, 250.0, None, 0, 6.0)


def rows(http: float = 1200.0, thrift: float = 1200.0, errors: int = 0) -> dict[Row, Figures]:
    """Of a run with these p99s beside idle connections."""
    figures = {
        ALONE: BASE,
        BESIDE_HTTP: replace(BASE, p99_us=http, errors=errors),
        BESIDE_THRIFT: replace(BASE, p99_us=thrift),
    }
    return {Row(case, "fixed", BUSY): figure for case, figure in figures.items()}


@pytest.mark.parametrize(
    ("run", "holding"),
    [
        (rows(), [True, True, True]),
        (rows(http=1201.0), [False, True, True]),
        (rows(thrift=1201.0), [True, False, True]),
        (rows(errors=1), [True, True, False]),
    ],
)
def test_what_is_asked(run: dict[Row, Figures], holding: list[bool]) -> None:
    assert [check.holds for check in checks(run)] == holding


def test_an_idle_connection_that_is_closed_is_noticed() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        accepted = []

        def connect() -> socket.socket:
            connection = socket.create_connection(listener.getsockname())
            accepted.append(listener.accept()[0])
            return connection

        with held(3, connect):
            pass
        with pytest.raises(MeasureError, match="1 of 3 idle connections were closed"), held(3, connect):
            accepted[-1].close()
        for each in accepted:
            each.close()


@pytest.mark.slow
def test_measures_all_cases(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    times = ("--rounds", "1", "--seconds", "0.3", "--warmup", "0.1", "--idle", "20")
    assert main(("--model", str(save_named("docnn_mask", tmp_path)), *times)) in (
        0,
        1,
    )  # where others are busy, it may be 1
    out = capsys.readouterr().out
    for case in (ALONE, BESIDE_HTTP, BESIDE_THRIFT):
        assert f"| {case}" in out
    assert "| errors, all rows" in out
