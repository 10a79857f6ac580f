"""compose.yaml: valid by the Compose specification's schema, and in step with the server and the image."""

from __future__ import annotations

import re
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import yaml

from server.config import parse_settings
from tests.deploy.facts import DEPLOY, image_facts

if TYPE_CHECKING:
    from pathlib import Path

    import pytest

FILE = DEPLOY / "compose.yaml"


def check(path: Path) -> subprocess.CompletedProcess[str]:
    """Ask the checker that carries the specification's schema."""
    command = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", "vendor.compose-spec", str(path)]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)


def service() -> dict[str, Any]:
    """The file's only service."""
    (found,) = yaml.safe_load(FILE.read_text())["services"].values()
    return found  # type: ignore[no-any-return]


def test_it_is_valid_by_the_published_schema() -> None:
    done = check(FILE)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_checker_refuses_a_key_that_compose_does_not_know(tmp_path: Path) -> None:
    wrong = tmp_path / "compose.yaml"
    wrong.write_text(FILE.read_text().replace("read_only:", "readonly:"))
    assert check(wrong).returncode == 1


def test_the_model_is_one_that_the_image_brings() -> None:
    (model,) = service()["command"]
    (default,) = re.findall(r"^\$\{MODEL:-(.*)\}$", model)
    assert default in image_facts().models


def test_draining_ends_before_docker_kills(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in service()["environment"].items():
        monkeypatch.setenv(name, value)
    assert (
        int(service()["stop_grace_period"].removesuffix("s")) >= parse_settings(["any.pt"]).drain_timeout_ms / 1000 + 5
    )


def test_the_ports_are_open_to_this_machine_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PREDICTOR_HOST", image_facts().environment["PREDICTOR_HOST"])
    monkeypatch.setenv("PREDICTOR_INSECURE", image_facts().environment["PREDICTOR_INSECURE"])
    settings = parse_settings(["any.pt"])
    assert settings.insecure  # it says so at every start
    assert settings.host == "0.0.0.0"  # within its own network, or nothing could reach it
    assert service()["ports"] == [f"127.0.0.1:{port}:{port}" for port in (settings.port, settings.rest_port)]
    assert (service()["read_only"], service()["cap_drop"]) == (True, ["ALL"])
