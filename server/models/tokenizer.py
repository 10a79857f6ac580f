"""Texts to token ids, cut to what a model reads."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, NamedTuple

from tokenizers import Tokenizer

from server.errors import ModelError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

_CHARACTERS_PER_TOKEN = 6  # a text seldom has more: the beginning of a long one is all that is looked at
_WHITE_SPACE = re.compile(r"\s")

# What splits a text at every white space, whatever stands beside it: the beginning's tokens are then the text's first.
_SPLITTING = ("BertPreTokenizer", "Whitespace", "WhitespaceSplit")


_PROBE = "Hello, wörld!\n\t今日は 👋🏽 1.5"


def open_tokenizer(make: Callable[[], Tokenizer]) -> Tokenizer:
    """The tokenizer that is made, when it can read a text. Raises ModelError."""
    try:
        tokenizer = make()
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


class Tokens(NamedTuple):
    """A text as a model reads it, special tokens included."""

    ids: list[int]
    is_cut: bool
    """The text is longer."""


class TextTokenizer:
    """A tokenizer.json (Hugging Face tokenizers). Of any thread; the work is done without the GIL."""

    def __init__(self, path: Path, max_tokens: int) -> None:
        """Raises ModelError when the file is no tokenizer."""
        try:
            text = path.read_text(encoding="utf-8")
        except OSError as error:
            raise ModelError(f"{path.name}: {error.strerror}") from None
        except ValueError as error:  # no UTF-8
            raise ModelError(f"{path.name}: {error}") from None
        self._tokenizer = open_tokenizer(lambda: Tokenizer.from_str(text))
        pre_tokenizer = (json.loads(text).get("pre_tokenizer") or {}).get("type")
        if max_tokens <= self._tokenizer.num_special_tokens_to_add(False):
            raise ModelError(f"{max_tokens} tokens leave no room for a text")
        self._tokenizer.no_padding()
        self._tokenizer.enable_truncation(max_tokens)
        self._quick = max_tokens * _CHARACTERS_PER_TOKEN
        self._splits = pre_tokenizer in _SPLITTING
        self.vocabulary = self._tokenizer.get_vocab_size()

    def quickly(self, text: str) -> Tokens | None:
        """The text's tokens where a millisecond is enough; None where a look at more of a long text is needed."""
        if len(text) <= self._quick:
            return self.whole(text)
        space = _WHITE_SPACE.search(text, self._quick, 2 * self._quick) if self._splits else None
        if space is None:
            return None
        tokens = self.whole(text[: space.start()])
        return tokens if tokens.is_cut else None

    def whole(self, text: str) -> Tokens:
        """The text's tokens; takes a quarter of a second for a megabyte."""
        (encoding,) = self._tokenizer.encode_batch_fast([text])
        return Tokens(encoding.ids, bool(encoding.overflowing))
