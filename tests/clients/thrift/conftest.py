"""Prints the table of languages after a run, and writes it into docs/clients.md when all of it was run and holds."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.clients.thrift.documentation import DOCS, with_table
from tests.clients.thrift.languages import LANGUAGES, table

if TYPE_CHECKING:
    import pytest


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    said = {
        report.nodeid.rpartition("[")[2].rstrip("]"): outcome
        for outcome in ("passed", "failed", "error")
        for report in terminalreporter.stats.get(outcome, ())
        if "::test_client[" in report.nodeid
    }
    words = {"passed": "yes", "failed": "FAILED", "error": "FAILED"}
    marks = {
        (name, *column): words.get(said.get(f"{name}-{'-'.join(column)}", ""), "not run")
        for name, language in LANGUAGES.items()
        for column in language.has
    }
    if set(marks.values()) == {"not run"}:
        return
    terminalreporter.write_line("")
    terminalreporter.write_line(table(marks))
    if set(marks.values()) == {"yes"}:
        text = DOCS.read_text(encoding="utf-8")
        if with_table(text) != text:
            DOCS.write_text(with_table(text), encoding="utf-8")
            terminalreporter.write_line(f"written: {DOCS}")
