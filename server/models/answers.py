"""What models answer, checked before it is sent, and put in order."""

from __future__ import annotations

import uuid
from math import isfinite
from typing import TYPE_CHECKING

import structlog
from predictor.ttypes import Ranked, ScoredLabel

from server.errors import PredictionError, internal, too_large
from server.models.vectors import is_finite, sparse_is_finite

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from server.models.model import Model
    from server.models.registry import Registry
    from server.models.requests import Entailment, Entity, RequestContext

log = structlog.get_logger()

# Bytes in the binary protocol, which takes the most of those that write numbers as bytes: of a list or a map without
# its items, of an item without its text.
LIST_BYTES = 5
_MAP_BYTES = 6
_SCORE_BYTES = 12
_LABEL_BYTES = 19
_ENTITY_BYTES = 40
RANK_BYTES = 19


class AnswerSize:
    """How many bytes an answer has so far, of which `share` come for each that is added."""

    def __init__(self, most: int, share: float = 1) -> None:
        self._most = most
        self._share = share
        self._size = 0.0

    def add(self, count: int) -> None:
        """Raises TOO_LARGE for an answer that would keep the event loop, and be too long for its reader."""
        self._size += count * self._share
        if self._size > self._most:
            what = f"the answer has more than {self._most} bytes up to this text; ask for fewer at a time"
            raise too_large(what, setting="message_bytes")


def require_fit(count: int, size: int, most: int, field: str, what: str = "answers", hint: str = "") -> None:
    """Raise TOO_LARGE for `count` answers that would take at least `size` bytes, before any is made."""
    if size > most:
        message = f"{count} {what} take {size} bytes, over the limit of {most}; ask for fewer at a time{hint}"
        raise too_large(message, field=field, setting="message_bytes")


def scores_bytes(labels: Iterable[str]) -> int:
    """The least that a map of these labels takes in an answer."""
    return _MAP_BYTES + sum(len(label) + _SCORE_BYTES for label in labels)


def best_labels_bytes(labels: Iterable[str], count: int | None) -> int:
    """The least that a list of so many of these labels, or of all, takes in an answer."""
    return LIST_BYTES + sum(sorted(len(label) + _LABEL_BYTES for label in labels)[:count])


class Checks:
    """Functions that raise INTERNAL for an answer with a number that is NaN or infinite: no caller can use it."""

    def __init__(self, registry: Registry) -> None:
        self._registry = registry

    def vector(self, model: Model, context: RequestContext, size: AnswerSize | None = None) -> Callable[[bytes], None]:
        """For a vector, or a matrix."""

        def check(vector: bytes) -> None:
            if not is_finite(vector):
                raise self.failure(model, context)
            if size is not None:
                size.add(len(vector))

        return check

    def sparse(self, model: Model, context: RequestContext, size: AnswerSize) -> Callable[[bytes], None]:
        """For a sparse vector."""

        def check(pairs: bytes) -> None:
            if not sparse_is_finite(pairs):
                raise self.failure(model, context)
            size.add(len(pairs))

        return check

    def scores(
        self, model: Model, context: RequestContext, size: AnswerSize | None = None
    ) -> Callable[[Mapping[str, float]], None]:
        """For labels, or replies, with their scores."""

        def check(scores: Mapping[str, float]) -> None:
            if not isfinite(sum(scores.values())):
                raise self.failure(model, context)
            if size is not None:
                size.add(scores_bytes(scores))

        return check

    def score(self, model: Model, context: RequestContext) -> Callable[[float], None]:
        """For a single score."""

        def check(score: float) -> None:
            if not isfinite(score):
                raise self.failure(model, context)

        return check

    def entailment(self, model: Model, context: RequestContext) -> Callable[[Entailment], None]:
        """For what a model of natural language inference says."""

        def check(answer: Entailment) -> None:
            if not isfinite(sum(answer)):
                raise self.failure(model, context)

        return check

    def entities(
        self, model: Model, context: RequestContext, size: AnswerSize | None = None
    ) -> Callable[[Sequence[Entity]], None]:
        """For the entities of a text."""

        def check(found: Sequence[Entity]) -> None:
            if not isfinite(sum(entity.score for entity in found)):
                raise self.failure(model, context)
            if size is not None:
                size.add(LIST_BYTES + sum(_ENTITY_BYTES + len(entity.label) + len(entity.text) for entity in found))

        return check

    def failure(self, model: Model, context: RequestContext) -> PredictionError:
        """The error, which the log has too."""
        request_id = context.request_id or uuid.uuid4().hex[:16]
        name = self._registry.name_of(model)
        log.error("the model gave numbers that are NaN or infinite", request_id=request_id, model=name)
        return internal(f"the model {name!r} gave numbers that are NaN or infinite on this input", request_id)


def best_labels(scores: Mapping[str, float], count: int | None) -> list[ScoredLabel]:
    """The best so many labels, or all, the best first."""
    labels = [ScoredLabel(label, score, index) for index, (label, score) in enumerate(scores.items())]
    return sorted(labels, key=lambda one: one.score, reverse=True)[:count]


def best_texts(scores: Sequence[float], tokens: Sequence[int | None], count: int | None) -> list[Ranked]:
    """Places of the best so many texts, or of all, the best first; of equal ones in their order.

    `tokens`: how many each was read as, together with the query.
    """
    ordered = sorted(enumerate(scores), key=lambda item: item[1], reverse=True)
    return [Ranked(index, score, tokens[index]) for index, score in ordered[:count]]
