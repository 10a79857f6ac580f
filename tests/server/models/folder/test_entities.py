"""Tokens' scores to entities: those of transformers' pipeline, in all its ways of aggregation."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from server.models.folder import tokenizer_files
from server.models.folder.entities import Tagger
from server.models.folder.labels import labels_of
from server.models.folder.tokens import Encoded, FolderTokenizer
from server.models.requests import Tagging
from tests.support.folders import heads, reference
from tests.support.sentences import texts

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.slow  # for transformers

TEXTS = [text for text in texts(60) if text.strip()]


@pytest.fixture(scope="module", params=["bert", "roberta", "xlm-roberta"])
def tagged(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[Any]]:
    """A folder, and the logits of TEXTS' tokens."""
    folder = tmp_path_factory.mktemp("tagger")
    heads.tagger(folder, request.param)
    return folder, reference.token_logits(folder, TEXTS)


@pytest.mark.parametrize("aggregation", ["none", "simple", "first", "average", "max"])
def test_as_the_pipeline_of_transformers(tagged: tuple[Path, list[Any]], aggregation: str) -> None:
    folder, logits = tagged
    config = json.loads((folder / "config.json").read_text())
    files = tokenizer_files.read(folder, config)
    tokenizer = FolderTokenizer(files, files.max_tokens or 96)
    tagger = Tagger(labels_of(config), files)
    wanted = reference.spans(folder, TEXTS, aggregation)
    found_any = False
    for text, numbers, spans in zip(TEXTS, logits, wanted, strict=True):
        encoding = tokenizer.encode_with_offsets(text)
        _, end = tokenizer.kept(len(encoding.ids), left=False)
        assert len(tokenizer.single(Encoded(encoding.ids)).ids) == len(numbers)
        before = tokenizer.before
        tagging = Tagging(aggregation=aggregation)
        own = numbers[before : before + end]
        found = tagger.entities(text, own, encoding.tokens[:end], encoding.offsets[:end], before, tagging)
        assert [(entity.label, entity.start, entity.stop) for entity in found] == [
            (span["label"], span["start"], span["end"]) for span in spans
        ]
        assert [entity.score for entity in found] == pytest.approx([span["score"] for span in spans], abs=1e-4)
        assert all(entity.text == text[entity.start : entity.stop] for entity in found)
        assert all((entity.place is None) == (aggregation != "none") for entity in found)
        found_any |= bool(found)
    assert found_any
