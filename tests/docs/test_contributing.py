"""CONTRIBUTING.md says what is so: its patches apply to the tree, and its paths exist."""

from __future__ import annotations

import re
import subprocess

import pytest

from tests.support.service import ROOT

TEXT = (ROOT / "CONTRIBUTING.md").read_text()
PATCHES = dict(re.findall(r"### (.*?)\n(?:(?!###).)*?```diff\n(.*?)```", TEXT, re.DOTALL))


def test_a_setting_and_a_route_are_shown_as_patches() -> None:
    assert list(PATCHES) == ["Add a setting", "Add a route"]


@pytest.mark.parametrize("recipe", PATCHES)
def test_a_patch_applies_and_touches_at_most_three_files(recipe: str) -> None:
    patch = PATCHES[recipe]
    command = ["git", "apply", "--check", "-"]
    done = subprocess.run(command, cwd=ROOT, input=patch, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert len(re.findall(r"^\+\+\+ ", patch, re.MULTILINE)) <= 3


def test_the_files_that_it_names_exist() -> None:
    text = re.sub(r"```.*?```", "", TEXT, flags=re.DOTALL)
    named = set(re.findall(r"`((?:server|rest_proxy|process|ext|tests|scripts)/[\w/.]+)`", text))
    shown_as_new = {"server/batch/storage/backends/azure.py"}
    assert len(named) > 15
    assert {path for path in named if not (ROOT / path).exists() and "NAME" not in path} == shown_as_new
