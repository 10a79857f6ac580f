"""Texts cut by their bytes."""

from __future__ import annotations

import pytest

from server.models.tokenizer import cut_to_bytes


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
