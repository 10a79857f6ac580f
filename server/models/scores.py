"""How likely tokens were: the engine's numbers as the contract's structs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from predictor.ttypes import TokenLogprob, TopLogprob

from server.models.requests import NO_SCORES, Scores

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from ext._generator import Score
    from server.models.requests import Sampling


class TokenNames:
    """What a model's tokens are called in answers; each is looked up once."""

    def __init__(self, bytes_of: Callable[[int], bytes], tokenizer: Any) -> None:
        """`tokenizer`: a tokenizers.Tokenizer, which names those that write nothing."""
        self._bytes_of = bytes_of
        self._tokenizer = tokenizer
        self._known: dict[int, tuple[str, bytes]] = {}

    def name(self, token: int) -> tuple[str, bytes]:
        """(text, bytes)."""
        known = self._known.get(token)
        if known is None:
            content = self._bytes_of(token)
            text = content.decode(errors="replace") if content else self._tokenizer.id_to_token(token) or ""
            known = self._known[token] = (text, content)
        return known

    def scores(
        self, found: tuple[Sequence[Score], Sequence[Score]] | None, tokens: Sequence[int], sampling: Sampling
    ) -> Scores:
        """What the engine says of a text, or of a part of one, where the request asks for it.

        `tokens`: of the prompt, whose first token has no score.
        """
        if sampling.logprobs is None and sampling.prompt_logprobs is None:
            return NO_SCORES
        of_prompt, generated = ((), ()) if found is None else found
        is_prompt_here = sampling.prompt_logprobs is not None and (of_prompt or len(tokens) == 1)
        return Scores(
            None if sampling.logprobs is None else [self._scored(score) for score in generated],
            [self._first(tokens[0]), *map(self._scored, of_prompt)] if is_prompt_here else None,
        )

    def _first(self, token: int) -> TokenLogprob:
        return TokenLogprob(token, *self.name(token))

    def _scored(self, score: Score) -> TokenLogprob:
        token, logprob, top = score
        alternatives = [TopLogprob(other, *self.name(other), chance) for other, chance in top]
        return TokenLogprob(token, *self.name(token), logprob, alternatives)


def as_json(scores: Sequence[TokenLogprob]) -> list[dict[str, Any]]:
    """As jobs write them."""
    return [
        {
            **_named(score),
            **({"top": [_named(top) for top in score.top]} if score.top else {}),
        }
        for score in scores
    ]


def _named(score: TokenLogprob | TopLogprob) -> dict[str, Any]:
    return {"id": score.id, "text": score.text, "logprob": score.logprob}
