"""Folders whose model is a program, AOTInductor's package or a TorchScript trace, beside what their libraries say."""

from __future__ import annotations

import json
import shutil
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch

from server.errors import ModelError
from server.models.requests import Classification, Reading
from tests.server.models.folder.unknown_models import (
    largest_error,
)
from tests.server.waiting import result
from tests.support import exports, sentences
from tests.support.folders import reference, served

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.server.models.folder.conftest import Open

    Exported = Callable[[str], Path]

pytestmark = pytest.mark.slow

# ------------------------------------------------------------------------------------------------------------- packages


@pytest.mark.parametrize("name", exports.ROWS)
async def test_a_package_answers_as_the_libraries_do(name: str, exported: Exported) -> None:
    row, folder = exports.ROWS[name], exported(name)
    right = served.wanted(row, exports.source(folder))
    async with served.loaded(folder, replicas=2) as model:
        assert model.details["program"] == "AOTInductor package"
        assert not model.equal_lengths_only
        found = await served.given(row, model)
        assert model.stats()["batches"] < len(found), "texts shared batches"
        alone = await served.given(row, model, range(0, len(found), 5), together=False)
    assert largest_error(row, found, right) <= 1
    assert largest_error(row, alone, found[::5]) <= 1


async def test_a_packages_folder_says_prompts_and_modules(exported: Exported, opened: Open) -> None:
    folder = exported("encoder")
    model = await opened(folder)
    assert (model.kind, model.normalized, model.dimensions) == ("sentence-encoder", True, 48)
    text = "the lamp of the harbour"
    vector = await result(model.embed(text, Reading(prompt_name="query"), served.context()))
    (right,) = reference.vectors(exports.source(folder), [text], prompt_name="query")
    np.testing.assert_allclose(np.frombuffer(vector, "<f4"), right, atol=1e-6)


async def test_a_package_of_ones_own(exported: Exported, opened: Open) -> None:
    """It gives vectors of texts, and padding changes them: equal lengths share a batch, no others."""
    from transformers import BertTokenizer

    folder = exported("own")
    model = await opened(folder)
    assert model.equal_lengths_only
    assert (model.dimensions, model.limits.max_tokens) == (exports.OWN_SIZE, exports.OWN_LENGTH)
    assert model.details["pooling"] == ""
    texts = sentences.texts(60)
    requests = [model.embed(text, Reading(), served.context()) for text in texts]
    found = [np.frombuffer(await result(request), "<f4") for request in requests]
    tokenizer = BertTokenizer.from_pretrained(folder)
    module = exports.own_module()
    for text, vector in zip(texts, found, strict=True):
        tokens = tokenizer(text, truncation=True, return_tensors="pt")
        with torch.inference_mode():
            right = module(tokens["input_ids"], tokens["attention_mask"])[0]
        np.testing.assert_allclose(vector, right, atol=1e-5)


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"vocabulary": exports.OWN_TOKENS + 1}, "text of 40 tokens.* with the id 700.*: index out of bounds"),
        ({"longest": exports.OWN_LENGTH + 1}, "text of 41 tokens.*: index out of bounds"),
    ],
)
async def test_what_would_crash_the_server_is_refused(
    tmp_path: Path, exported: Exported, opened: Open, options: dict[str, int], reason: str
) -> None:
    """Code of a package that reads beyond a table throws, or ends the process where several threads run it."""
    folder = shutil.copytree(exported("own"), tmp_path / "model")
    exports.describe_own(folder, **options)
    with pytest.raises(ModelError, match=f"model.pt2: it.* {reason}"):
        await opened(folder)


@pytest.mark.parametrize(
    ("config", "options", "reason"),
    [
        ({}, ",precision=int8", "precision is an option of folders whose weights are read; model.pt2 has its own"),
        (
            {},
            ",pooling=cls",
            r"model.pt2: it gives .texts, 12., a vector for each text, which a pooling",
        ),
        (
            {"id2label": {"0": "a", "1": "b"}},
            "",
            r"it gives .texts, 12.; with the 2 labels of config.json .texts, 2.",
        ),
        ({"architectures": ["XForTokenClassification"]}, "", r"with the 2 labels of config.json .texts, tokens, 2. is"),
    ],
)
async def test_what_does_not_fit_is_refused(
    tmp_path: Path, exported: Exported, opened: Open, config: dict[str, Any], options: str, reason: str
) -> None:
    folder = shutil.copytree(exported("own"), tmp_path / "model")
    (folder / "config.json").write_text(json.dumps({"vocab_size": exports.OWN_TOKENS} | config))
    with pytest.raises(ModelError, match=reason):
        await opened(folder, options)


async def test_labels_make_a_classifier_of_a_package(tmp_path: Path, exported: Exported, opened: Open) -> None:
    folder = shutil.copytree(exported("own"), tmp_path / "model")
    labels = {str(number): f"label {number}" for number in range(exports.OWN_SIZE)}
    (folder / "config.json").write_text(json.dumps({"vocab_size": exports.OWN_TOKENS, "id2label": labels}))
    model = await opened(folder)
    assert model.kind == "text-classifier"
    scores = await result(model.predict("the lamp", Classification(), served.context()))
    assert sum(scores.values()) == pytest.approx(1)
    assert set(scores) == set(labels.values())


async def test_config_json_may_be_missing(tmp_path: Path, exported: Exported, opened: Open) -> None:
    """The tokenizer's tokens are the vocabulary then."""
    folder = shutil.copytree(exported("own"), tmp_path / "model")
    (folder / "config.json").unlink()
    model = await opened(folder)
    assert model.details["architecture"] == "unknown"
    assert len(await result(model.embed("the lamp", Reading(), served.context()))) == 4 * exports.OWN_SIZE
