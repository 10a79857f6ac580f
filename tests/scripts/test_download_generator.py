"""download_generator.py against a hub on this machine, and without one."""

from __future__ import annotations

import contextlib
import functools
import http.server
from typing import TYPE_CHECKING

import pytest

from scripts import download_generator
from server.models import gpt2_folder
from tests.support.generators import train_tiny
from tests.support.service import free_port
from tests.support.web import web_server

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@contextlib.contextmanager
def serving(folder: Path) -> Iterator[str]:
    """The folder's files over HTTP."""
    handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory=str(folder))
    with web_server(handler) as address:
        yield address


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[tuple[str, Path]]:
    """(address, folder of the files) of a hub with the model owner/tiny."""
    files = tmp_path / "hub" / "owner" / "tiny" / "resolve" / "main"
    with serving(tmp_path / "hub") as address:
        yield address, train_tiny(files, steps=1)


def test_downloading(hub: tuple[str, Path], tmp_path: Path) -> None:
    address, files = hub
    target = tmp_path / "local_model" / "tiny"
    arguments = ["owner/tiny", "--hub", address, "--output", str(target)]
    assert download_generator.main(arguments) == 0
    assert sorted(path.name for path in target.iterdir()) == ["model", "tokenizer"]
    assert gpt2_folder.read(target).weights == gpt2_folder.read(files).weights
    assert download_generator.main(arguments) == 1  # it is there already


@pytest.mark.parametrize(
    ("missing", "message"),
    [
        ("config.json", "the hub has no config.json"),
        ("model.safetensors", "the hub has no model.safetensors or pytorch_model.bin"),
        ("tokenizer.json", "the hub has no tokenizer.json or vocab.json and merges.txt"),
    ],
)
def test_what_is_not_there(
    hub: tuple[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str], missing: str, message: str
) -> None:
    address, files = hub
    (files / missing).unlink()
    target = tmp_path / "out" / "tiny"
    assert download_generator.main(["owner/tiny", "--hub", address, "--output", str(target)]) == 1
    assert message in " ".join(capsys.readouterr().err.split())
    assert list(target.parent.iterdir()) == []


def test_a_model_that_cannot_be_served(
    hub: tuple[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    address, files = hub
    (files / "config.json").write_text('{"model_type": "llama"}')
    assert download_generator.main(["owner/tiny", "--hub", address, "--output", str(tmp_path / "out")]) == 1
    assert "owner/tiny cannot be served: config.json: model_type is 'llama'" in capsys.readouterr().err


def test_no_hub(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    nobody = f"http://127.0.0.1:{free_port()}"
    assert download_generator.main(["gpt2", "--hub", nobody, "--output", str(tmp_path / "out")]) == 1
    said = capsys.readouterr().err
    assert f"no model hub can be reached at {nobody}" in said
    assert "train_generator.py" in said


@pytest.mark.parametrize(
    "arguments", [["../etc"], ["a/b/c"], ["gpt2", "--revision", "../x"], ["gpt2", "--hub", "file:"]]
)
def test_wrong_arguments(arguments: list[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        download_generator.main(arguments)
    assert ended.value.code == 2
