"""The engine of models that read whole texts, alone: token ids in, vectors out, by a small BERT with random weights."""

from __future__ import annotations

import os
import select
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pytest
import safetensors.torch
import torch

from ext import _encoder
from ext._batching import Admission
from server.models.folder.weights import Weights
from tests.support.lesser_processors import LESS

if TYPE_CHECKING:
    from collections.abc import Sequence

CONFIG: dict[str, Any] = {
    "model_type": "bert",
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "hidden_size": 24,
    "intermediate_size": 37,  # no multiple of anything
    "vocab_size": 50,
    "max_position_embeddings": 20,
}
HEAD = {"output": "vector", "modules": [{"type": "pooling", "modes": ["mean"]}]}
SETTINGS = {"max_tokens": 20, "warm_up_tokens": 8}
TEXTS = [[1, 2, 3], [4], [5, 6, 7, 8, 9, 10], [49] * 20, [11, 12, 13], [0]]


class Source(NamedTuple):
    """What the engine takes of a folder."""

    files: list[str]
    weights: Any


def shapes() -> dict[str, tuple[int, ...]]:
    hidden, inner = CONFIG["hidden_size"], CONFIG["intermediate_size"]
    found: dict[str, tuple[int, ...]] = {
        "embeddings.word_embeddings.weight": (50, hidden),
        "embeddings.position_embeddings.weight": (20, hidden),
        "embeddings.token_type_embeddings.weight": (2, hidden),
        "embeddings.LayerNorm.weight": (hidden,),
        "embeddings.LayerNorm.bias": (hidden,),
    }
    for layer in range(CONFIG["num_hidden_layers"]):
        linears = {f"attention.self.{name}": (hidden, hidden) for name in ("query", "key", "value")}
        linears |= {"attention.output.dense": (hidden, hidden), "intermediate.dense": (inner, hidden)}
        linears |= {"output.dense": (hidden, inner)}
        for name, shape in linears.items():
            found |= {f"encoder.layer.{layer}.{name}.weight": shape, f"encoder.layer.{layer}.{name}.bias": shape[:1]}
        for name in ("attention.output.LayerNorm", "output.LayerNorm"):
            for part in ("weight", "bias"):
                found[f"encoder.layer.{layer}.{name}.{part}"] = (hidden,)
    return found


def save(folder: Path, **replaced: torch.Tensor) -> Source:
    generator = torch.Generator().manual_seed(1)
    weights = {name: torch.randn(shape, generator=generator) for name, shape in shapes().items()}
    folder.mkdir(exist_ok=True)
    safetensors.torch.save_file(weights | replaced, folder / "model.safetensors")
    return read(folder)


def read(folder: Path) -> Source:
    weights = Weights()
    weights.add(folder)
    return Source(weights.files, weights.tensors)


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Source:
    return save(tmp_path_factory.mktemp("model"))


def engine_of(source: Source, config: dict[str, Any] | None = None, head: Any = HEAD, **settings: Any) -> Any:
    return _encoder.EncoderEngine(CONFIG | (config or {}), *source, head, **SETTINGS | settings)


def answers(engine: Any, texts: Sequence[Sequence[int]]) -> list[tuple[int, Any]]:
    """(status, value) of each, all submitted together."""
    for number, ids in enumerate(texts):
        assert engine.submit(ids, len(ids), 0, len(ids), 0, time.monotonic_ns() + 10**10, number) > 0
    engine.wake()
    found: dict[int, tuple[int, Any]] = {}
    while len(found) < len(texts):
        assert select.select([engine.fd], [], [], 10)[0], "nothing came"
        found |= {number: (status, value) for number, status, value in engine.results()}
    return [found[number] for number in range(len(texts))]


def vectors(engine: Any, texts: Sequence[Sequence[int]]) -> np.ndarray[Any, Any]:
    found = answers(engine, texts)
    assert [status for status, _ in found] == [0] * len(texts)
    return np.stack([np.frombuffer(value, "<f4") for _, value in found])


def alone(engine: Any, texts: Sequence[Sequence[int]]) -> np.ndarray[Any, Any]:
    return np.concatenate([vectors(engine, [ids]) for ids in texts])


@pytest.mark.parametrize("precision", ["float32", "bfloat16", "int8"])
def test_a_text_has_the_same_numbers_alone_and_in_a_batch(source: Source, precision: str) -> None:
    by_itself = engine_of(source, precision=precision)
    together = engine_of(source, precision=precision, hold=len(TEXTS))
    assert together.columns == 24
    found = vectors(together, TEXTS)
    assert together.stats()["batches"] == 1
    assert together.stats()["batched_tokens"] == sum(map(len, TEXTS)), "nothing is padded"
    np.testing.assert_allclose(found, alone(by_itself, TEXTS), atol=1e-6)


@pytest.mark.parametrize(("precision", "error"), [("bfloat16", 3e-2), ("int8", 6e-2)])
def test_lower_precisions_are_near(source: Source, precision: str, error: float) -> None:
    right, found = (vectors(engine_of(source, precision=each), TEXTS) for each in ("float32", precision))
    assert 0 < np.abs(found - right).max() <= error * np.abs(right).max()


@pytest.mark.parametrize("less", LESS)
def test_lesser_processors_give_the_same(source: Source, less: str) -> None:
    """As near as sums that are rounded otherwise, and what is rounded after them, can be."""
    program = """
import sys
from pathlib import Path

from tests.ext.encoder.test_engine import TEXTS, engine_of, read, vectors

for precision in ("float32", "bfloat16", "int8"):
    sys.stdout.buffer.write(vectors(engine_of(read(Path(sys.argv[1])), precision=precision), TEXTS).tobytes())
"""
    command = [sys.executable, "-c", program, str(Path(source.files[0]).parent)]
    done = subprocess.run(command, env=os.environ | LESS[less], capture_output=True, check=True)
    found = np.frombuffer(done.stdout, "<f4").reshape(3, len(TEXTS), -1)
    for precision, theirs, error in zip(("float32", "bfloat16", "int8"), found, (1e-5, 5e-2, 5e-2), strict=True):
        np.testing.assert_allclose(theirs, vectors(engine_of(source, precision=precision), TEXTS), atol=error)


def test_several_threads_and_workers_give_the_same(source: Source) -> None:
    right = vectors(engine_of(source), TEXTS)
    np.testing.assert_allclose(vectors(engine_of(source, threads=2), TEXTS), right, atol=1e-6)
    found = vectors(engine_of(source, replicas=3, batch_items=2), TEXTS * 50)
    np.testing.assert_allclose(found, np.tile(right, (50, 1)), atol=1e-6)


def test_the_second_text_of_a_pair_is_of_another_type(source: Source) -> None:
    engine = engine_of(source)
    ids = TEXTS[2]

    def of_pair(second_begins: int) -> bytes:
        engine.submit(ids, second_begins, 0, len(ids), 0, time.monotonic_ns() + 10**10, None)
        engine.wake()
        assert select.select([engine.fd], [], [], 10)[0]
        ((_, status, value),) = engine.results()
        assert status == 0
        return bytes(value)

    assert of_pair(len(ids)) == vectors(engine, [ids])[0].tobytes()
    assert len({of_pair(second_begins) for second_begins in (2, 3, len(ids))}) == 3


def test_weights_that_are_no_numbers_are_refused(tmp_path: Path) -> None:
    spoilt = torch.ones(24)
    spoilt[3] = float("nan")
    source = save(tmp_path, **{"embeddings.LayerNorm.bias": spoilt})
    with pytest.raises(_encoder.ModelError, match="the model gives numbers that are not finite"):
        engine_of(source)


@pytest.mark.parametrize(
    ("name", "weight", "reason"),
    [
        ("encoder.layer.1.output.dense.weight", torch.zeros(24, 36), r"is of shape \[24, 36\]; .* must be \[24, 37\]"),
        ("embeddings.LayerNorm.weight", torch.zeros(24, dtype=torch.int8), "is of type I8; expected F32, F16 or BF16"),
    ],
)
def test_weights_that_do_not_fit_are_named(tmp_path: Path, name: str, weight: torch.Tensor, reason: str) -> None:
    with pytest.raises(_encoder.ModelError, match=f"weight {name} {reason}"):
        engine_of(save(tmp_path, **{name: weight}))


def test_weights_that_are_not_there_are_named(source: Source) -> None:
    name = "encoder.layer.1.output.dense.bias"
    fewer = {each: place for each, place in source.weights.items() if each != name}
    with pytest.raises(_encoder.ModelError, match=f"there is no weight {name}"):
        engine_of(Source(source.files, fewer))


def test_a_file_that_was_cut_short_is_named(source: Source, tmp_path: Path) -> None:
    cut = tmp_path / "model.safetensors"
    cut.write_bytes(Path(source.files[0]).read_bytes()[:-100])
    with pytest.raises(_encoder.ModelError, match=r"model\.safetensors is cut short"):
        engine_of(Source([str(cut)], source.weights))


@pytest.mark.parametrize(
    ("config", "reason"),
    [
        ({"model_type": "mamba"}, r"the architecture .* is mamba; served are albert, bert, "),
        ({"is_decoder": True}, "is_decoder is true; only false is served"),
        ({"position_embedding_type": "relative_key"}, 'is "relative_key"; only "absolute" is served'),
        ({"hidden_act": "mish"}, 'hidden_act is "mish"; served are gelu, '),
        ({"num_hidden_layers": 0}, "num_hidden_layers is 0; expected a whole number from 1 to"),
        ({"hidden_size": "24"}, 'hidden_size is "24"; expected a whole number'),
        ({"num_attention_heads": 5}, r"the hidden size \(24\) is no multiple of the heads \(5\)"),
        ({"unheard_of": 3}, "unheard_of is 3; this server does not know what it changes"),
        ({"quantization_config": {"bits": 4}}, "weights that are quantised already are not served"),
        ({"vocab_size": 1 << 40}, "vocab_size is 1099511627776; expected a whole number"),
    ],
)
def test_what_config_json_asks_for_and_is_not_served_is_named(
    source: Source, config: dict[str, Any], reason: str
) -> None:
    with pytest.raises(_encoder.ModelError, match=reason):
        engine_of(source, config)


def test_harmless_fields_are_read_over(source: Source) -> None:
    config = {"transformers_version": "4.8.0", "hidden_dropout_prob": 0.1, "id2label": {"0": "a"}, "pruned_heads": {}}
    assert engine_of(source, config).columns == 24


@pytest.mark.parametrize("ids", [[], [50], [-1], [1, 2**31 - 1]])
def test_what_is_no_token_is_refused(source: Source, ids: list[int]) -> None:
    engine = engine_of(source)
    with pytest.raises(ValueError, match="token ids must lie in the vocabulary"):
        engine.submit(ids, len(ids), 0, len(ids), 0, time.monotonic_ns() + 10**10, None)
    assert engine.submit([1] * 21, 21, 0, 21, 0, time.monotonic_ns() + 10**10, None) == -Admission.TOO_LONG
    assert [status for status, _ in answers(engine, [[1]])] == [0]


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        ({"replicas": 0}, "replicas must be 1 to 256"),
        ({"threads": 257}, "threads must be 1 to 256"),
        ({"warm_up_tokens": 1 << 17}, "warm_up_tokens must be 0 to 65536"),
        ({"batch_tokens": 0}, "batch_tokens must be 1 to"),
        ({"device": "cuda:99"}, "there is no device cuda:99"),
        ({"precision": "float8"}, "precision must be float32, bfloat16, int8 or int4"),
        ({"precision": "int4"}, "int4 is for models that generate text; for this one take int8"),
    ],
)
def test_settings_out_of_range(source: Source, settings: dict[str, Any], reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        engine_of(source, **settings)
