"""docs/batch.md says what is so: its commands are run."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from typing import TYPE_CHECKING

from tests.support.service import ROOT, Service

if TYPE_CHECKING:
    from pathlib import Path

DOCS = (ROOT / "docs" / "batch.md").read_text()


def test_commands_answer_what_is_shown(tmp_path: Path, classifier: Path) -> None:
    """Three dots stand for anything."""
    alone, with_server = re.findall(r"<!-- run -->\n```console\n(.*?)```", DOCS, re.DOTALL)
    [flags] = re.findall(r"<!-- server: (.*?) -->", DOCS)
    replaced = {"/data": str(tmp_path), "models/classifier.pt": str(classifier), "python -m": f"{sys.executable} -m"}
    assert _run(alone, replaced) == 6
    with Service(classifier, *_replace(flags, replaced).split()) as service:
        assert _run(with_server, {**replaced, "8080": str(service.rest_port)}) == 2


def _run(block: str, replaced: dict[str, str]) -> int:
    """How many commands there were, all of which answered what is shown."""
    commands = re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]
    for text in commands:
        command, _, shown = _replace(text, replaced).partition("\n")
        environment = {**os.environ, "XDG_STATE_HOME": f"{replaced['/data']}/state"}
        done = subprocess.run(["sh", "-c", command], cwd=ROOT, env=environment, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        pattern = ".*?".join(re.escape(part) for part in shown.strip().split("..."))
        assert re.fullmatch(pattern, done.stdout.strip(), re.DOTALL), f"{command} answers {done.stdout!r}"
    return len(commands)


def _replace(text: str, replaced: dict[str, str]) -> str:
    for old, new in replaced.items():
        text = text.replace(old, new)
    return text
