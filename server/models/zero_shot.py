"""Labels of a caller's own: how far a text entails that it has them (https://arxiv.org/abs/1909.00161)."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from server.models.requests import Entailment


def hypotheses(labels: Sequence[str], template: str) -> list[str]:
    """The sentence for each label."""
    return [template.replace("{}", label) for label in labels]


def scores(
    labels: Sequence[str], answers: Sequence[Entailment], multi_label: bool, raw_scores: bool
) -> dict[str, float]:
    """Label -> score, as transformers' zero-shot pipeline gives it.

    `multi_label`, or a single label: entailment against contradiction; else the entailments of all labels against each
    other. `raw_scores`: the number for entailment as it is.
    """
    entailments = [answer.entailment for answer in answers]
    if raw_scores:
        values = entailments
    elif multi_label or len(labels) == 1:
        values = [_sigmoid(answer.entailment - answer.contradiction) for answer in answers]
    else:
        values = _softmax(entailments)
    return dict(zip(labels, values, strict=True))


def _sigmoid(value: float) -> float:
    return 1 / (1 + math.exp(-value)) if value >= 0 else math.exp(value) / (1 + math.exp(value))


def _softmax(values: Sequence[float]) -> list[float]:
    largest = max(values)
    powers = [math.exp(value - largest) for value in values]
    whole = sum(powers)
    return [power / whole for power in powers]
