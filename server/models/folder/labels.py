"""Labels of a classifier, and what makes scores of its numbers."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from server.errors import ModelError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    Scores = Callable[[Sequence[float]], list[float]]


def labels_of(config: dict[str, Any]) -> list[str]:
    """By id2label, else LABEL_0 and so on: two of them where nothing is said. Raises ModelError."""
    names = config.get("id2label")
    if names is None:
        count = config.get("num_labels", 2)
        if not isinstance(count, int) or isinstance(count, bool) or not 1 <= count <= 1 << 20:
            raise ModelError(f"config.json: num_labels: expected a number from 1, got {count!r}")
        return [f"LABEL_{index}" for index in range(count)]
    if not isinstance(names, dict) or not names or set(names) != {str(index) for index in range(len(names))}:
        raise ModelError("config.json: id2label: expected the labels of 0, 1, 2 and so on")
    labels = [str(names[str(index)]) for index in range(len(names))]
    if len(set(labels)) != len(labels):
        raise ModelError("config.json: id2label: two labels have the same name")
    return labels


def softmax(numbers: Sequence[float]) -> list[float]:
    """Scores that add up to 1."""
    largest = max(numbers)
    powers = [math.exp(number - largest) for number in numbers]
    whole = sum(powers)
    return [power / whole for power in powers]


def sigmoid(numbers: Sequence[float]) -> list[float]:
    """Each by itself from 0 to 1."""
    return [1 / (1 + math.exp(-x)) if x >= 0 else math.exp(x) / (1 + math.exp(x)) for x in numbers]


def as_they_are(numbers: Sequence[float]) -> list[float]:
    """The numbers themselves."""
    return list(numbers)


def scores_name(scores: Scores) -> str:
    """For people."""
    return "numbers" if scores is as_they_are else "sigmoid" if scores is sigmoid else "softmax"


def scores_of(config: dict[str, Any], labels: int) -> Scores:
    """As transformers' pipeline chooses it by problem_type and the number of labels."""
    problem = config.get("problem_type")
    if problem == "regression":
        return as_they_are
    if problem == "multi_label_classification" or labels == 1:
        return sigmoid
    if problem in (None, "single_label_classification"):
        return softmax
    raise ModelError(f"config.json: problem_type is {problem!r}, which is not known")
