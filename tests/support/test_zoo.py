"""The zoo's models are what they say: other tests rely on it."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import pytest
import torch

from scripts.train_classifier import load
from tests.support import zoo

if TYPE_CHECKING:
    from pathlib import Path

DOCUMENTS = [["set", "an", "alarm"], ["what", "is", "the", "weather", "in", "Zürich"], ["hi"]]
TEXTS = [" ".join(document) for document in DOCUMENTS]
SCORES = "Dict(str, float)"
OUTPUTS = {
    "label_sets": f"{SCORES}[][]",
    "word_tagging": f"{SCORES}[][]",
    "intent_slot": f"(({SCORES}[], {SCORES}[][]))",
    "regression": "float[]",
    "embedding_tensor": "Tensor",
    "embedding_list": "Tensor[]",
    "returns_int": "int",
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("zoo")
    zoo.main(folder)
    return folder


def answer(model: torch.jit.ScriptModule, documents: list[list[str]]) -> Any:
    """The model's answer when it gets everything that its signature asks for."""
    texts = [" ".join(document) for document in documents]
    features = [[1.0, 2.0] for _ in documents]
    inputs = {"multi_texts": [], "dense_feat": features, "pixels": torch.zeros(1)}
    inputs |= {"tokens": documents, "tokens1": documents, "tokens2": documents}
    inputs |= {"texts": texts, "texts1": texts, "texts2": texts}
    names = [argument.name for argument in model.forward.schema.arguments]
    with torch.inference_mode():
        return model(**{name: inputs[name] for name in names if name in inputs})


def size(result: Any) -> int:
    return len(result[0] if isinstance(result, tuple) else result)


def test_main_writes_every_model(folder: Path) -> None:
    broken = {"empty", "random_bytes", "pickle", "truncated", "state_dict"}
    assert {path.stem for path in folder.iterdir()} == zoo.MODELS.keys() | broken


@pytest.mark.parametrize("name", zoo.MODELS)
def test_output(folder: Path, name: str) -> None:
    model = load(folder / f"{name}.pt")
    assert str(model.forward.schema).partition("-> ")[2] == OUTPUTS.get(name, f"{SCORES}[]")
    result = answer(model, DOCUMENTS)
    if name == "returns_int":
        assert result == 3
    else:
        assert size(result) == (2 if name == "too_few_results" else 3)


@pytest.mark.parametrize("name", sorted(zoo.MODELS.keys() - OUTPUTS.keys()))
def test_scores_tell_labels_and_tokens_apart(folder: Path, name: str) -> None:
    model = load(folder / f"{name}.pt")
    words = ["set", "my", "alarm", "weather"]
    (scores,) = answer(model, [words])
    assert len(set(scores.values())) == len(scores) >= len(zoo.LABELS)
    for i in range(len(words)):
        (changed,) = answer(model, [[*words[:i], "reminders", *words[i + 1 :]]])
        assert max(abs(changed[label] - scores[label]) for label in zoo.LABELS) > 1e-3


@pytest.mark.parametrize("name", ["script_pytext_module", "with_dense_first", "with_dense_last", "layer_module"])
def test_tensorizer_is_inside(folder: Path, name: str) -> None:
    assert hasattr(load(folder / f"{name}.pt"), "tensorizer")


@pytest.mark.parametrize("name", ["doc_model_dense", "with_dense_last"])
def test_dense_features_are_required_by_the_code_only(folder: Path, name: str) -> None:
    with pytest.raises(torch.jit.Error, match="dense_feat is required"):
        load(folder / f"{name}.pt")(texts=TEXTS, tokens=DOCUMENTS)


def test_poison(folder: Path) -> None:
    model = load(folder / "poison.pt")
    with pytest.raises(torch.jit.Error, match="a poisoned document"):
        answer(model, [*DOCUMENTS, ["a", zoo.POISON, "b"]])


def test_slow(folder: Path) -> None:
    model = load(folder / "slow_200ms.pt")
    begin = time.perf_counter()
    answer(model, DOCUMENTS)
    assert time.perf_counter() - begin >= 0.2


@pytest.mark.parametrize(("name", "depends"), [("docnn_mask", False), ("docnn_no_mask", True)])
def test_docnn_beside_a_longer_document(folder: Path, name: str, depends: bool) -> None:
    model = load(folder / f"{name}.pt")
    (alone,) = answer(model, [["set", "alarm"]])
    beside = answer(model, [["set", "alarm"], ["what", "is", "the", "weather", "like", "tomorrow"]])[0]
    difference = max(abs(alone[label] - beside[label]) for label in alone)
    assert difference > 1e-2 if depends else difference < 1e-6


@pytest.mark.parametrize("name", ["empty", "random_bytes", "pickle", "truncated", "state_dict"])
def test_broken_files_do_not_load(folder: Path, name: str) -> None:
    with pytest.raises(RuntimeError, match="PytorchStreamReader"):
        load(folder / f"{name}.pt")
