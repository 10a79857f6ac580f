"""Log-probabilities as OpenAI's clients read them: those of completions, and those of conversations."""

from __future__ import annotations

import codecs
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence

    from predictor.ttypes import TokenLogprob, TopLogprob

LEAST = -9999.0
"""What OpenAI writes for a token that has no chance."""


class CompletionLogprobs:
    """The object `logprobs` of a text, or of each of its parts in turn: they count the characters before a token."""

    def __init__(self) -> None:
        self._characters = 0
        self._decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")

    def part(self, tokens: Sequence[TokenLogprob]) -> dict[str, Any]:
        """Of the next tokens. The chosen token is among `top_logprobs`, whatever its rank; a first token has none."""
        return {
            "text_offset": [self._pass(token) for token in tokens],
            "tokens": [token_text(token) for token in tokens],
            "token_logprobs": [_number(token.logprob) for token in tokens],
            "top_logprobs": [None if token.logprob is None else _tops(token) for token in tokens],
        }

    def _pass(self, token: TokenLogprob) -> int:
        """Characters before the token."""
        begin = self._characters
        self._characters += len(self._decoder.decode(token.bytes)) if token.bytes else len(token.text)
        return begin


def _tops(token: TokenLogprob) -> dict[str, float]:
    named: dict[str, float] = {}
    for top in (*(token.top or ()), token):
        named.setdefault(token_text(top), _number(top.logprob) or 0.0)
    return named


def chat_logprobs(tokens: Sequence[TokenLogprob] | None) -> dict[str, Any] | None:
    """The object `logprobs` of an answer in a conversation, or of a part of one; None where none were asked for."""
    if tokens is None:
        return None
    content = [
        {**_chat_token(token), "top_logprobs": [_chat_token(top) for top in token.top or ()]} for token in tokens
    ]
    return {"content": content, "refusal": None}


def _chat_token(token: TokenLogprob | TopLogprob) -> dict[str, Any]:
    return {"token": token_text(token), "bytes": list(token.bytes), "logprob": _number(token.logprob)}


def token_text(token: TokenLogprob | TopLogprob) -> str:
    """Its text; of bytes that are no whole characters these, as OpenAI shows them: bytes:\\xe2\\x80."""
    if not token.bytes:
        return str(token.text)
    try:
        return bytes(token.bytes).decode()
    except UnicodeDecodeError:
        return "bytes:" + "".join(f"\\x{byte:02x}" for byte in token.bytes)


def _number(logprob: float | None) -> float | None:
    return None if logprob is None else max(logprob, LEAST)
