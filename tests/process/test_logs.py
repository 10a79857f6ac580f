"""Logs on stderr: JSON for machines, lines for people."""

from __future__ import annotations

import json
import logging
from typing import TYPE_CHECKING

import pytest
import structlog

from process import logs

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(autouse=True)
def _unconfigured() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    structlog.reset_defaults()
    root.handlers[:] = handlers
    root.setLevel(level)


def fail() -> None:
    private = "the text of a caller"
    raise ValueError(f"a message about {len(private)} characters")


def test_json(capsys: pytest.CaptureFixture[str]) -> None:
    logs.configure(logs.LogSettings(log_level="info", log_format="json"))
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
    logs.configure(logs.LogSettings(log_level="info", log_format="auto"))
    structlog.get_logger().warning("careful")
    assert json.loads(capsys.readouterr().err)["level"] == "warning"


def test_console(capsys: pytest.CaptureFixture[str]) -> None:
    logs.configure(logs.LogSettings(log_level="info", log_format="console"))
    structlog.get_logger().info("ready", model="classifier")
    line = capsys.readouterr().err
    assert "ready" in line
    assert "model=classifier" in line
    with pytest.raises(json.JSONDecodeError):
        json.loads(line)


@pytest.mark.parametrize(("level", "shown"), [("debug", 4), ("info", 3), ("warning", 2), ("error", 1)])
def test_level(capsys: pytest.CaptureFixture[str], level: logs.Level, shown: int) -> None:
    logs.configure(logs.LogSettings(log_level=level, log_format="json"))
    log = structlog.get_logger()
    for name in ("debug", "info", "warning", "error"):
        getattr(log, name)(name)
    assert len(capsys.readouterr().err.splitlines()) == shown


@pytest.mark.parametrize("form", ["json", "console"])
def test_exceptions_come_without_the_values_of_variables(capsys: pytest.CaptureFixture[str], form: logs.Format) -> None:
    logs.configure(logs.LogSettings(log_level="info", log_format=form))
    try:
        fail()
    except ValueError:
        structlog.get_logger().exception("a call failed")
    written = capsys.readouterr().err
    assert "ValueError" in written
    assert "a message about 20 characters" in written
    assert "test_logs.py" in written
    assert "the text of a caller" not in written


def test_libraries_log_in_the_same_form_from_warnings_on(capsys: pytest.CaptureFixture[str]) -> None:
    logs.configure(logs.LogSettings(log_level="debug", log_format="json"))
    logging.getLogger("library").info("too much detail")
    logging.getLogger("library").warning("%s of %s", "one", "two")
    try:
        fail()
    except ValueError:
        logging.getLogger("library").exception("a call failed")
    warning, failure = (json.loads(line) for line in capsys.readouterr().err.splitlines())
    assert (warning["event"], warning["level"], warning["logger"]) == ("one of two", "warning", "library")
    assert failure["exception"][0]["exc_type"] == "ValueError"


def test_libraries_too_log_from_the_level_on(capsys: pytest.CaptureFixture[str]) -> None:
    logs.configure(logs.LogSettings(log_level="error", log_format="json"))
    logging.getLogger("library").warning("careful")
    logging.getLogger("library").error("broken")
    (line,) = capsys.readouterr().err.splitlines()
    assert json.loads(line)["event"] == "broken"
