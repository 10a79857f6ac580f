"""train_generator.py: what it writes, that it can be resumed, and what it refuses."""

from __future__ import annotations

import itertools
import signal
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from tokenizers import Tokenizer
from torch.nn import functional

from ext import _generator
from scripts import train_generator
from server.models.folder.generation import generator_folder
from server.models.options import NO_OPTIONS
from tests.scripts.room import run_without_room
from tests.support.generators import TINY, train_tiny

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return train_tiny(tmp_path_factory.mktemp("generators") / "harbour", steps=30)


def test_training_learns(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    train_tiny(tmp_path / "model", steps=60)
    said = " ".join(capsys.readouterr().err.split())
    first, last = said.rpartition("loss ")[2].split(" nats")[0].split(" -> ")
    assert float(first) > 6
    assert float(last) < 5  # the words as often as they come give 5.2
    assert sorted(path.name for path in tmp_path.iterdir()) == ["model"]


def test_transformers_loads_what_was_trained(trained: Path) -> None:
    from transformers import GPT2LMHeadModel

    model = GPT2LMHeadModel.from_pretrained(trained)
    tokens = Tokenizer.from_file(str(trained / "tokenizer.json")).encode("Every evening she climbs").ids
    with torch.inference_mode():
        expected = model.eval()(torch.tensor([tokens])).logits[0].numpy()
    folder = generator_folder.read(trained, NO_OPTIONS)
    content = _generator.text_logits(folder.config, folder.weights.files, folder.weights.tensors, tokens)
    assert np.allclose(np.frombuffer(content, np.float32).reshape(expected.shape), expected, atol=1e-4)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_resuming_gives_the_same_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: signal.Signals) -> None:
    whole = train_tiny(tmp_path / "whole", steps=12)
    output = str(tmp_path / "resumed")
    losses = itertools.count(1)

    def interrupted(*arguments: Any) -> Any:
        if next(losses) == 8:  # in the middle of a step
            signal.raise_signal(number)
        return functional.cross_entropy(*arguments)

    arguments = ["--output", output, "--steps", "12", "--rate", "5e-3", *TINY]
    monkeypatch.setattr(train_generator, "functional", SimpleNamespace(cross_entropy=interrupted))
    assert train_generator.main(arguments) == 130
    monkeypatch.undo()
    assert train_generator.main([*arguments, "--resume", "--seed", "4"]) == 1  # another seed: another model
    assert train_generator.main([*arguments, "--resume"]) == 0
    assert (tmp_path / "resumed" / "model.safetensors").read_bytes() == (whole / "model.safetensors").read_bytes()
    assert not (tmp_path / "resumed.checkpoint").exists()


@pytest.mark.parametrize(
    ("content", "message"),
    [(b"", "is empty"), (b"\xff\xfe", "is not UTF-8"), (b"too short", "tokens; more than 129 are needed")],
)
def test_texts_that_nothing_can_be_learned_from(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], content: bytes, message: str
) -> None:
    (tmp_path / "text").write_bytes(content)
    arguments = ["--output", str(tmp_path / "model"), "--text", str(tmp_path / "text"), *TINY]
    assert train_generator.main(arguments) == 1
    assert message in " ".join(capsys.readouterr().err.split())


@pytest.mark.parametrize(("steps", "message"), [(1, "File too large"), (50, "model.checkpoint cannot be")])
def test_no_room_for_what_is_trained(tmp_path: Path, steps: int, message: str) -> None:
    arguments = ("--output", tmp_path / "model", "--steps", steps, *TINY)
    done = run_without_room("train_generator", *arguments, most_bytes=50_000)
    assert (done.returncode, message in done.stderr.replace("\n", "")) == (1, True), done.stderr
    assert not list(tmp_path.iterdir())


def test_a_checkpoint_that_is_none(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    torch.save([1], tmp_path / "model.checkpoint")
    assert train_generator.main(["--output", str(tmp_path / "model"), "--resume", *TINY]) == 1
    assert "was made with another text or other options" in " ".join(capsys.readouterr().err.split())
