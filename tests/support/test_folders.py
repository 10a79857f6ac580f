"""The folders that other tests compare with: every weight is felt in the answers, and other forms answer the same."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from tests.support import sentences
from tests.support.folders import forms, heads, reference, table
from tests.support.folders.architectures import ARCHITECTURES, random_model

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

pytestmark = pytest.mark.slow  # transformers takes seconds to import
TOLERANCE = 1e-6  # of 1 - cosine, that tests allow
TEXTS = sentences.texts(40)[9:24]


def _vectors(model: Any, tokens: Any) -> Any:
    """The mean of each text's token vectors."""
    mask = tokens["attention_mask"][..., None]
    return (model(**tokens).last_hidden_state * mask).sum(1) / mask.sum(1)


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_every_weight_is_felt(name: str) -> None:
    """A wrong one changes vectors by far more than tests allow."""
    import torch

    about = ARCHITECTURES[name]
    tokenizer = about.tokenizer()
    model = random_model("T5EncoderModel" if name == "t5" else "AutoModel", about.configuration(tokenizer))
    tokens = tokenizer(TEXTS, padding=True, truncation=True, return_tensors="pt")
    with torch.inference_mode():
        right = _vectors(model, tokens)
        for weight_name, weight in model.named_parameters():
            if "pooler" in weight_name or _cancels(weight_name):
                continue
            kept = weight.clone()
            weight.copy_(kept.roll(1))
            changed = 1 - torch.nn.functional.cosine_similarity(right, _vectors(model, tokens))
            weight.copy_(kept)
            assert float(changed.max()) > 10 * TOLERANCE, weight_name


def _cancels(weight: str) -> bool:
    """A key's bias adds the same to all scores of a query, which softmax takes off again."""
    return weight.endswith((".key.bias", ".k_lin.bias", ".k.bias", ".k_proj.bias", ".key_proj.bias"))


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_the_order_of_tokens_is_felt(name: str) -> None:
    import torch

    about = ARCHITECTURES[name]
    tokenizer = about.tokenizer()
    model = random_model("T5EncoderModel" if name == "t5" else "AutoModel", about.configuration(tokenizer))
    texts = ["the red boat has a lamp", "lamp the boat a has red"]
    with torch.inference_mode():
        one, other = _vectors(model, tokenizer(texts, padding=True, return_tensors="pt"))
    assert 1 - float(torch.nn.functional.cosine_similarity(one, other, 0)) > 1000 * TOLERANCE


@pytest.mark.parametrize(
    "change", [forms.by_older_versions, forms.in_shards, forms.in_torch_shards, forms.as_torch_file]
)
def test_another_form_answers_the_same(change: Callable[[Path], None], tmp_path: Path) -> None:
    heads.sentence_encoder(tmp_path, "bert", ("cls", "mean"), ("Tanh", "normalize"))
    before = reference.vectors(tmp_path, TEXTS)
    change(tmp_path)
    np.testing.assert_array_equal(reference.vectors(tmp_path, TEXTS), before)


@pytest.mark.parametrize("name", [name for name in ARCHITECTURES if name not in ("gte", "jina_embeddings_v3")])
def test_older_versions_wrote_the_same_models(name: str, tmp_path: Path) -> None:
    heads.sentence_encoder(tmp_path, name)
    before = reference.vectors(tmp_path, TEXTS)
    forms.by_older_versions(tmp_path)
    np.testing.assert_array_equal(reference.vectors(tmp_path, TEXTS), before)


def test_names_of_rows_are_unique() -> None:
    names = [row.name for row in table.ROWS]
    assert len(set(names)) == len(names)
