"""The comparison with tflite-runtime builds, agrees, and shows what is asked for."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from benchmarks.figures import Figures, Row
from benchmarks.smart_reply import MEDIUM, MESSAGES, checks, cpu_us, main
from benchmarks.straightforward import StraightforwardInterpreter
from server.models.smart_reply_engine import SmartReplyInterpreter
from tests.support.smart_reply_models import HELLO, google_model

if TYPE_CHECKING:
    from pathlib import Path


def test_both_give_the_same_replies_and_their_cpu_is_measured() -> None:
    stock, ours = StraightforwardInterpreter(google_model()), SmartReplyInterpreter(google_model())
    assert stock.replies("Hello") == HELLO
    for message in MESSAGES.values():
        assert stock.replies(message) == ours.replies(message)
    assert cpu_us(ours, MESSAGES[MEDIUM], 0.05) > 0


def test_the_tables_have_a_row_for_each_message_and_server(capsys: pytest.CaptureFixture[str]) -> None:
    options = ("--rounds", "1", "--seconds", "0.2", "--warmup", "0", "--connections", "2")
    assert main(["--model", str(google_model()), *options]) in (0, 1)  # 1: too slow, as a busy machine may be
    _, _, alone, _, network, verdict = (part.splitlines() for part in capsys.readouterr().out.split("\n\n"))
    assert [line.split("|")[1].strip() for line in alone[2:]] == list(MESSAGES)
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in network[2:]]
    servers = ("straightforward", "ours")
    assert [row[:3] for row in rows] == [[server, name, "2"] for name in sorted(MESSAGES) for server in servers]
    assert all(float(row[3].replace(",", "")) > 0 and row[11] == "0" for row in rows)
    assert len(verdict) == 2 + 3


def figures(rps: float, cpu_us: float, errors: int = 0) -> Figures:
    return Figures(rps, 1, 2, cpu_us, 1, 1, None, errors, 1)


def test_the_verdict_compares_the_medium_message_at_the_same_connections() -> None:
    rows = {
        Row("straightforward", MEDIUM, 1): figures(100, 900),
        Row("ours", MEDIUM, 1): figures(500, 99.9),
        Row("straightforward", MEDIUM, 16): figures(100, 900),
        Row("ours", MEDIUM, 16): figures(499, 100, errors=1),
        Row("ours", "short, 1 word", 16): figures(1, 1000),
    }
    assert [check.holds for check in checks(rows)] == [True, True, False, False, False]


def test_without_a_model_it_says_how_to_get_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        main(["--model", str(tmp_path / "none.tflite")])
    assert "scripts/fetch_models.py smart-reply" in capsys.readouterr().err
