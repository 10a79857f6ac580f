"""What Model2Vec's library does to texts beside tokenising them; that the answers are its own: test_models.py."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from tokenizers import Tokenizer, models

from server.models.folder.model2vec import Words, words

PIECES = {"[UNK]": 0, "a": 1, "boats": 2, "harbour": 3}


@pytest.mark.parametrize(
    ("model", "unknown"),
    [
        (models.WordPiece(PIECES, unk_token="[UNK]"), 0),
        (models.WordLevel(PIECES, unk_token="boats"), 2),
        (models.BPE(PIECES, []), None),
        (models.Unigram([("a", -1.0), ("<unk>", 0.0), ("boats", -2.0), ("harbour", -3.0)], unk_id=1), 1),
        (models.Unigram([("a", -1.0), ("b", -1.0), ("boats", -2.0), ("harbour", -3.0)]), None),
    ],
)
def test_the_unknown_token_and_what_is_looked_at(model: Any, unknown: int | None) -> None:
    """The token that its model names, and so many characters for a token as half of the vocabulary has at most."""
    files: Any = SimpleNamespace(tokenizer=Tokenizer(model))
    assert words(files, None) == Words(unknown, None)
    found = words(files, 10)
    assert found.unknown == unknown
    assert found.characters in (30, 50)
