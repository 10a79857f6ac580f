"""The systemd unit: what systemd's own checker says of it, and whether its settings are the server's."""

from __future__ import annotations

import configparser
import shutil
import subprocess
from typing import TYPE_CHECKING

import pytest

from server.config import parse_settings
from tests.deploy.facts import DEPLOY

if TYPE_CHECKING:
    from pathlib import Path

UNIT = DEPLOY / "systemd" / "predictor.service"
CONFIG = DEPLOY / "systemd" / "predictor.toml"
COMMAND = "/opt/predictor/bin/predictor-server"
MOST_EXPOSED = 20  # tenths of systemd's ten; a unit without any sandbox has 96


def systemd_analyze(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run systemd's checker; nothing needs to be started by it."""
    program = shutil.which("systemd-analyze")
    if program is None:
        pytest.fail("systemd-analyze is not there: apt-get install systemd (it checks files and starts nothing)")
    return subprocess.run([program, *arguments], capture_output=True, text=True, timeout=60, check=False)


def installed(folder: Path, text: str) -> str:
    """The unit with a command that is there on this machine."""
    unit = folder / "predictor.service"
    unit.write_text(text.replace(COMMAND, "/bin/sh"))
    return str(unit)


def settings_of_unit() -> dict[str, str]:
    """[Service], the last of each key."""
    parser = configparser.ConfigParser(interpolation=None, strict=False)
    parser.optionxform = str  # type: ignore[method-assign,assignment]
    parser.read(UNIT)
    return dict(parser["Service"])


def test_systemd_finds_nothing_wrong(tmp_path: Path) -> None:
    done = systemd_analyze("verify", "--man=no", installed(tmp_path, UNIT.read_text()))
    assert (done.returncode, done.stdout + done.stderr) == (0, "")


def test_the_checker_refuses_a_key_that_systemd_does_not_know(tmp_path: Path) -> None:
    wrong = UNIT.read_text().replace("TimeoutStopSec", "TimeoutStopSecs")
    assert "TimeoutStopSecs" in systemd_analyze("verify", "--man=no", installed(tmp_path, wrong)).stderr


def test_the_sandbox_is_tight(tmp_path: Path) -> None:
    unit = installed(tmp_path, UNIT.read_text())
    done = systemd_analyze("security", "--offline=true", f"--threshold={MOST_EXPOSED}", "--no-pager", unit)
    assert done.returncode == 0, done.stdout[-500:]


def test_its_settings_are_the_servers_and_draining_ends_before_systemd_kills() -> None:
    unit = settings_of_unit()
    program, *arguments = unit["ExecStart"].split()
    assert program == COMMAND
    assert arguments == ["--config", "/etc/predictor/predictor.toml"]
    settings = parse_settings(["--config", str(CONFIG)])
    assert int(unit["TimeoutStopSec"]) >= settings.drain_timeout_ms / 1000 + 5
    assert unit["KillMode"] == "mixed"  # the server ends its children itself, when their requests are answered
    assert int(unit["LimitNOFILE"]) > settings.connections


def test_what_it_writes_lies_in_its_state_directory() -> None:
    settings = parse_settings(["--config", str(CONFIG)])
    folders = [f"/var/lib/{name}" for name in settings_of_unit()["StateDirectory"].split()]
    written = [settings.jobs_db.parent if settings.jobs_db else None, *settings.batch_roots]
    assert [str(folder) for folder in written] == folders
