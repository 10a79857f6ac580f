"""Texts that have a form: JSON by a schema, a regular expression, a grammar. llguidance says which tokens may follow.

It was chosen over xgrammar, which needs torch and further packages, and passes over what it does not know of a schema.
"""

from __future__ import annotations

import json
import threading
from typing import TYPE_CHECKING

from llguidance import LLMatcher, LLParserLimits, LLTokenizer, TokenizerWrapper
from llguidance.gbnf_to_lark import any_to_lark

from process.options import FORMS, GRAMMAR, JSON_SCHEMA, REGEX
from server.errors import PredictionError, invalid_argument
from server.models.sampling import FIELD

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from process.options import Option
    from server.models.requests import Sampling

_SHOWN = 300
_LONGEST = 64
"""Bytes of a token that is looked for."""

# Of the library's own defaults a half or less: what one request's form may cost.
_LIMITS = LLParserLimits(
    initial_lexer_fuel=500_000, step_lexer_fuel=100_000, step_max_items=25_000, max_lexer_states=50_000,
    max_grammar_size=100_000,
)  # fmt: skip


class Form:
    """Where one text is in its form; called by the engine's thread."""

    def __init__(self, matcher: LLMatcher) -> None:
        self._matcher = matcher

    def __call__(self, tokens: list[int]) -> bytes | None:
        """Take the next tokens. A bit for each token that may follow, and one for the end; None: the text is complete.

        Raises RuntimeError.
        """
        matcher = self._matcher
        if tokens:
            matcher.consume_tokens(tokens)
        if matcher.is_error():
            raise RuntimeError(_first_line(matcher.get_error()))
        if matcher.is_stopped():
            return None
        bits = matcher.compute_bitmask()
        if matcher.is_error():
            raise RuntimeError(_first_line(matcher.get_error()))
        return bits


class Forms:
    """Those of a model's texts. What its tokens are is looked at when the first form is asked for. Any thread."""

    def __init__(self, bytes_of: Callable[[int], bytes], vocabulary: int, specials: Sequence[int]) -> None:
        self._bytes_of = bytes_of
        self._vocabulary = vocabulary
        self._specials = frozenset(specials)
        self._tokenizer: LLTokenizer | None = None
        self._lock = threading.Lock()

    def form(self, sampling: Sampling) -> Form | None:
        """The form that a request asks for, at its beginning; None where it asks for none. Takes milliseconds.

        Raises INVALID_ARGUMENT.
        """
        given = [option for option in FORMS if getattr(sampling, option.name) is not None]
        if not given:
            return None
        if len(given) > 1:
            raise _wrong(given[1], f"give this or {given[0].name}")
        (option,) = given
        grammar = _grammar(option, getattr(sampling, option.name))
        matcher = LLMatcher(self._known(), grammar, limits=_LIMITS, log_level=0)
        if matcher.is_error():
            raise _wrong(option, _first_line(matcher.get_error()))
        return Form(matcher)

    def _known(self) -> LLTokenizer:
        with self._lock:
            if self._tokenizer is None:
                self._tokenizer = LLTokenizer(TokenizerWrapper(_Tokens(self._table(), self._specials)))
            return self._tokenizer

    def _table(self) -> list[bytes]:
        shown = (b"" if token in self._specials else self._bytes_of(token) for token in range(self._vocabulary))
        return [content or b"<%d>" % token for token, content in enumerate(shown)]


class _Tokens:
    """The tokens as the library takes them, with one more for the end of a text, whatever the model's own is."""

    bos_token_id = None

    def __init__(self, table: list[bytes], specials: frozenset[int]) -> None:
        self.eos_token_id = len(table)
        self.tokens = [*table, b"<end>"]
        self.special_token_ids = sorted({*specials, self.eos_token_id})
        self._ids = {content: token for token, content in enumerate(table) if token not in specials}
        self._longest = min(_LONGEST, max(map(len, self._ids), default=1))

    def __call__(self, text: bytes) -> list[int]:
        """Of bytes that the form leaves no choice of: always the longest token, up to where none fits."""
        tokens = []
        start = 0
        while start < len(text):
            for end in range(min(len(text), start + self._longest), start, -1):
                if (token := self._ids.get(text[start:end])) is not None:
                    tokens.append(token)
                    start = end
                    break
            else:
                break
        return tokens


def _grammar(option: Option, source: str) -> str:
    """As the library takes it. Raises INVALID_ARGUMENT."""
    try:
        if option is REGEX:
            return LLMatcher.grammar_from_regex(source)
        if option is GRAMMAR:
            return LLMatcher.grammar_from_lark(_lark(source))
        schema = json.loads(source)
        if not isinstance(schema, dict | bool):
            raise _wrong(JSON_SCHEMA, "expected a JSON object")
        return LLMatcher.grammar_from_json_schema(
            {} if schema is True else {"not": {}} if schema is False else schema,
            overrides={"whitespace_flexible": False},
        )
    except (ValueError, RecursionError) as error:
        raise _wrong(option, _first_line(str(error)) or "is nested too deeply") from None


def _lark(source: str) -> str:
    """A grammar of either kind. Raises ValueError."""
    try:
        return any_to_lark(source)
    except Exception as error:  # of a grammar without a beginning it raises no class of its own
        raise ValueError(str(error)) from None


def _wrong(option: Option, message: str) -> PredictionError:
    return invalid_argument(message, field=f"{FIELD}.{option.name}")


def _first_line(message: str) -> str:
    return message.partition("\n")[0][:_SHOWN]
