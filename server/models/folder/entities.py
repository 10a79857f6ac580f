"""Tokens' scores to parts of a text that have a label: what transformers' TokenClassificationPipeline does."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from server.models.requests import Entity

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from server.models.folder.tokenizer_files import TokenizerFiles
    from server.models.requests import Tagging


class _Part(NamedTuple):
    """A token, a word or an entity, with the label that it has."""

    label: str
    score: Any
    begin: int
    end: int
    place: int | None = None


class _Scored(NamedTuple):
    """A token with the scores of all labels."""

    scores: NDArray[np.float32]
    begin: int
    end: int
    place: int
    is_subword: bool


class Tagger:
    """Knows the labels, and which tokens go on with a word."""

    def __init__(self, labels: list[str], files: TokenizerFiles) -> None:
        self._labels = labels
        self._unknown = files.special_tokens.get("unk_token")
        # Else a token goes on with a word where no space stands before it.
        self._marks_subwords = bool(getattr(files.tokenizer.model, "continuing_subword_prefix", None))

    def entities(
        self,
        text: str,
        logits: NDArray[np.float32],
        tokens: Sequence[str],
        offsets: Sequence[tuple[int, int]],
        first_index: int,
        tagging: Tagging,
    ) -> list[Entity]:
        """`logits` float32[tokens, labels] of the text's own tokens; `first_index` is how many special ones precede."""
        powers = np.exp(logits - logits.max(-1, keepdims=True))
        scores = powers / powers.sum(-1, keepdims=True)
        parts = [
            _Scored(row, begin, end, first_index + place, self._is_subword(text, token, begin, end))
            for place, (row, token, (begin, end)) in enumerate(zip(scores, tokens, offsets, strict=True))
        ]
        if tagging.aggregation in ("none", "simple"):
            found = [self._labelled(part.scores, part.begin, part.end, part.place) for part in parts]
        else:
            found = [self._word(word, tagging.aggregation) for word in _words(parts)]
        if tagging.aggregation != "none":
            found = _grouped(found)
        return [
            Entity(part.label, float(part.score), text[part.begin : part.end], part.begin, part.end, part.place)
            for part in found
            if part.label not in tagging.ignore_labels
        ]

    def _is_subword(self, text: str, token: str, begin: int, end: int) -> bool:
        if token == self._unknown:
            return False
        if self._marks_subwords:
            return len(token) != end - begin
        return begin > 0 and " " not in text[begin - 1 : begin + 1]

    def _labelled(self, scores: NDArray[np.float32], begin: int, end: int, place: int | None = None) -> _Part:
        best = int(scores.argmax())
        return _Part(self._labels[best], scores[best], begin, end, place)

    def _word(self, parts: list[_Scored], aggregation: str) -> _Part:
        if aggregation == "first":
            scores = parts[0].scores
        elif aggregation == "max":
            scores = max(parts, key=lambda part: part.scores.max()).scores
        else:
            scores = np.nanmean(np.stack([part.scores for part in parts]), axis=0)
        return self._labelled(scores, parts[0].begin, parts[-1].end)


def _words(parts: Sequence[_Scored]) -> list[list[_Scored]]:
    words: list[list[_Scored]] = []
    for part in parts:
        if part.is_subword and words:
            words[-1].append(part)
        else:
            words.append([part])
    return words


def _grouped(parts: Sequence[_Part]) -> list[_Part]:
    """Neighbours of one label become one, but where a B- begins another."""
    groups: list[list[_Part]] = []
    for part in parts:
        begins, name = _tag(part.label)
        if groups and not begins and name == _tag(groups[-1][-1].label)[1]:
            groups[-1].append(part)
        else:
            groups.append([part])
    return [
        _Part(
            group[0].label.split("-", 1)[-1],
            np.nanmean([part.score for part in group]),
            group[0].begin,
            group[-1].end,
        )
        for group in groups
    ]


def _tag(label: str) -> tuple[bool, str]:
    """(whether it is a B-, the label without B- or I-)."""
    return label.startswith("B-"), label[2:] if label.startswith(("B-", "I-")) else label
