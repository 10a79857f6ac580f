"""Logs on stderr: JSON for machines, lines for people."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
import structlog

from server import logs
from server.config import Settings

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(autouse=True)
def _unconfigured() -> Iterator[None]:
    yield
    structlog.reset_defaults()


def fail() -> None:
    private = "the text of a caller"
    raise ValueError(f"a message about {len(private)} characters")


def test_json(capsys: pytest.CaptureFixture[str]) -> None:
    logs.configure(Settings(log_format="json"))
    log = structlog.get_logger()
    log.info("a request failed", request_id="id-1", text='with "quotes"\nand lines')
    log.debug("too much detail")
    captured = capsys.readouterr()
    assert captured.out == ""
    (line,) = captured.err.splitlines()
    entry = json.loads(line)
    assert entry.pop("timestamp").endswith("Z")
    assert entry == {
        "event": "a request failed",
        "level": "info",
        "request_id": "id-1",
        "text": 'with "quotes"\nand lines',
    }


def test_auto_is_json_when_nobody_reads_along(capsys: pytest.CaptureFixture[str]) -> None:
    logs.configure(Settings())
    structlog.get_logger().warning("careful")
    assert json.loads(capsys.readouterr().err)["level"] == "warning"


def test_console(capsys: pytest.CaptureFixture[str]) -> None:
    logs.configure(Settings(log_format="console"))
    structlog.get_logger().info("ready", model="classifier")
    line = capsys.readouterr().err
    assert "ready" in line
    assert "model=classifier" in line
    with pytest.raises(json.JSONDecodeError):
        json.loads(line)


@pytest.mark.parametrize(("level", "shown"), [("debug", 4), ("info", 3), ("warning", 2), ("error", 1)])
def test_level(capsys: pytest.CaptureFixture[str], level: str, shown: int) -> None:
    logs.configure(Settings(log_format="json", log_level=level))
    log = structlog.get_logger()
    for name in ("debug", "info", "warning", "error"):
        getattr(log, name)(name)
    assert len(capsys.readouterr().err.splitlines()) == shown


@pytest.mark.parametrize("form", ["json", "console"])
def test_exceptions_come_without_the_values_of_variables(capsys: pytest.CaptureFixture[str], form: str) -> None:
    logs.configure(Settings(log_format=form))
    try:
        fail()
    except ValueError:
        structlog.get_logger().exception("a call failed")
    written = capsys.readouterr().err
    assert "ValueError" in written
    assert "a message about 20 characters" in written
    assert "test_logs.py" in written
    assert "the text of a caller" not in written
