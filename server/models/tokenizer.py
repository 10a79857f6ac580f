"""Tokenizers of Hugging Face's library, opened with care, and texts cut before them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from server.errors import ModelError

if TYPE_CHECKING:
    from collections.abc import Callable

    from tokenizers import Tokenizer

_PROBE = "Hello, wörld!\n\t今日は 👋🏽 1.5"


def open_tokenizer(make: Callable[[], Tokenizer]) -> Tokenizer:
    """The tokenizer that is made, when it can read a text. Raises ModelError."""
    try:
        tokenizer = make()
        tokenizer.no_padding()  # texts are padded by none of ours; to 10^13 tokens, the library would end the process
        tokenizer.encode(_PROBE)
    except (KeyboardInterrupt, SystemExit):
        raise
    except BaseException as error:  # the library raises nothing narrower, and over some files it panics
        raise ModelError(f"the tokenizer cannot be read: {error}") from None
    return tokenizer


def cut_to_bytes(text: str, most: int, left: bool = False) -> str:
    """As much of a text as has at most so many bytes in UTF-8: its beginning, or its end where the `left` is cut."""
    if len(text) * 4 <= most or (len(text) <= most and text.isascii()):
        return text
    content = text.encode()
    return (content[-most:] if left else content[:most]).decode(errors="ignore")
