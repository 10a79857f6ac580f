"""Tokenizers of Hugging Face's library, opened with care, and texts cut before them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from server.errors import ModelError, invalid_argument

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from tokenizers import Tokenizer

_IDS = 1 << 32
_PROBE = "Hello, wörld!\n\t今日は 👋🏽 1.5"


def open_tokenizer(make: Callable[[], Tokenizer], file: str = "") -> Tokenizer:
    """The tokenizer that is made, when it can read a text. Raises ModelError, with the file's name if it is given."""
    try:
        tokenizer = make()
        tokenizer.no_padding()  # texts are padded by none of ours; to 10^13 tokens, the library would end the process
        tokenizer.encode(_PROBE)
    except (KeyboardInterrupt, SystemExit):
        raise
    except BaseException as error:  # the library raises nothing narrower, and over some files it panics
        raise ModelError(f"{f'{file}: ' if file else ''}the tokenizer cannot be read: {error}") from None
    return tokenizer


def cut_to_bytes(text: str, most: int, left: bool = False) -> str:
    """As much of a text as has at most so many bytes in UTF-8: its beginning, or its end where the `left` is cut."""
    if len(text) * 4 <= most or (len(text) <= most and text.isascii()):
        return text
    content = text.encode()
    return (content[-most:] if left else content[:most]).decode(errors="ignore")


def decoded(tokenizer: Tokenizer, ids: Sequence[int]) -> str:
    """The text of tokens, special ones too. Raises INVALID_ARGUMENT for an id that the vocabulary lacks."""
    for place, id_ in enumerate(ids):
        if not 0 <= id_ < _IDS or tokenizer.id_to_token(id_) is None:
            raise invalid_argument(f"no token has the id {id_} (the {place + 1}. of {len(ids)})")
    return tokenizer.decode(ids, skip_special_tokens=False)
