"""GPT-2 folders: layouts that are served, and what is wrong with those that are not."""

from __future__ import annotations

import json
import shutil
import sys
from types import ModuleType
from typing import TYPE_CHECKING, Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer

from server.config import Settings
from server.errors import ModelError
from server.models import formats, gpt2_folder, kinds
from tests.support.generators import train_tiny

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return train_tiny(tmp_path_factory.mktemp("generators") / "harbour", steps=1)


@pytest.fixture
def folder(trained: Path, tmp_path: Path) -> Path:
    """A copy to break, as scripts/convert_generator.py marks it: others are read with the folders of all families."""
    made = shutil.copytree(trained, tmp_path / "model-folder")
    (made / formats.GENERATOR_JSON).write_text('{"format": 1, "precision": "float32"}')
    return made


def pickle_weights(folder: Path) -> None:
    """As older versions of transformers saved them: with the masks, and a number for what they hide."""
    weights = load_file(folder / "model.safetensors")
    named = {f"transformer.{name}": weight for name, weight in weights.items()}
    masks = {"h.0.attn.bias": torch.ones(1, 1, 4, 4, dtype=torch.uint8), "h.0.attn.masked_bias": torch.tensor(-1e4)}
    named |= {f"transformer.{name}": mask for name, mask in masks.items()}
    torch.save(named | {"lm_head.weight": weights["wte.weight"]}, folder / "pytorch_model.bin")
    (folder / "model.safetensors").unlink()


def split_tokenizer(folder: Path) -> None:
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    tokenizer.model.save(str(folder))
    (folder / "tokenizer.json").unlink()


def in_two_folders(folder: Path) -> None:
    """As NLP-Microservice downloads it: local_model/NAME/{tokenizer,model}."""
    for name, files in {"model": ("config.json", "model.safetensors"), "tokenizer": ("tokenizer.json",)}.items():
        (folder / name).mkdir()
        for file in files:
            (folder / file).rename(folder / name / file)


@pytest.mark.parametrize("change", [pickle_weights, split_tokenizer, in_two_folders])
def test_layouts(trained: Path, folder: Path, change: Any) -> None:
    expected = gpt2_folder.read(trained)
    change(folder)
    assert formats.is_generator(folder)
    found = gpt2_folder.read(folder)
    assert found.weights == expected.weights
    assert (found.sizes, found.token_bytes, found.end_tokens) == (expected.sizes, expected.token_bytes, [0])
    text = "The harbour, naïve 😀<|endoftext|>"
    assert found.tokenizer.encode(text).ids == expected.tokenizer.encode(text).ids


def test_token_bytes_are_the_text(trained: Path) -> None:
    found = gpt2_folder.read(trained)
    text = "The harbour, naïve 😀\n\tx"
    assert b"".join(found.token_bytes[token] for token in found.tokenizer.encode(text).ids).decode() == text
    assert found.token_bytes[0] == b""


def configure(folder: Path, **values: Any) -> None:
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | values))


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-100])


def spoil(folder: Path) -> None:
    weights = load_file(folder / "model.safetensors")
    weights["h.1.ln_1.bias"][5] = torch.nan
    save_file(weights, folder / "model.safetensors")


def pickle_instead(folder: Path, content: Any) -> None:
    (folder / "model.safetensors").unlink()
    torch.save(content, folder / "pytorch_model.bin")


BREAKS: dict[str, Any] = {
    "there is no tokenizer": lambda folder: (folder / "tokenizer.json").unlink(),
    "the tokenizer cannot be read": lambda folder: (folder / "tokenizer.json").write_text("{"),
    "model.safetensors is damaged or cut short": lambda folder: cut(folder / "model.safetensors"),
    "the model gives numbers that are not finite": spoil,
    "there are no weights": lambda folder: (folder / "model.safetensors").unlink(),
    "pytorch_model.bin is damaged": lambda folder: (pickle_weights(folder), cut(folder / "pytorch_model.bin")),
    "is of shape [512, 64]; by the configuration it must be [512, 32]": lambda folder: configure(folder, n_embd=32),
    "there is no weight h.2.": lambda folder: configure(folder, n_layer=3),
    "activation_function is 'relu'": lambda folder: configure(folder, activation_function="relu"),
    "pytorch_model.bin holds no weights by name": lambda folder: pickle_instead(folder, [1, 2]),
    "there is no weight": lambda folder: pickle_instead(folder, {1: torch.ones(3), "a": {"b": torch.ones(3)}}),
    f"vocab_size: expected a number from 1 to 1048576, got {10**30}": lambda folder: configure(
        folder, vocab_size=10**30
    ),
    "n_positions: expected a number from 1 to 1048576, got 1048577": lambda folder: configure(
        folder, n_positions=2**20 + 1
    ),
    "n_inner: expected a number from 1 to 1048576, got -4": lambda folder: configure(folder, n_inner=-4),
    "n_head: expected a number from 1 to 1048576, got 0": lambda folder: configure(folder, n_head=0),
    "multiple of the number of heads": lambda folder: configure(folder, n_head=5),
    "1000 is not a token": lambda folder: configure(folder, eos_token_id=1000),
    "token 511 is not in the model's vocabulary": lambda folder: configure(folder, vocab_size=511),
    "generator.json: format is 2": lambda folder: (folder / "generator.json").write_text('{"format": 2}'),
    "generator.json: precision is 'int4'": lambda folder: (folder / "generator.json").write_text(
        '{"format": 1, "precision": "int4"}'
    ),
    "generator.json is no JSON": lambda folder: (folder / "generator.json").write_text("nonsense"),
    "model_type is 'llama'": lambda folder: (
        configure(folder, model_type="llama"),
        (folder / "generator.json").write_text('{"format": 1, "precision": "float32"}'),
    ),
}


async def test_device(trained: Path) -> None:
    model = await kinds.load(trained, Settings())
    await model.close()
    assert model.details["device"] == "cpu"
    assert model.details["batch_invariant"] == "true"
    with pytest.raises(ModelError, match=r"there is no device cuda:99 \(setting device\): "):
        await kinds.load(trained, Settings(device="cuda:99"))


async def test_pickled_weights_where_torch_is_its_libraries_alone(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As in the image."""
    pickle_instead(folder, {})
    monkeypatch.setitem(sys.modules, "torch", ModuleType("torch"))
    with pytest.raises(ModelError, match=r"is read by torch's Python part, .*: save the weights as safetensors"):
        await kinds.load(folder, Settings())


@pytest.mark.parametrize("message", BREAKS)
async def test_broken_folders_are_refused(folder: Path, message: str) -> None:
    BREAKS[message](folder)
    with pytest.raises(ModelError) as caught:
        await kinds.load(folder, Settings())
    assert message in str(caught.value)
    assert str(caught.value).startswith(f"{folder}: ")


@pytest.mark.parametrize(
    "normalizer",
    [
        {"type": "Precompiled", "precompiled_charsmap": "/////w=="},
        {"type": "Replace", "pattern": {"String": ""}, "content": "xx"},
    ],
    ids=["as it is read", "at the first text"],
)
async def test_a_tokenizer_that_panics_is_refused(folder: Path, normalizer: dict[str, Any]) -> None:
    content = json.loads((folder / "tokenizer.json").read_text())
    (folder / "tokenizer.json").write_text(json.dumps(content | {"normalizer": normalizer}))
    with pytest.raises(ModelError, match="the tokenizer cannot be read: "):
        await kinds.load(folder, Settings())
