"""The README says what is so: its commands are run, its table of settings is compared with the settings."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from scripts import write_settings

if TYPE_CHECKING:
    from tests.support.service import Service

README = (Path(__file__).parents[2] / "README.md").read_text()
LABEL_LINE = re.compile(r"\S+/\S+:-?[\d.e+-]+")


def block(language: str) -> str:
    """The code block of this language that is marked to be run."""
    found = re.search(rf"<!-- run -->\n```{language}\n(.*?)```", README, re.DOTALL)
    assert found, f"the README has no {language} block that is marked to be run"
    return found[1]


def with_ports(text: str, service: Service) -> str:
    return text.replace("9090", str(service.port)).replace("8080", str(service.rest_port))


def test_tables_of_settings_are_those_of_the_program() -> None:
    """As scripts/write_settings.py writes them."""
    for path, rows in write_settings.tables().items():
        text = path.read_text(encoding="utf-8")
        assert write_settings.with_table(text, rows) == text, "run python scripts/write_settings.py"


def test_curl_lines_answer_what_the_readme_shows(service: Service) -> None:
    commands = re.split(r"^\$ ", block("console"), flags=re.MULTILINE)[1:]
    assert len(commands) == 3
    for text in commands:
        command, _, shown = text.partition("\n")
        answer = subprocess.run(
            ["sh", "-c", with_ports(command, service)], capture_output=True, text=True, check=True
        ).stdout
        assert shape(answer) == shape(shown), command


def shape(answer: str) -> object:
    """What of an answer does not depend on how the model's training went on this processor."""
    if answer.startswith("{"):
        return keys(json.loads(answer))
    assert all(LABEL_LINE.fullmatch(line) for line in answer.splitlines())
    scores = {line.rpartition(":")[0]: float(line.rpartition(":")[2]) for line in answer.splitlines()}
    return list(scores), max(scores, key=lambda label: scores[label])


def keys(value: object) -> object:
    return {name: keys(item) for name, item in value.items()} if isinstance(value, dict) else type(value)


def test_python_client_answers(service: Service) -> None:
    program = with_ports(block("python"), service)
    assert len([line for line in program.splitlines() if line and "import" not in line]) == 3
    answer = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout
    assert "alarm/set_alarm" in answer
