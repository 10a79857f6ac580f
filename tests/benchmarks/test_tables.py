"""The arithmetic between the measurements and the tables."""

from __future__ import annotations

import dataclasses

import pytest

from benchmarks.checks import Check, checks
from benchmarks.figures import Figures, Row, middle, middle_row, spread
from benchmarks.inprocess import InProcess
from benchmarks.table import check_table, markdown, server_table

BASE = Figures(
    rps=1000.0,
    p50_us=500.0,
    p99_us=900.0,
    cpu_us=60.0,
    rss_mib=300.0,
    pss_mib=250.0,
    mean_batch=8.0,
    errors=0,
    load_cpu_us=6.0,
)


def figures(**changes: float | None) -> Figures:
    """BASE with other values."""
    return dataclasses.replace(BASE, **changes)  # type: ignore[arg-type]


def test_the_middle_is_each_figures_own_median() -> None:
    rounds = [figures(rps=1.0, p99_us=30.0), figures(rps=3.0, p99_us=10.0), figures(rps=2.0, p99_us=80.0)]
    assert middle_row(rounds) == figures(rps=2.0, p99_us=30.0)
    assert middle_row(rounds[:2]) == figures(rps=2.0, p99_us=20.0)


def test_errors_are_added_up_and_what_is_not_told_stays_untold() -> None:
    rounds = [figures(errors=0), figures(errors=2), figures(errors=1, mean_batch=None)]
    assert middle_row(rounds).errors == 3
    assert middle_row(rounds).mean_batch is None


def test_the_middle_of_the_models_own_figures_keeps_batch_and_threads() -> None:
    rounds = [InProcess(32, 2, rate, 10.0, 5.0) for rate in (1.0, 9.0)]
    assert middle(rounds) == InProcess(32, 2, 5.0, 10.0, 5.0)


def test_the_spread_is_a_share_of_the_median() -> None:
    assert spread([figures(rps=90.0), figures(rps=120.0), figures(rps=100.0)]) == pytest.approx(0.3)
    assert spread([figures(rps=0.0)]) == 0


def run_of(**ours: float) -> dict[str, Check]:
    """The checks of a run where mosec's best is 1000 requests/s at 64 connections, by their first words."""
    rows = {
        Row("ours, HTTP", "fixed", 64): figures(**{"rps": 1300.0, "p99_us": 800.0, "cpu_us": 40.0, **ours}),
        Row("ours, HTTP", "fixed", 16): figures(rps=1299.0),
        Row("ours, HTTP", "fixed", 1): figures(p50_us=186.0),
        Row("ours, HTTP GET", "fixed", 64): figures(rps=1.0),
        Row("ours, Thrift", "fixed", 64): figures(rps=1999.0, cpu_us=30.1),
        Row("ours, Thrift", "fixed", 16): figures(rps=2000.0),
        Row("ours, Thrift", "fixed", 1): figures(p50_us=167.0),
        Row("ours, Thrift", "varied", 64): figures(rps=1.0),
        Row("mosec, batch 16", "fixed", 64): figures(rps=1000.0, p99_us=900.0, rss_mib=800.0),
        Row("mosec, batch 8", "fixed", 64): figures(rps=900.0, p99_us=100.0),
        Row("mosec, batch 16", "fixed", 16): figures(rps=700.0),
        Row("mosec, batch 8", "fixed", 16): figures(rps=1000.0),
    }
    alone = [
        InProcess(1, 1, 15000.0, 66.0, 66.0),
        InProcess(32, 1, 50000.0, 640.0, 20.0),
        InProcess(32, 2, 1.0, 1.0, 1.0),
    ]
    return {check.what: check for check in checks(rows, {"fixed": alone})}


def test_each_protocol_is_compared_with_mosecs_best_setting_at_each_load() -> None:
    found = run_of()
    by_http, by_thrift = (f"requests/s of mosec's best by {protocol} at" for protocol in ("HTTP", "Thrift"))
    assert found[f"{by_http} 64 connections"].measured == "1.30 times"
    assert found[f"{by_http} 64 connections"].holds
    assert not found[f"{by_http} 16 connections"].holds
    assert not found[f"{by_thrift} 64 connections"].holds
    assert found[f"{by_thrift} 16 connections"].holds
    at = "p99 by HTTP at 64 connections"
    assert found[at] == Check(at, "< 0.90 ms (mosec)", "0.80 ms", True)
    assert found["RSS of the whole service at 64 connections"].measured == "300 MiB"


def test_each_protocol_is_compared_with_the_model_alone() -> None:
    found = run_of()
    assert found["p50 by HTTP at 1 connection"].bound == "<= 186 us (the model + 120)"
    assert found["p50 by HTTP at 1 connection"].holds
    assert not found["p50 by Thrift at 1 connection"].holds
    assert found["CPU beyond the model's by HTTP at 64 connections"].measured == "20.0 us"
    assert found["CPU beyond the model's by HTTP at 64 connections"].holds
    assert not found["CPU beyond the model's by Thrift at 64 connections"].holds


@pytest.mark.parametrize(
    ("change", "broken"),
    [
        ({"rps": 1299.0}, "requests/s of mosec's best by HTTP at 64 connections"),
        ({"p99_us": 900.0}, "p99 by HTTP at 64 connections"),
        ({"cpu_us": 40.1}, "CPU beyond the model's by HTTP at 64 connections"),
        ({"rss_mib": 800.0}, "RSS of the whole service at 64 connections"),
        ({"errors": 1}, "errors of ours, all rows"),
    ],
)
def test_a_figure_just_beyond_the_limit_breaks_its_check(change: dict[str, float], broken: str) -> None:
    assert run_of()[broken].holds
    assert not run_of(**change)[broken].holds


def test_nothing_is_claimed_without_the_figures() -> None:
    assert checks({Row("mosec, batch 16", "fixed", 64): BASE}, {}) == []


def test_tables_are_even_and_say_what_they_show() -> None:
    rows = {Row("mosec", "varied", 16): [BASE], Row("ours, Thrift", "fixed", 1): [figures(mean_batch=None)]}
    lines = server_table(rows).splitlines()
    assert len({len(line) for line in lines}) == 1
    ours, mosec = ([cell.strip() for cell in line.split("|")[1:-1]] for line in lines[2:])
    assert ours[:5] == ["ours, Thrift", "fixed", "1", "1,000", "0"]
    assert ours[10] == "-"
    assert mosec[5:] == ["0.50", "0.90", "60", "300", "250", "8.0", "0", "6.0"]
    assert markdown(("a", "b"), [("x", "1")]).splitlines()[1] == "| - | : |"
    assert "| NO " in check_table([Check("speed", "1", "2", False)])
