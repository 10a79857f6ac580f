"""docs/http.md says what is so: its commands are run."""

from __future__ import annotations

import re
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from scripts import write_routes
from tests.support.service import ROOT, Service

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

DOCS = (ROOT / "docs" / "http.md").read_text()


def blocks(language: str) -> list[str]:
    """The code blocks of this language that are marked to be run."""
    return re.findall(rf"<!-- run -->\n```{language}\n(.*?)```", DOCS, re.DOTALL)


@pytest.fixture(scope="module")
def service(encoder: Path, slow_generator: Path) -> Iterator[Service]:
    """An encoder and a generator, named as `make run` names them."""
    with Service("--model", f"encoder={encoder}", "--model", f"generator={slow_generator}") as running:
        yield running


def test_commands_answer_what_is_shown(service: Service) -> None:
    """Three dots stand for anything."""
    commands = [command for block in blocks("console") for command in re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]]
    assert len(commands) == 6
    for text in commands:
        command, _, shown = text.partition("\n")
        command = command.replace("8080", str(service.rest_port))
        answer = subprocess.run(["sh", "-c", command], capture_output=True, text=True, check=True).stdout
        pattern = ".*?".join(re.escape(part) for part in shown.strip().split("..."))
        assert re.fullmatch(pattern, answer.strip(), re.DOTALL), f"{command} answers {answer!r}"


def test_openai_client_answers(service: Service) -> None:
    [program] = blocks("python")
    program = program.replace("8080", str(service.rest_port))
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    size, _, text = done.stdout.partition("\n")
    assert size == "384"
    assert text


def test_every_route_is_in_the_table() -> None:
    rows = write_routes.table(write_routes.routes())
    assert write_routes.with_table(DOCS, rows) == DOCS, "run python scripts/write_routes.py"
