"""What is read of the folders that sentence-transformers saves, in all its layouts."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from torch import nn
from transformers import BertConfig, BertForMaskedLM, BertModel

from server.errors import ModelError
from server.models.folder import sentence_transformers
from tests.server.models.folder.tokenizers import WORDS, write_vocabulary

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

pytestmark = pytest.mark.slow  # for transformers and sentence-transformers

SIZES: dict[str, Any] = {
    "hidden_size": 16,
    "intermediate_size": 32,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "vocab_size": len(WORDS),
    "max_position_embeddings": 40,
}
OLD = "sentence_transformers.models."


@pytest.fixture
def transformer(tmp_path: Path) -> Path:
    """A folder of transformers'."""
    folder = tmp_path / "transformer"
    folder.mkdir()
    write_vocabulary(folder)
    BertModel(BertConfig(**SIZES)).save_pretrained(folder)
    return folder


def saved(folder: Path, transformer: Path, modules: Sequence[Any] = (), **options: Any) -> Path:
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.modules import Transformer

    model = SentenceTransformer(modules=[Transformer(str(transformer)), *modules], device="cpu", **options)
    model.save(str(folder), create_model_card=False)
    return folder


def test_what_the_current_version_saves(tmp_path: Path, transformer: Path) -> None:
    from sentence_transformers.sentence_transformer.modules import Dense, LayerNorm, Normalize, Pooling

    modules = [
        Pooling(16, pooling_mode=("mean", "cls"), include_prompt=False),
        Dense(32, 8, activation_function=nn.GELU()),
        LayerNorm(8),
        Normalize(),
    ]
    prompts = {"query": "find: ", "passage": ""}
    folder = saved(tmp_path / "out", transformer, modules, prompts=prompts, default_prompt_name="query", truncate_dim=4)
    model = sentence_transformers.read(folder)
    assert model.transformer == folder
    assert (model.static, model.task, model.include_prompt, model.lowercase) == (
        False,
        "feature-extraction",
        False,
        False,
    )
    assert model.head == [
        {"type": "pooling", "modes": ["mean", "cls"]},
        {"type": "dense", "weights": "2_Dense/linear", "activation": "gelu"},
        {"type": "layer_norm", "weights": "3_LayerNorm/norm", "epsilon": 1e-5},
        {"type": "normalize"},
    ]
    assert model.weights == {"2_Dense/": folder / "2_Dense", "3_LayerNorm/": folder / "3_LayerNorm"}
    assert {"query": "find: ", "passage": ""}.items() <= model.prompts.items()
    assert (model.default_prompt, model.dimensions) == ("query", 4)


def test_sparse_and_late_interaction_encoders(tmp_path: Path, transformer: Path) -> None:
    from sentence_transformers import MultiVectorEncoder, SparseEncoder

    BertForMaskedLM(BertConfig(**SIZES)).save_pretrained(transformer)
    SparseEncoder(str(transformer), device="cpu").save(str(tmp_path / "sparse"), create_model_card=False)
    sparse = sentence_transformers.read(tmp_path / "sparse")
    assert (sparse.task, sparse.splade) == ("fill-mask", {"pooling": "max", "activation": "relu"})
    assert sparse.model_type == "SparseEncoder"
    MultiVectorEncoder(str(transformer), device="cpu").save(str(tmp_path / "colbert"), create_model_card=False)
    colbert = sentence_transformers.read(tmp_path / "colbert")
    assert [module["type"] for module in colbert.head] == ["dense", "normalize"]
    assert colbert.mask is not None


def write(folder: Path, modules: Sequence[tuple[str, str]], files: dict[str, Any]) -> Path:
    """As versions before 6 wrote it."""
    folder.mkdir(exist_ok=True)
    listed = [
        {"idx": index, "name": str(index), "path": path, "type": kind} for index, (kind, path) in enumerate(modules)
    ]
    for name, content in ({"modules.json": listed} | files).items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(json.dumps(content))
    return folder


POOLED = ((OLD + "Transformer", ""), (OLD + "Pooling", "1_Pooling"))


def test_the_layout_before_version_6(tmp_path: Path) -> None:
    folder = write(
        tmp_path / "old",
        [
            (OLD + "Transformer", "0_Transformer"),
            *POOLED[1:],
            (OLD + "Dropout", "2_Dropout"),
            (OLD + "Normalize", "3_N"),
        ],
        {
            "0_Transformer/sentence_roberta_config.json": {"max_seq_length": 30, "do_lower_case": True},
            "1_Pooling/config.json": {
                "word_embedding_dimension": 16,
                "pooling_mode_cls_token": False,
                "pooling_mode_mean_tokens": True,
                "pooling_mode_lasttoken": True,
            },
            "config_sentence_transformers.json": {"__version__": {}, "prompts": {}, "default_prompt_name": None},
        },
    )
    model = sentence_transformers.read(folder)
    assert model.transformer == folder / "0_Transformer"
    assert (model.max_tokens, model.lowercase, model.include_prompt) == (30, True, True)
    assert model.head == [{"type": "pooling", "modes": ["mean", "lasttoken"]}, {"type": "normalize"}]


@pytest.mark.parametrize(
    ("modules", "files", "reason"),
    [
        ([], {}, "modules.json: expected a list of modules"),
        ([(OLD + "WordEmbeddings", "0_W")], {}, "modules.json: WordEmbeddings is not served; served are Transformer,"),
        ([*POOLED, (OLD + "CNN", "2_CNN")], {}, "modules.json: CNN is not served here; served are Transformer,"),
        ([("custom_st.Transformer", "")], {}, "custom_st.Transformer is code of the folder's own, which is not run"),
        ([(OLD + "Transformer", "../x")], {}, "modules.json: '../x' lies outside of the folder"),
        ([(OLD + "Transformer", "/x")], {}, "modules.json: '/x' lies outside of the folder"),
        (
            POOLED,
            {"1_Pooling/config.json": {"pooling_mode": "median"}},
            "1_Pooling/config.json: pooling_mode is ",
        ),
        (
            POOLED,
            {"1_Pooling/config.json": {"pooling_mode_new": True}},
            "config.json: pooling_mode_new is not",
        ),
        (
            [*POOLED, (OLD + "Dense", "2_Dense")],
            {"2_Dense/config.json": {"activation_function": "torch.nn.modules.activation.Mish"}},
            "2_Dense/config.json: activation_function is 'torch.nn.modules.activation.Mish'; served are ",
        ),
        (
            [*POOLED, (OLD + "Dense", "2_Dense")],
            {"2_Dense/config.json": {"module_output_name": "scores"}},
            "it reads 'sentence_embedding' and gives 'scores'",
        ),
        (POOLED, {"sentence_bert_config.json": {"max_seq_length": "x"}}, "max_seq_length: expected a number from 1"),
        (POOLED, {"sentence_bert_config.json": {"new": 1}}, "sentence_bert_config.json: new is not known here"),
        (POOLED, {"sentence_bert_config.json": {"modality_config": {"image": {}}}}, "only models that read texts"),
        (POOLED, {"sentence_bert_config.json": {"config_args": {"rope_theta": 1}}}, "config_args: rope_theta is not"),
        (POOLED, {"sentence_bert_config.json": {"tokenizer_name_or_path": "x"}}, "put the tokenizer's files into the"),
        (
            POOLED,
            {"config_sentence_transformers.json": {"new": 1}},
            "transformers.json: new is not known",
        ),
        (POOLED, {"config_sentence_transformers.json": {"prompts": [1]}}, "prompts: expected texts by their names"),
        (POOLED, {"config_sentence_transformers.json": {"default_prompt_name": "q"}}, "is 'q'; the prompts are none"),
        (POOLED, {"config_sentence_transformers.json": {"truncate_dim": 0}}, "truncate_dim: expected a number from 1"),
    ],
)
def test_what_is_refused(tmp_path: Path, modules: Any, files: dict[str, Any], reason: str) -> None:
    folder = write(tmp_path / "refused", modules, files)
    with pytest.raises(ModelError) as caught:
        sentence_transformers.read(folder)
    assert reason in str(caught.value)


@pytest.mark.parametrize("content", [b"", b"{}", b"\xff", b"[1]", b"[{}]", b"[" * 100_000])
def test_a_broken_modules_json(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "modules.json").write_bytes(content)
    with pytest.raises(ModelError, match=r"modules\.json"):
        sentence_transformers.read(tmp_path)
