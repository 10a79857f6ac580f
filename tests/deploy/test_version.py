"""The version stands in pyproject.toml; what names the image has to follow it."""

from __future__ import annotations

import re
import tomllib
from typing import TYPE_CHECKING

import pytest

from tests.support.service import ROOT

if TYPE_CHECKING:
    from pathlib import Path

VERSION = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
FILES = [
    ROOT / "Dockerfile",
    ROOT / "README.md",
    ROOT / "docs" / "deploy.md",
    *(path for path in (ROOT / "deploy").rglob("*.yaml")),
]


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_the_image_has_the_version_of_the_package(path: Path) -> None:
    tags = re.findall(r"\bpredictor:([\w.]+)", path.read_text())
    assert set(tags) == {VERSION}
