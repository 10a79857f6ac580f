"""Batches of TorchScript documents: scores that do not depend on batch mates, and faults that stay with their cause."""

from __future__ import annotations

import random
from collections import Counter
from itertools import pairwise
from math import ceil
from typing import TYPE_CHECKING

import pytest
import torch
from torch import nn

from tests.ext.torchscript.modules import BULK, INTERNAL, OK, TOLERANCE, UNPROBED, Engine, alone, assert_close
from tests.support import zoo as models
from tests.support.gate import Gate, Gated

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from scripts.train_classifier import Classifier

    Zoo = Callable[[str], Path]

WORDS = ["set", "an", "alarm", "for", "tomorrow", "at", "seven", "remind", "me", "what", "is", "the", "weather"]


def texts_of_mixed_lengths(count: int, longest: int = 24) -> list[str]:
    chance = random.Random(5)
    return [" ".join(chance.choices(WORDS, k=chance.randint(1, longest))) for _ in range(count)]


def batches_of_equal_lengths(texts: list[str], items: int) -> int:
    return sum(ceil(count / items) for count in Counter(len(text.split()) for text in texts).values())


# ---------------------------------------------------------------------------------------------------- equal scores


@pytest.mark.parametrize("replicas", [1, 3])
@pytest.mark.parametrize(("name", "equal_lengths_only"), [("docnn_mask", False), ("docnn_no_mask", True)])
def test_scores_in_a_batch_are_those_of_the_document_alone(
    zoo: Zoo, name: str, equal_lengths_only: bool, replicas: int
) -> None:
    texts = texts_of_mixed_lengths(200)
    with Engine(zoo(name), hold=len(texts), batch_items=16, replicas=replicas) as engine:
        assert engine.native.equal_lengths_only == equal_lengths_only
        for value, expected in zip(engine.values(texts), alone(zoo(name), texts), strict=True):
            assert_close(value, expected)
        batches = engine.native.stats()["batches"]
    alike = batches_of_equal_lengths(texts, 16)
    assert batches == alike if equal_lengths_only else batches < alike, "the documents were not batched as they should"


def test_without_the_probe_padding_is_felt(zoo: Zoo) -> None:
    """That the probe is needed, and that the test above could fail."""
    path, texts = zoo("docnn_no_mask"), texts_of_mixed_lengths(200)
    with Engine(path, hold=len(texts), equal_lengths=False, max_padding=0.9) as engine:
        assert not engine.native.equal_lengths_only
        values = engine.values(texts)
    changes = [
        max(abs(value[label] - expected[label]) for label in expected)
        for value, expected in zip(values, alone(path, texts), strict=True)
    ]
    assert max(changes) > 100 * TOLERANCE


def test_equal_lengths_can_be_forced(zoo: Zoo) -> None:
    texts = texts_of_mixed_lengths(60)
    with Engine(zoo("docnn_mask"), hold=len(texts), equal_lengths=True) as engine:
        assert engine.native.equal_lengths_only
        engine.values(texts)
        assert engine.native.stats()["batches"] == batches_of_equal_lengths(texts, 64)


class SplittingClassifier(nn.Module):
    """Splits texts itself, pads inside and has no mask: the service cannot know which texts are equally long."""

    def __init__(self, classifier: Classifier) -> None:
        super().__init__()
        self.tensorizer = models.Tensorizer()
        self.classifier = classifier

    def forward(self, texts: list[str]) -> list[dict[str, float]]:
        return self.classifier(None, None, self.tensorizer(texts), None)


@pytest.mark.parametrize("mask", [False, True])
def test_texts_that_feel_padding_run_alone(tmp_path: Path, mask: bool) -> None:
    path = models.save(SplittingClassifier(models.docnn(mask)), tmp_path / "splitting.pt")
    texts = texts_of_mixed_lengths(40)
    with Engine(path, hold=len(texts)) as engine:
        assert engine.native.takes_texts
        assert engine.native.equal_lengths_only == (not mask)
        for value, expected in zip(engine.values(texts), alone(path, texts), strict=True):
            assert_close(value, expected)
        batches = engine.native.stats()["batches"]
    assert batches < len(texts) if mask else batches == len(texts)


def test_budgets_hold_in_the_engine(zoo: Zoo) -> None:
    texts = texts_of_mixed_lengths(50, longest=10)
    with Engine(zoo("docnn_mask"), hold=50, batch_tokens=20, batch_items=4) as engine:
        engine.values(texts)
        stats = engine.native.stats()
    assert stats["batches"] >= sum(len(text.split()) for text in texts) / 20
    assert stats["batched_tokens"] <= 20 * stats["batches"]


def test_both_lanes_are_served(zoo: Zoo) -> None:
    texts = texts_of_mixed_lengths(30)
    with Engine(zoo("docnn_mask"), hold=30) as engine:
        for i, text in enumerate(texts):
            assert engine.submit(text, lane=BULK * (i % 2)) > 0
        engine.native.wake()
        engine.wait_for(30)
        for i, expected in enumerate(alone(zoo("docnn_mask"), texts)):
            assert_close(engine.outcomes[i][1], expected)
        assert engine.native.stats()["batches"] >= 2


# ---------------------------------------------------------------------------------------------------------- faults


@pytest.mark.parametrize("poisoned", [{0}, {3}, {7}, {2, 5}, set(range(8))], ids=str)
def test_poison_fails_alone(zoo: Zoo, poisoned: set[int]) -> None:
    path = zoo("poison")
    good = [f"document {i} of eight" for i in range(8)]
    texts = [f"document {i} {models.POISON} eight" if i in poisoned else text for i, text in enumerate(good)]
    expected = alone(path, good)
    with Engine(path, hold=8, **UNPROBED) as engine:
        for i, (status, value) in enumerate(engine.answer(texts)):
            if i in poisoned:
                assert status == INTERNAL
                assert "a poisoned document" in value
            else:
                assert status == OK
                assert_close(value, expected[i])
        stats = engine.native.stats()
        assert (stats["batches"], stats["failed"], stats["completed"]) == (1, len(poisoned), 8 - len(poisoned))
        if len(poisoned) < 8:  # hold: a single document would wait for seven more
            engine.native.drain()


def test_a_model_that_loses_results_is_not_believed(zoo: Zoo) -> None:
    """It gives one too few for two or more: nobody can say which. Alone each document has its own."""
    path = zoo("too_few_results")
    texts = texts_of_mixed_lengths(6)
    with Engine(path, hold=6, **UNPROBED) as engine:
        for value, expected in zip(engine.values(texts), alone(path, texts), strict=True):
            assert_close(value, expected)


class Varying(models.TokenModel):
    """Labels that differ from document to document."""

    def forward(self, tokens: list[list[str]]) -> list[dict[str, float]]:
        results: list[dict[str, float]] = []
        for document in tokens:
            scores: dict[str, float] = {}
            for i, token in enumerate(document):
                scores[token] = float(i)
            results.append(scores)
        return results


@pytest.mark.parametrize("replicas", [1, 4])
def test_labels_that_vary_stay_with_their_document(tmp_path: Path, replicas: int) -> None:
    path = models.save(Varying(), tmp_path / "varying.pt")
    chance = random.Random(9)
    texts = [" ".join(chance.sample(WORDS, k=chance.randint(1, 3))) for _ in range(2000)]
    with Engine(path, replicas=replicas, batch_items=8, **UNPROBED) as engine:
        for text, value in zip(texts, engine.values(texts), strict=True):
            assert value == {token: i for i, token in enumerate(text.split())}


# ------------------------------------------------------------------------------------------- modules that change


class Remembering(models.TokenModel):
    """Keeps what it was given, counts in a number and in a buffer, and collects words."""

    def __init__(self) -> None:
        super().__init__()
        self.last = [["nothing"]]
        self.words = {"nothing": 0}
        self.calls = 0
        self.register_buffer("total", torch.zeros(1))

    def forward(self, tokens: list[list[str]]) -> list[dict[str, float]]:
        self.last = tokens
        self.calls += 1
        self.total += 1
        for document in tokens:
            for token in document:
                self.words[token] = self.calls
        scores = self.scorer(self.last)
        for result in scores:
            result["calls"] = float(self.calls)
            result["total"] = float(self.total)
        return scores


@pytest.mark.parametrize("replicas", [1, 4])
def test_a_module_may_change_itself_while_it_runs(tmp_path: Path, replicas: int) -> None:
    """In each replica by itself: with one module for all threads this crashed."""
    path = models.save(Remembering(), tmp_path / "remembering.pt")
    texts = [f"document {i} of many" for i in range(3000)]
    with Engine(path, replicas=replicas, batch_items=2, **UNPROBED) as engine:
        values = engine.values(texts)
        batches = engine.native.stats()["batches"]
    assert all(value["calls"] == value["total"] for value in values), "calls and total are counted in the same replica"
    calls = Counter(value["calls"] for value in values)
    assert max(calls.values()) <= 2 * replicas
    assert max(calls) <= batches + 1
    if replicas == 1:
        assert all(later["calls"] >= earlier["calls"] for earlier, later in pairwise(values))


class Printing(Gated):
    """Prints at the end of each of its batches."""

    def forward(self, tokens: list[list[str]]) -> list[dict[str, float]]:
        self.pass_gate(len(tokens))
        print("a word from the model:", tokens[0][0])
        return self.scorer(tokens)


def test_a_model_that_prints_while_it_is_closed(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """Printing takes the GIL where torch's Python is loaded: whoever waits for a batch must have let go of it."""
    gate = Gate(tmp_path, Printing)
    with Engine(gate.path, **UNPROBED) as engine, gate.closed():
        engine.submit("last")
        engine.native.wake()
        engine.wait_until_running()
        engine.close_while_running(gate)
    assert "a word from the model: last" in capfd.readouterr().out


def resident_mib() -> float:
    with open("/proc/self/statm") as statm:  # noqa: PTH123 - not a file of ours
        return int(statm.read().split()[1]) * 4096 / 2**20


def test_replicas_share_their_weights(tmp_path: Path) -> None:
    class Large(models.TokenModel):
        def __init__(self) -> None:
            super().__init__()
            self.weights = nn.Parameter(torch.ones(64 * 2**18))  # 64 MiB

        def forward(self, tokens: list[list[str]]) -> list[dict[str, float]]:
            return [{"score": float(self.weights[len(document)])} for document in tokens]

    path = models.save(Large(), tmp_path / "large.pt")
    with Engine(path, replicas=1, **UNPROBED) as engine:
        engine.values(["warm"])
        before = resident_mib()
        with Engine(path, replicas=8, **UNPROBED) as other:
            other.values(["warm"] * 100)
            growth = resident_mib() - before
    assert growth < 64 * 3
