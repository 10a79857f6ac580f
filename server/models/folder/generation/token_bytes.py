"""What each token writes: the bytes that the engine puts together to a text, where it looks for stop strings.

A text is the bytes of its tokens one after the other, which holds for byte-level vocabularies (GPT-2's and its kin's)
and for SentencePiece's (▁ for a space, <0xXX> for a byte). That it holds is not taken for granted: when a folder is
loaded, every token is decoded by the tokenizers library too, among others.
"""

from __future__ import annotations

import json
import random
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from server.errors import ModelError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

_SPACE = "▁"
_BYTE = re.compile(r"<0x([0-9A-Fa-f]{2})>")
_BYTES_ALONE = ("ByteLevel",)
_SENTENCE_PIECE = ("Replace", "ByteFallback", "Fuse", "Strip", "Metaspace")
_SAMPLE = 32  # tokens that are decoded together
_SEED = 5
_CONTEXTS = ("a", "the", "1", ".", "世")


@dataclass(slots=True)
class TokenBytes:
    """The table, and what begins a text."""

    table: list[bytes]
    """Of each row of the model's vocabulary; empty for special tokens, and for rows that no token has."""
    strips_first_space: bool
    """The library leaves out the space that the first token of a text begins with."""


def read(tokenizer: Any, vocabulary: int) -> TokenBytes:
    """Of a tokenizers.Tokenizer; `vocabulary`: rows of the model's. Raises ModelError for a decoder of another form."""
    steps = _steps(tokenizer)
    kinds = [str(step.get("type")) for step in steps]
    if kinds == ["ByteLevel"]:
        bytes_of: Callable[[str], bytes] = _of_byte_level
    elif kinds and all(kind in _SENTENCE_PIECE for kind in kinds):
        bytes_of = _of_sentence_piece("ByteFallback" in kinds)
    else:
        raise ModelError(
            f"the tokenizer's decoder is {' + '.join(kinds) or 'none'}, whose texts are not made token by token; served"
            " are byte-level and SentencePiece's decoders"
        )
    added = tokenizer.get_added_tokens_decoder()
    table = [b""] * vocabulary
    known = []
    for text, token in tokenizer.get_vocab(with_added_tokens=True).items():
        if token < vocabulary and not (token in added and added[token].special):
            table[token] = bytes_of(text)
            known.append(token)
    _check(tokenizer, table, sorted(known))
    return TokenBytes(table, any(_strips(step) for step in steps))


def _steps(tokenizer: Any) -> list[dict[str, Any]]:
    """The decoder's, in their order."""
    decoder = tokenizer.decoder
    if decoder is None:
        return []
    content = json.loads(decoder.__getstate__())
    return list(content["decoders"]) if content.get("type") == "Sequence" else [content]


def _strips(step: dict[str, Any]) -> bool:
    if step["type"] == "Strip":
        return bool(step.get("content") == " " and step.get("start"))
    return step["type"] == "Metaspace" and step.get("prepend_scheme") != "never"


# ----------------------------------------------------------------------------------------------------------- the forms


def _byte_of_character() -> dict[str, int]:
    """GPT-2 writes a byte as the character of that number where it is visible in Latin-1, the others from 256 on."""
    shown = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    hidden = [byte for byte in range(256) if byte not in shown]
    return {chr(byte): byte for byte in shown} | {chr(256 + i): byte for i, byte in enumerate(hidden)}


_BYTES = _byte_of_character()


def _of_byte_level(token: str) -> bytes:
    """A token with a character that stands for no byte is its own text, as tokens are that were added."""
    try:
        return bytes([_BYTES[character] for character in token])
    except KeyError:
        return token.encode()


def _of_sentence_piece(has_bytes: bool) -> Callable[[str], bytes]:
    def bytes_of(token: str) -> bytes:
        byte = _BYTE.fullmatch(token) if has_bytes and len(token) == 6 else None
        return token.replace(_SPACE, " ").encode() if byte is None else bytes([int(byte[1], 16)])

    return bytes_of


# ----------------------------------------------------------------------------------------------------------- the check


def _check(tokenizer: Any, table: Sequence[bytes], tokens: Sequence[int]) -> None:
    """Raise ModelError where the library decodes a token otherwise: each once, among others, in a random order.

    Parts of characters are left out, which the library shows as it likes: they are no text.
    """
    before, start = _context(tokenizer)
    whole = [token for token in tokens if _is_text(table[token])]
    random.Random(_SEED).shuffle(whole)
    samples = [whole[begin : begin + _SAMPLE] for begin in range(0, len(whole), _SAMPLE)]
    decoded = tokenizer.decode_batch([[*before, *sample] for sample in samples], skip_special_tokens=True)
    for sample, text in zip(samples, decoded, strict=True):
        expected = start + b"".join([table[token] for token in sample]).decode()
        if text != expected:
            raise ModelError(
                f"the tokenizer decodes its tokens {sample} to {text.removeprefix(start)!r}, and not to their own texts"
                f" one after the other, {expected.removeprefix(start)!r}; such a tokenizer is not served"
            )


def _is_text(content: bytes) -> bool:
    try:
        content.decode()
    except UnicodeDecodeError:
        return False
    return True


def _context(tokenizer: Any) -> tuple[list[int], str]:
    """Tokens of a text, and how it is decoded: what follows is a continuation."""
    for text in _CONTEXTS:
        tokens = tokenizer.encode(text, add_special_tokens=False).ids
        decoded = tokenizer.decode(tokens, skip_special_tokens=True)
        if decoded.strip():
            return list(tokens), str(decoded)
    return [], ""
