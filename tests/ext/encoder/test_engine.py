"""The encoder's engine alone: token ids in, vectors out, by a small random module."""

from __future__ import annotations

import os
import select
import subprocess
import sys
import time
import warnings
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch

from ext import _torchscript
from ext._batching import Admission
from scripts import bert
from tests.support.lesser_processors import LESS

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

ARCHITECTURE = bert.Architecture(2, 2, 8, 16, 50, 20, 1e-12, "gelu", "mean", False)
SETTINGS = {"vocabulary": 50, "max_tokens": 20, "warm_up_tokens": 8}
TEXTS = [[1, 2, 3], [4], [5, 6, 7, 8, 9, 10], [49] * 20, [11, 12, 13], [0]]


def module(precision: str, **replaced: torch.Tensor) -> torch.nn.Module:
    generator = torch.Generator().manual_seed(1)
    shapes = bert.wanted_weights(ARCHITECTURE) | {"embeddings.token_type_embeddings.weight": (2, 8)}
    weights = {name: torch.randn(shape, generator=generator) for name, shape in shapes.items()}
    return bert.encoder(weights | replaced, ARCHITECTURE, precision)


def save(precision: str, path: Path, **replaced: torch.Tensor) -> Path:
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", ".*deprecated", DeprecationWarning)
        torch.jit.save(torch.jit.script(module(precision, **replaced)), path)
    return path


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save("float32", tmp_path_factory.mktemp("module") / "model.pt")


def answers(engine: Any, texts: Sequence[Sequence[int]]) -> list[tuple[int, Any]]:
    """(status, value) of each, all submitted together."""
    for number, ids in enumerate(texts):
        assert engine.submit(ids, 0, time.monotonic_ns() + 10**10, number) > 0
    engine.wake()
    found: dict[int, tuple[int, Any]] = {}
    while len(found) < len(texts):
        assert select.select([engine.fd], [], [], 10)[0], "nothing came"
        found |= {number: (status, value) for number, status, value in engine.results()}
    return [found[number] for number in range(len(texts))]


def alone(precision: str, texts: Sequence[Sequence[int]]) -> list[list[float]]:
    own = module(precision)
    with torch.inference_mode():
        return [own(torch.tensor(ids), [len(ids)])[0].tolist() for ids in texts]


@pytest.mark.parametrize(("precision", "tolerance"), [("float32", 1e-5), ("bfloat16", 0.05), ("int8", 1e-4)])
def test_every_text_gets_the_vector_that_it_has_alone(tmp_path: Path, precision: str, tolerance: float) -> None:
    engine = _torchscript.EncoderEngine(str(save(precision, tmp_path / "model.pt")), hold=len(TEXTS), **SETTINGS)
    assert engine.dimensions == 8
    found = answers(engine, TEXTS)
    assert engine.stats()["batches"] == 1
    assert engine.stats()["batched_tokens"] == sum(map(len, TEXTS)), "nothing is padded"
    assert [status for status, _ in found] == [0] * len(TEXTS)
    vectors = np.stack([np.frombuffer(value, "<f4") for _, value in found])
    assert np.allclose(vectors, alone(precision, TEXTS), atol=tolerance)
    engine.close()


class FormerInt8Linear(bert.Int8Linear):
    """As exported before predictor::int8_products was."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        least, most = x.amin(1, keepdim=True), x.amax(1, keepdim=True)
        middle = (least + most) / 2
        scales = (most - least).clamp_(min=1e-12).div_(254)
        products = torch._int_mm((x - middle).div_(scales).round_().to(torch.int8), self.weight)
        x = torch.addcmul(self.bias, middle, self.sums).addcmul_(products.to(torch.float32).mul_(scales), self.scales)
        return bert.activate(x, self.activation)


@pytest.mark.parametrize("less", LESS)
def test_int8_by_lesser_processors(tmp_path: Path, less: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Exports of before are as exact as those of today: it is done as they are loaded."""
    program = """
import sys
from ext import _torchscript
from tests.ext.encoder.test_engine import SETTINGS, TEXTS, answers

for path in sys.argv[1:]:
    engine = _torchscript.EncoderEngine(path, **SETTINGS)
    sys.stdout.buffer.write(b"".join(value for _, value in answers(engine, TEXTS)))
    engine.close()
"""
    paths = [str(save("int8", tmp_path / "today.pt"))]
    monkeypatch.setattr(bert, "Int8Linear", FormerInt8Linear)
    paths.append(str(save("int8", tmp_path / "before.pt")))
    command = [sys.executable, "-c", program, *paths]
    done = subprocess.run(command, env=os.environ | LESS[less], capture_output=True, check=True)
    today, before = np.frombuffer(done.stdout, "<f4").reshape(2, len(TEXTS), -1)
    monkeypatch.undo()
    assert np.array_equal(today, before)
    assert np.allclose(today, alone("int8", TEXTS), atol=1e-4)


def test_several_threads_give_the_same(path: Path) -> None:
    """By libtorch's attention, which can use them."""
    engine = _torchscript.EncoderEngine(str(path), threads=2, **SETTINGS)
    found = np.stack([np.frombuffer(value, "<f4") for _, value in answers(engine, TEXTS)])
    assert np.allclose(found, alone("float32", TEXTS), atol=1e-5)
    engine.close()


def test_several_workers_give_the_same(path: Path) -> None:
    engine = _torchscript.EncoderEngine(str(path), replicas=3, batch_items=2, **SETTINGS)
    texts = TEXTS * 50
    found = np.stack([np.frombuffer(value, "<f4") for _, value in answers(engine, texts)])
    assert np.allclose(found, alone("float32", TEXTS) * 50, atol=1e-5)
    engine.close()


def test_weights_that_are_no_numbers_are_refused(tmp_path: Path) -> None:
    spoilt = torch.ones(8)
    spoilt[3] = float("nan")
    path = save("float32", tmp_path / "model.pt", **{"embeddings.LayerNorm.bias": spoilt})
    with pytest.raises(ValueError, match="the model gives numbers that are not finite"):
        _torchscript.EncoderEngine(str(path), **SETTINGS)


@pytest.mark.parametrize("ids", [[], [50], [-1], [1, 2**31 - 1]])
def test_what_is_no_token_is_refused(path: Path, ids: list[int]) -> None:
    engine = _torchscript.EncoderEngine(str(path), **SETTINGS)
    with pytest.raises(ValueError, match="token ids must lie in the vocabulary"):
        engine.submit(ids, 0, time.monotonic_ns() + 10**10, None)
    assert engine.submit([1] * 21, 0, time.monotonic_ns() + 10**10, None) == -Admission.TOO_LONG
    assert [status for status, _ in answers(engine, [[1]])] == [0]
    engine.close()


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        ({"replicas": 0}, "replicas must be 1 to 256"),
        ({"threads": 257}, "threads must be 1 to 256"),
        ({"vocabulary": 0}, "vocabulary must be 1 to 2147483647"),
        ({"warm_up_tokens": 1 << 17}, "warm_up_tokens must be 0 to 65536"),
        ({"batch_tokens": 0}, "batch_tokens must be 1 to"),
        ({"device": "cuda:99"}, "there is no device cuda:99"),
        ({"vocabulary": 51}, "the model fails on 1 texts of 20 tokens: "),
        ({"max_tokens": 21}, "the model fails on 1 texts of 21 tokens: "),
    ],
)
def test_settings_out_of_range(path: Path, settings: dict[str, Any], reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        _torchscript.EncoderEngine(str(path), **SETTINGS | settings)
