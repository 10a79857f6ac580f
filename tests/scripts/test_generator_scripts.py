"""train_generator.py and convert_generator.py: what they write, that it can be resumed, and what they refuse."""

from __future__ import annotations

import itertools
import json
import signal
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
import torch
from torch.nn import functional

from scripts import convert_generator, train_generator
from server.models import gpt2_folder
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
    folder = gpt2_folder.read(trained)
    tokens = folder.tokenizer.encode("Every evening she climbs").ids
    import torch

    with torch.inference_mode():
        expected = model.eval()(torch.tensor([tokens])).logits[0]
    assert torch.allclose(convert_generator.logits(folder, "float32", tokens), expected, atol=1e-4)


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
    assert gpt2_folder.read(tmp_path / "resumed").weights == gpt2_folder.read(whole).weights
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


@pytest.mark.parametrize("precision", gpt2_folder.PRECISIONS)
def test_converting(trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], precision: str) -> None:
    target = tmp_path / "converted"
    for _ in range(2):  # it may replace its own
        assert convert_generator.main([str(trained), str(target), "--precision", precision]) == 0
    assert precision in capsys.readouterr().out
    marker = json.loads((target / "generator.json").read_text())
    assert marker["precision"] == precision
    found = gpt2_folder.read(target)
    assert found.precision == precision
    assert found.token_bytes == gpt2_folder.read(trained).token_bytes
    assert marker["measured"]["same_likeliest"] == (1 if precision == "float32" else pytest.approx(1, abs=0.1))
    assert marker["measured"]["divergence"] < 0.01
    size = (target / "model.safetensors").stat().st_size / (trained / "model.safetensors").stat().st_size
    assert size < {"float32": 1.01, "bfloat16": 0.55, "int8": 0.55}[precision]


def test_what_cannot_be_converted(trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "empty").mkdir()
    assert convert_generator.main([str(tmp_path / "empty"), str(tmp_path / "out")]) == 1
    assert convert_generator.main([str(tmp_path / "nowhere"), str(tmp_path / "out")]) == 1
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("do not delete")
    assert convert_generator.main([str(trained), str(tmp_path / "mine")]) == 1
    said = capsys.readouterr().err
    assert "there is no config.json" in said
    assert "no such folder" in said
    assert "was not made by this script" in said
    assert (tmp_path / "mine" / "thesis.txt").exists()


@pytest.mark.parametrize(("steps", "message"), [(1, "File too large"), (50, "model.checkpoint cannot be")])
def test_no_room_for_what_is_trained(tmp_path: Path, steps: int, message: str) -> None:
    arguments = ("--output", tmp_path / "model", "--steps", steps, *TINY)
    done = run_without_room("train_generator", *arguments, most_bytes=50_000)
    assert (done.returncode, message in done.stderr.replace("\n", "")) == (1, True), done.stderr
    assert not list(tmp_path.iterdir())


def test_no_room_for_what_is_converted(trained: Path, tmp_path: Path) -> None:
    done = run_without_room("convert_generator", trained, tmp_path / "converted", most_bytes=50_000)
    assert (done.returncode, "File too large" in done.stderr) == (1, True), done.stderr
    assert not list(tmp_path.iterdir())


def test_a_checkpoint_that_is_none(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    torch.save([1], tmp_path / "model.checkpoint")
    assert train_generator.main(["--output", str(tmp_path / "model"), "--resume", *TINY]) == 1
    assert "was made with another text or other options" in " ".join(capsys.readouterr().err.split())
