"""scripts/audit.py: silence of a database that cannot be asked is no good news. scripts/sbom.py: what serving needs."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from scripts import audit, sbom

if TYPE_CHECKING:
    from collections.abc import Callable

    Told = Callable[..., None]

VENV = Path(sys.prefix)
VULNERABLE = {"name": "jinja2", "version": "2.10", "vulns": [{"id": "PYSEC-1", "fix_versions": ["2.10.1"]}]}


@pytest.fixture
def told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Told:
    """Puts a program in pip-audit's place, which tells first of the package that is known, then of all."""
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))

    def tell(*answers: Any, status: int = 0) -> None:
        for place, answer in enumerate(answers):
            text = answer if isinstance(answer, str) else json.dumps({"dependencies": answer})
            (tmp_path / str(place)).write_text(text)
        program = tmp_path / "pip-audit"
        program.write_text(
            f"#!/bin/sh\ncd {tmp_path}\nfor answer in 0 1; do\n"
            f"  if [ -f $answer ]; then cat $answer; rm $answer; echo 'the last line' >&2; exit {status}; fi\ndone\n"
        )
        program.chmod(0o755)

    return tell


@pytest.mark.parametrize(
    "first",
    [
        "",
        "no JSON",
        [{"name": "jinja2", "skip_reason": "not found"}],
        [{"name": "jinja2", "version": "2.10", "vulns": []}],
    ],
    ids=["nothing", "no answer", "unknown package", "nothing known"],
)
def test_a_database_that_cannot_be_asked_fails(told: Told, capsys: pytest.CaptureFixture[str], first: Any) -> None:
    told(first, [], status=1)
    assert audit.main(VENV) == 2
    captured = capsys.readouterr()
    assert "NOTHING WAS AUDITED" in captured.err
    assert captured.out == ""


def clean(package: str) -> dict[str, Any]:
    name, _, version = package.partition("==")
    return {"name": name, "version": version, "vulns": []}


def test_no_known_vulnerability(told: Told, capsys: pytest.CaptureFixture[str]) -> None:
    packages = audit.installed(VENV)
    told([VULNERABLE], [clean(package) for package in packages], status=1)
    assert audit.main(VENV) == 0
    assert f"{len(packages)} packages audited, 0 with known" in capsys.readouterr().out


@pytest.mark.parametrize("other", [VULNERABLE, {"name": "jinja2", "skip_reason": "not found on the index"}, None])
def test_what_is_found_or_not_looked_up_fails(told: Told, capsys: pytest.CaptureFixture[str], other: Any) -> None:
    _, *packages = audit.installed(VENV)
    told([VULNERABLE], [*([other] if other else []), *map(clean, packages)], status=1)
    assert audit.main(VENV) == 1
    said = capsys.readouterr().out
    assert "PYSEC-1; mended in 2.10.1" in said or "not audited" in said


def test_every_package_is_asked_about_but_our_own() -> None:
    packages = audit.installed(VENV)
    assert "torch==2.13.0" in packages, "without what the index does not know, such as +cpu"
    assert not [package for package in packages if package.startswith(audit.OWN) or "+" in package]


def test_what_serving_needs_is_neither_tests_nor_extras() -> None:
    needed = sbom.closure(["aiohttp>=3", "torch", "uvicorn; extra == 'none'", "huggingface-hub"], VENV)
    assert {"aiohttp", "torch", "yarl", "filelock", "huggingface-hub"} <= needed
    assert not needed & {"pytest", "ruff", "mypy", "uvicorn", "tensorflow"}


def test_a_list_has_what_is_needed_alone() -> None:
    bom = {
        "metadata": {"component": {"bom-ref": "root"}},
        "components": [{"name": "A.b", "bom-ref": "1"}, {"name": "pytest", "bom-ref": "2"}],
        "dependencies": [{"ref": "root", "dependsOn": ["1", "2"]}, {"ref": "1"}, {"ref": "2", "dependsOn": ["1"]}],
    }
    assert sbom.pruned(bom, {"a-b"}) == {
        "metadata": {"component": {"bom-ref": "root"}},
        "components": [{"name": "A.b", "bom-ref": "1"}],
        "dependencies": [{"ref": "root", "dependsOn": ["1"]}, {"ref": "1", "dependsOn": []}],
    }
