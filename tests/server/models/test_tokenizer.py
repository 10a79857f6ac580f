"""Texts cut by their bytes, and tokenizers that ask for too much."""

from __future__ import annotations

import json

import pytest
from tokenizers import Tokenizer, models

from server.models.tokenizer import cut_to_bytes, open_tokenizer


@pytest.mark.parametrize(
    ("text", "most", "left", "cut"),
    [
        ("abcd", 4, False, "abcd"),
        ("abcde", 4, False, "abcd"),
        ("abcde", 4, True, "bcde"),
        ("äöü", 6, False, "äöü"),
        ("äöü", 5, False, "äö"),
        ("äöü", 5, True, "öü"),
        ("🙂🙂", 7, False, "🙂"),
        ("🙂🙂", 3, True, ""),
        ("", 1, False, ""),
    ],
)
def test_no_character_is_halved(text: str, most: int, left: bool, cut: str) -> None:
    assert cut_to_bytes(text, most, left) == cut


def test_padding_of_any_size_is_left_out() -> None:
    """Else the library asks for memory that no machine has, which ends the process."""

    def padded() -> Tokenizer:
        content = json.loads(Tokenizer(models.WordLevel({"a": 0}, unk_token="a")).to_str())
        padding = {"strategy": {"Fixed": 10**13}, "direction": "Right", "pad_id": 0, "pad_type_id": 0}
        content["padding"] = padding | {"pad_token": "a", "pad_to_multiple_of": None}
        return Tokenizer.from_str(json.dumps(content))

    assert open_tokenizer(padded).encode("a").ids == [0]
