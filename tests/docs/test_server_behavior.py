"""docs/server-behavior.md and SECURITY.md name tests: each is there, and each promise has one."""

from __future__ import annotations

import ast
import re

import pytest

from tests.support.service import ROOT

PAGES = ("docs/server-behavior.md", "SECURITY.md")
_TEST = re.compile(r"`(tests/[\w/]+\.py)::(\w+)`")


def named(page: str) -> list[tuple[str, str]]:
    """(file, test) of each that a page names."""
    return _TEST.findall((ROOT / page).read_text())


@pytest.mark.parametrize("page", PAGES)
def test_every_test_that_is_named_is_there(page: str) -> None:
    tests = named(page)
    assert len(tests) > 10
    missing = [f"{file}::{test}" for file, test in tests if test not in _tests_of(file)]
    assert missing == []


def test_every_promise_has_a_test() -> None:
    rows = re.findall(r"^\| (?!promise|kind|-)(.*?) \| (.*) \|$", (ROOT / PAGES[0]).read_text(), re.MULTILINE)
    assert len(rows) > 30
    programs = "TorchScript"  # nothing keeps them from anything
    assert [row for row, held_by in rows if not _TEST.search(held_by) and not row.startswith(programs)] == []


def _tests_of(file: str) -> set[str]:
    path = ROOT / file
    tree = ast.parse(path.read_text()) if path.exists() else ast.Module([], [])
    return {
        node.name
        for node in ast.walk(tree)
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)) and node.name.startswith("test_")
    }
