"""The comparison of encoders runs, and its verdict shows what the issue asks for."""

from __future__ import annotations

from typing import TYPE_CHECKING

from benchmarks.embeddings import TEXTS, Alone, alone_table, checks, main, mixed_texts, ours, usual
from benchmarks.encoder_alone import flops
from benchmarks.figures import Figures, Row

if TYPE_CHECKING:
    import pytest

    from benchmarks.servers import Server


def row(server: Server, connections: int = 16) -> Row:
    return Row(server.endpoints[0].label, TEXTS, connections)


def figures(rps: float, errors: int = 0) -> Figures:
    return Figures(rps, 1, 2, 3, 1, 1, None, errors, 1)


def test_texts_are_of_mixed_length() -> None:
    lengths = sorted(len(text.split()) for text in mixed_texts())
    assert mixed_texts() == mixed_texts()
    assert lengths[0] <= 2
    assert 8 <= lengths[256] <= 16
    assert 100 <= lengths[-1] <= 200


def test_arithmetic_of_a_text() -> None:
    """Counted by hand: one layer, hidden 2, intermediate 3, 5 tokens."""
    products = 4 * (2 * 5 * 2 * 2) + 2 * (2 * 5 * 2 * 3)
    attention = 2 * (2 * 5 * 5 * 2)
    assert flops(5, 1, 2, 3) == products + attention


def test_the_limit_is_that_of_the_quicker_library() -> None:
    """With two threads that wait for each other, too."""
    slow, quick = {"1": 9.0, "2": 19.0}, {"1": 10.0, "2": 15.0}
    for rates in ({"MKL": slow, "oneDNN": quick}, {"MKL": quick, "oneDNN": slow}):
        alone = Alone(rates, [4e9, 6e9], 1e6, 1e9, 5, 1)
        assert alone.limit() == 4
        better = next(library for library, of_threads in rates.items() if of_threads is quick)
        assert f"the limit by that and {better}, float32" in alone_table([alone])


def test_texts_one_by_one_are_limited_by_what_takes_longer() -> None:
    """20 GFLOP/s, and 0.3 s to read the weights: 0.1 s of arithmetic wait for them, 0.5 s do not."""
    alone = Alone({"MKL": {"1": 10.0, "2": 20.0}}, [2e9, 10e9], 3e8, 1e9, 5, 1)
    assert round(alone.limit_alone(), 9) == 2.5
    assert "300 MB at 1.0 GB/s" in alone_table([alone])


def test_the_verdict_compares_at_16_connections() -> None:
    rows = {
        row(ours("float32")): figures(95),
        row(ours("float32"), 64): figures(1),
        row(ours("bfloat16")): figures(142.5),
        row(ours("int8")): figures(900),
        row(usual()): figures(47.5, errors=9),
    }
    errors = {"float32": 0.0, "bfloat16": 0.0009, "int8": 0.002}
    assert [check.holds for check in checks(rows, 100, errors)] == [True, True, True, True]
    rows[row(ours("bfloat16"))] = figures(142, errors=1)
    assert [check.holds for check in checks(rows, 100.1, errors)] == [False, True, False, False]
    rows[row(usual())] = figures(48)
    assert [check.holds for check in checks(rows, 100, errors)] == [True, False, False, False]


def test_the_tables_have_a_row_for_each_server(capsys: pytest.CaptureFixture[str]) -> None:
    options = ("--rounds", "1", "--seconds", "1", "--warmup", "0", "--connections", "2", "--precisions", "float32")
    assert main(options) in (0, 1)  # 1: too slow, as a busy machine may be
    _, alone, _, network, verdict, errors, _ = (part.splitlines() for part in capsys.readouterr().out.split("\n\n"))
    assert [line.split("|")[1].strip() for line in alone[-1:]] == ["encode(batch_size=32) in-process"]
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in network[2:]]
    labels = [endpoint.label for server in (ours("float32"), usual()) for endpoint in server.endpoints]
    assert [cells[:3] for cells in rows] == [[label, TEXTS, "2"] for label in labels]
    assert all(float(cells[3].replace(",", "")) > 0 and cells[11] == "0" for cells in rows[:3])
    assert "errors of ours" in verdict[-1]
    assert [line.split("|")[1].strip() for line in errors[2:]] == ["float32"]
