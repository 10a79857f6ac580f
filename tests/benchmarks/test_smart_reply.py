"""The comparison with straightforward operators builds, agrees, and shows what the issue asks for."""

from __future__ import annotations

from typing import TYPE_CHECKING

from benchmarks.smart_reply import MESSAGES, cpu_us, main, straightforward
from server.models.smart_reply_engine import SmartReplyInterpreter
from tests.smart_reply_models import HELLO, google_model

if TYPE_CHECKING:
    from pathlib import Path

    import pytest


def test_a_medium_message_costs_less_than_100_us_and_a_fifth_of_straightforward_operators() -> None:
    stock, ours = straightforward(google_model()), SmartReplyInterpreter(google_model())
    assert stock.replies("Hello") == HELLO
    message = MESSAGES["medium, 5 words"]
    assert stock.replies(message) == ours.replies(message)
    own = min(cpu_us(ours, message, 0.05) for _ in range(3))
    assert own < 100
    assert cpu_us(stock, message, 0.05) > 5 * own


def test_the_table_has_a_row_for_each_message(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--model", str(google_model()), "--rounds", "1", "--seconds", "0.01"]) == 0
    printed = capsys.readouterr().out
    assert all(name in printed for name in MESSAGES)


def test_without_a_model_it_says_how_to_get_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--model", str(tmp_path / "none.tflite")]) == 2
    assert "scripts/fetch_models.py smart-reply" in capsys.readouterr().err
