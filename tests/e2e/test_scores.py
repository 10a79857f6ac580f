"""A document's scores are the model's own for it alone, whoever else asks at the same time."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

import pytest
import torch

from scripts.train_classifier import load
from tests.e2e.load import at_once
from tests.support.service import Service

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

CLIENTS = 64
DOCUMENTS_PER_CLIENT = 40
TOLERANCE = 1e-5

LENGTHS = (0, 1, 2, 3, 5, 8, 13, 40)
WORDS = ["Set", "an", "ALARM", "for", "tomorrow", "at", "7:30", "remind", "me", "weather", "in", "Übersee", "unseen"]


def documents_of(client: int) -> list[str]:
    """Documents of mixed lengths in words, the same for the same client."""
    chosen = random.Random(client)
    return [" ".join(chosen.choices(WORDS, k=chosen.choice(LENGTHS))) for _ in range(DOCUMENTS_PER_CLIENT)]


def own_scores(model: torch.jit.ScriptModule, document: str) -> dict[str, float]:
    """What the model gives for the document alone, with PyText's tokens."""
    lowered = "".join(letter.lower() if letter.isascii() else letter for letter in document)
    with torch.inference_mode():
        (scores,) = model(tokens=[lowered.split() or ["<pad>"]])
    return scores


@pytest.mark.parametrize(("name", "equal_lengths_only"), [("docnn_mask", False), ("docnn_no_mask", True)])
def test_scores_are_the_models_own(zoo: Callable[[str], Path], name: str, equal_lengths_only: bool) -> None:
    documents = [documents_of(number) for number in range(CLIENTS)]
    with Service(zoo(name), "--no-rest", "--max-delay-ms=2") as service:

        def ask(number: int) -> list[dict[str, float]]:
            with service.client() as predictor:
                return [predictor.predict(document, None) for document in documents[number]]

        answers = at_once(CLIENTS, ask)
        with service.client() as predictor:
            (info,) = predictor.list_models()
            in_one_call = predictor.predict_batch(documents[0] + documents[1], None)
        status = service.model_status()

    assert info.equal_lengths_only is equal_lengths_only
    assert status.completed == (CLIENTS + 2) * DOCUMENTS_PER_CLIENT
    assert status.batches < status.completed / 2, "hardly anything was batched, so this shows nothing"
    model = load(zoo(name))
    for asked, given in zip(documents, answers, strict=True):
        for document, scores in zip(asked, given, strict=True):
            assert scores == pytest.approx(own_scores(model, document), abs=TOLERANCE), document
    for document, scores in zip(documents[0] + documents[1], in_one_call, strict=True):
        assert scores == pytest.approx(own_scores(model, document), abs=TOLERANCE), document


def test_the_unmasked_model_would_show_a_mixed_batch(zoo: Callable[[str], Path]) -> None:
    """What the test above relies on: beside a longer document the model itself gives other scores."""
    model = load(zoo("docnn_no_mask"))
    with torch.inference_mode():
        beside = model(tokens=[["set"], ["set", "an", "alarm", "for", "tomorrow", "at", "seven"]])[0]
    alone = own_scores(model, "set")
    assert max(abs(beside[label] - alone[label]) for label in alone) > 100 * TOLERANCE
