"""Exports of small random BERT folders equal sentence-transformers; folders that cannot be exported are refused."""

from __future__ import annotations

import json
import shutil
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors

from scripts import bert, export_encoder
from tests.scripts.room import run_without_room
from tests.support.sentences import ODD

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

ALPHABET = "abcdefghijklmnopqrstuvwxyz"
SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
VOCABULARY = [*SPECIAL, *ALPHABET, *(f"##{letter}" for letter in ALPHABET), "the", "weather", ".", ",", "?"]
CONFIG = {
    "model_type": "bert",
    "architectures": ["BertModel"],
    "hidden_act": "gelu",
    "hidden_size": 24,
    "intermediate_size": 48,
    "layer_norm_eps": 1e-12,
    "max_position_embeddings": 40,
    "num_attention_heads": 3,
    "num_hidden_layers": 2,
    "pad_token_id": 0,
    "type_vocab_size": 2,
    "vocab_size": len(VOCABULARY),
}
POOLING = {"word_embedding_dimension": 24, "pooling_mode_mean_tokens": True, "pooling_mode_cls_token": False}


def write_json(path: Path, value: object) -> None:
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(value))


def write_tokenizer(folder: Path) -> None:
    tokenizer = Tokenizer(models.WordPiece({token: i for i, token in enumerate(VOCABULARY)}, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer()
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B:1 [SEP]:1", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    tokenizer.add_special_tokens(SPECIAL)
    tokenizer.enable_padding(length=12)
    tokenizer.save(str(folder / "tokenizer.json"))
    names = {f"{name}_token": f"[{name.upper()}]" for name in ("pad", "unk", "cls", "sep", "mask")}
    write_json(folder / "tokenizer_config.json", {"tokenizer_class": "PreTrainedTokenizerFast", **names})


def random_weights(vocabulary: int = len(VOCABULARY)) -> dict[str, torch.Tensor]:
    architecture = bert.Architecture(2, 3, 24, 48, vocabulary, 40, 1e-12, "gelu", "mean", True)
    generator = torch.Generator().manual_seed(5)
    shapes = bert.wanted_weights(architecture) | {"embeddings.token_type_embeddings.weight": (2, 24)}
    return {name: torch.randn(shape, generator=generator) * 0.3 for name, shape in shapes.items()}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A small one, whole."""
    folder = tmp_path / "source"
    folder.mkdir()
    modules = [("Transformer", ""), ("Pooling", "1_Pooling"), ("Normalize", "2_Normalize")]
    write_json(
        folder / "modules.json",
        [
            {"idx": i, "name": str(i), "path": path, "type": f"sentence_transformers.models.{name}"}
            for i, (name, path) in enumerate(modules)
        ],
    )
    write_json(folder / "config.json", CONFIG)
    write_json(folder / "1_Pooling" / "config.json", POOLING)
    write_json(folder / "sentence_bert_config.json", {"max_seq_length": 32, "do_lower_case": False})
    write_tokenizer(folder)
    save_file(random_weights(), folder / "model.safetensors")
    return folder


def change(name: str, **values: object) -> Callable[[Path], None]:
    def apply(folder: Path) -> None:
        path = folder / name
        write_json(path, json.loads(path.read_text()) | values)

    return apply


def exported(folder: Path, *options: str) -> dict[str, Any]:
    """What encoder.json says."""
    out = folder.parent / "out"
    assert export_encoder.main([str(folder), str(out), *options]) == 0
    return json.loads((out / "encoder.json").read_text())


@pytest.mark.parametrize(
    "apply",
    [
        lambda folder: None,
        change("1_Pooling/config.json", pooling_mode_mean_tokens=False, pooling_mode_cls_token=True),
        change("1_Pooling/config.json", pooling_mode_mean_tokens=False, pooling_mode_max_tokens=True),
        change("1_Pooling/config.json", pooling_mode_mean_tokens=False, pooling_mode_mean_sqrt_len_tokens=True),
        change("config.json", hidden_act="relu"),
        change("config.json", hidden_act="gelu_new"),
        lambda folder: write_json(folder / "modules.json", json.loads((folder / "modules.json").read_text())[:2]),
    ],
    ids=["mean", "cls", "max", "mean_sqrt_len", "relu", "gelu_new", "not normalised"],
)
def test_every_supported_form_equals_sentence_transformers(folder: Path, apply: Callable[[Path], None]) -> None:
    apply(folder)
    about = exported(folder)
    assert about["cosine_error"] < 1e-6
    assert about["checked_against"].startswith("sentence-transformers ")
    assert (about["max_tokens"], about["dimensions"], about["vocabulary"]) == (32, 24, len(VOCABULARY))


def test_lengths_of_vectors_that_are_not_normalised(folder: Path) -> None:
    """Cosines do not see them."""
    write_json(folder / "modules.json", json.loads((folder / "modules.json").read_text())[:2])
    source = export_encoder.read_source(folder)
    module = export_encoder.script(source, "float32")
    found = export_encoder.vectors(module, export_encoder.token_ids(source, ODD))
    from sentence_transformers import SentenceTransformer

    wanted = SentenceTransformer(str(folder), device="cpu", local_files_only=True).encode(ODD, show_progress_bar=False)
    assert np.allclose(found.numpy(), wanted, atol=1e-5)


@pytest.mark.parametrize(("precision", "error"), [("float32", 1e-6), ("bfloat16", 1e-3), ("int8", 1e-2)])
def test_precisions(folder: Path, precision: str, error: float, capsys: pytest.CaptureFixture[str]) -> None:
    about = exported(folder, "--precision", precision)
    assert about["precision"] == precision
    assert about["cosine_error"] < error
    assert f"{precision}: error (1 - cosine) at most " in capsys.readouterr().out


def test_without_sentence_transformers(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    find = export_encoder.importlib.util.find_spec
    monkeypatch.setattr(
        export_encoder.importlib.util,
        "find_spec",
        lambda name, *more: None if name == "sentence_transformers" else find(name, *more),
    )
    assert exported(folder)["checked_against"] == "the module in float32, not exported"


def test_an_earlier_export_is_replaced_and_nothing_else(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    exported(folder, "--precision", "bfloat16")
    assert exported(folder)["precision"] == "float32"
    assert sorted(path.name for path in folder.parent.iterdir()) == ["out", "source"]
    assert export_encoder.main([str(folder), str(folder)]) == 2
    assert "is there and no exported encoder" in capsys.readouterr().err


def test_no_room_for_the_export(folder: Path) -> None:
    done = run_without_room("export_encoder", folder, folder.parent / "out", most_bytes=10_000)
    assert (done.returncode, "out: File too large" in done.stderr) == (2, True), done.stderr
    assert [path.name for path in folder.parent.iterdir()] == ["source"]


def test_more_tokens_than_positions_are_cut_to_these(folder: Path) -> None:
    change("sentence_bert_config.json", max_seq_length=999)(folder)
    assert exported(folder)["max_tokens"] == CONFIG["max_position_embeddings"]


def without_weight(folder: Path) -> None:
    weights = load_file(folder / "model.safetensors")
    del weights["encoder.layer.1.output.dense.bias"]
    save_file(weights, folder / "model.safetensors")


def truncated_weights(folder: Path) -> None:
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def other_module(folder: Path) -> None:
    path = folder / "modules.json"
    dense = {"idx": 3, "name": "3", "path": "3_Dense", "type": "sentence_transformers.models.Dense"}
    write_json(path, [*json.loads(path.read_text()), dense])


@pytest.mark.parametrize(
    ("harm", "reason"),
    [
        (lambda folder: shutil.rmtree(folder), "modules.json: no such file"),
        (lambda folder: (folder / "modules.json").write_text("{"), "modules.json: "),
        (lambda folder: write_json(folder / "modules.json", {"a": 1}), "modules.json: holds no JSON list"),
        (
            lambda folder: write_json(folder / "modules.json", [{"type": "a"}]),
            "each module must have a type and a path",
        ),
        (other_module, "the modules are Transformer, Pooling, Normalize, Dense; supported are"),
        (lambda folder: write_json(folder / "config.json", []), "config.json: holds no JSON object"),
        (
            change("config.json", layer_norm_eps="tiny"),
            "layer_norm_eps is 'tiny'; expected a number from 0",
        ),
        (change("sentence_bert_config.json", max_seq_length="long"), "max_seq_length is 'long'; expected a whole"),
        (lambda folder: (folder / "config.json").unlink(), "config.json: no such file"),
        (change("config.json", model_type="mpnet"), "model_type is 'mpnet'; supported is bert"),
        (change("config.json", hidden_act="silu"), "hidden_act is 'silu'; supported is gelu"),
        (change("config.json", position_embedding_type="relative_key"), "position_embedding_type is 'relative_key'"),
        (change("config.json", num_attention_heads=5), "hidden_size 24 is no multiple of 5 heads"),
        (change("config.json", num_hidden_layers=0), "num_hidden_layers is 0; expected a whole number from 1"),
        (change("config.json", num_hidden_layers=3), "there are no weights encoder.layer.2."),
        (change("config.json", vocab_size=10), "tokens for 10 word embeddings"),
        (change("config.json", intermediate_size=49), "config.json says [49, 24]"),
        (change("1_Pooling/config.json", pooling_mode_lasttoken=True), "the pooling is "),
        (change("1_Pooling/config.json", pooling_mode="weightedmean"), "the pooling is ['weightedmean']"),
        (change("sentence_bert_config.json", max_seq_length=2), "texts of 2 tokens are too short"),
        (lambda folder: (folder / "tokenizer.json").unlink(), "tokenizer.json: no such file"),
        (lambda folder: (folder / "tokenizer.json").write_text("{}"), "tokenizer.json: "),
        (
            lambda folder: (folder / "model.safetensors").unlink(),
            "model.safetensors: no such file; weights in",
        ),
        (truncated_weights, "model.safetensors: "),
        (without_weight, "there are no weights encoder.layer.1.output.dense.bias"),
        (
            lambda folder: write_json(
                folder / "config_sentence_transformers.json",
                {"prompts": {"query": "query: "}, "default_prompt_name": "query"},
            ),
            "default_prompt_name is 'query'",
        ),
    ],
)
def test_what_cannot_be_exported_is_named(
    folder: Path, harm: Callable[[Path], object], reason: str, capsys: pytest.CaptureFixture[str]
) -> None:
    harm(folder)
    out = folder.parent / "out"
    assert export_encoder.main([str(folder), str(out)]) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert reason in error
    assert len(error.splitlines()) == 1
    assert not out.exists()
