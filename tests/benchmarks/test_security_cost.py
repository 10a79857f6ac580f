"""What TLS and tokens cost."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from benchmarks.security_cost import TLS, checks, main, table
from benchmarks.token_cost import AGAIN, OPEN, TOKEN, beyond_open_us
from tests.support.zoo import save_named

if TYPE_CHECKING:
    from pathlib import Path


def costs(token: float = 41.0, tls: float = 55.0) -> dict[tuple[str, str], list[float]]:
    """Of three rounds, in one of which the machine was slower, beside 40 us without either."""
    figures = {OPEN: 40.0, AGAIN: 40.5, TOKEN: token, TLS: tls}
    return {
        (protocol, case): [figure, 2 * figure, figure]
        for protocol in ("HTTP", "Thrift")
        for case, figure in figures.items()
    }


@pytest.mark.parametrize(
    ("over_sockets", "without", "holding"),
    [
        (costs(), costs(), [True] * 4),
        (costs(), costs(token=41.1), [False, False, True, True]),
        (costs(token=45.0), costs(), [True] * 4),  # what is off by more than that tells nothing
        (costs(tls=55.1), costs(), [True, True, False, False]),
    ],
)
def test_what_is_asked(
    over_sockets: dict[tuple[str, str], list[float]],
    without: dict[tuple[str, str], list[float]],
    holding: list[bool],
) -> None:
    found = list(checks(over_sockets, without))
    assert [check.holds for check in found] == holding
    assert all("(+-0.5" in check.measured for check in found)


def test_rounds_are_compared_one_by_one() -> None:
    rounds = {("HTTP", OPEN): [40.0, 80.0, 60.0], ("HTTP", TLS): [50.0, 99.0, 71.0]}
    assert beyond_open_us(rounds, "HTTP", TLS) == 11.0
    assert "| HTTP     | TLS    |" in table(rounds, "over sockets")


@pytest.mark.slow
def test_measures_all_cases(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    times = ("--rounds", "1", "--seconds", "0.2", "--warmup", "0.1", "--connections", "4", "--turns", "5")
    # where others are busy, it may be 1
    assert main(("--model", str(save_named("docnn_mask", tmp_path)), *times)) in (0, 1)
    out = capsys.readouterr().out
    for case, tables in ((OPEN, 2), (AGAIN, 2), (TOKEN, 2), (TLS, 1)):
        for protocol in ("HTTP", "Thrift"):
            assert out.count(f"| {protocol:<8} | {case:<10} |") == tables
