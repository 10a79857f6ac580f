"""Many texts of one caller, whose results come as JSON past the event loop."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
import torch
from torch import nn

from tests.ext.torchscript.modules import INTERNAL, INVALID_ARGUMENT, UNAVAILABLE, UNPROBED, Engine, alone
from tests.support import zoo as models

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    Zoo = Callable[[str], Path]

TOO_LARGE = 3


def results(engine: Engine, texts: list[str], before: bytes = b"") -> list[Any]:
    """All of them, in order."""
    bulk = engine.native.bulk(texts)
    while not bulk.submit():
        bulk.wait(0.001)
    assert bulk.wait(30)
    return list(bulk.results(before))


def test_results_are_those_of_each_text_alone(zoo: Zoo) -> None:
    texts = [" ".join(["set", "an", "alarm", "for", "tomorrow"] * (n % 7)) for n in range(500)]
    with Engine(zoo("docnn_mask"), replicas=2) as engine:
        found = [json.loads(result) for result in results(engine, texts)]
        stats = engine.native.stats()
        assert engine.native.results() == [], "the event loop hears nothing of them"
    assert stats["completed"] == 500
    assert stats["batches"] >= 500 / 32
    for scores, expected in zip(found, alone(zoo("docnn_mask"), texts), strict=True):
        assert scores == pytest.approx(expected, abs=1e-5)
        assert list(scores.values()) == sorted(scores.values(), reverse=True)


def test_vectors_have_single_precision(zoo: Zoo) -> None:
    with Engine(zoo("embedding_tensor")) as engine:
        (result,) = results(engine, ["a text"], b'"v":')
    vector = json.loads(result.removeprefix(b'"v":'))
    assert torch.tensor(vector).tolist() == pytest.approx(alone(zoo("embedding_tensor"), ["a text"])[0].tolist())
    assert max(len(repr(number)) for number in vector) <= 16, "no digits beyond those of a float32"


class OddScores(nn.Module):
    """Labels and scores that JSON has trouble with."""

    def forward(self, texts: list[str]) -> list[dict[str, float]]:
        scores = {'a "quoted"\\\n\t\x01 é': 0.1, "nan": float("nan"), "low": -float("inf"), "tiny": 5e-324, "": 1e300}
        return [scores for _ in texts]


def test_any_label_and_score_is_json(tmp_path: Path) -> None:
    path = models.save(OddScores(), tmp_path / "odd.pt")
    with Engine(path, **UNPROBED) as engine:
        (result,) = results(engine, ["x"])
    assert json.loads(result) == {"": 1e300, 'a "quoted"\\\n\t\x01 é': 0.1, "tiny": 5e-324, "low": None, "nan": None}


def test_poison_fails_alone(zoo: Zoo) -> None:
    texts = ["good", f"a {models.POISON} here", "good"]
    with Engine(zoo("poison"), **UNPROBED) as engine:
        first, second, third = results(engine, texts)
    assert json.loads(first) == json.loads(third)
    assert second[0] == INTERNAL
    assert "a poisoned document" in second[1]


def test_refused_texts_have_their_reasons(zoo: Zoo) -> None:
    with Engine(zoo("docnn_mask"), max_tokens=3, max_token_bytes=16) as engine:
        outcomes = results(engine, ["fits", "one two three four", "\ud800", "a " + "b" * 17, "b" * 16])
    assert isinstance(outcomes[0], bytes)
    assert outcomes[1] == (TOO_LARGE, "the text has more than 3 tokens (setting max_tokens)")
    assert outcomes[2] == (INVALID_ARGUMENT, "the text is not valid Unicode")
    assert outcomes[3] == (TOO_LARGE, "a token of the text has more than 16 bytes (setting max_token_bytes)")
    assert isinstance(outcomes[4], bytes)


def test_full_queue_takes_the_rest_later(zoo: Zoo) -> None:
    with Engine(zoo("slow_20ms"), queue_items=8, **UNPROBED) as engine:
        bulk = engine.native.bulk([f"text {n}" for n in range(100)])
        assert not bulk.submit()
        assert not bulk.wait(0)
        with pytest.raises(RuntimeError, match="not all results"):
            bulk.results(b"")
        while not bulk.submit():
            bulk.wait(0.001)
        assert bulk.wait(30)
        assert len(bulk.results(b"")) == 100


def test_closing_answers_those_who_wait(gate: models.Gate) -> None:
    with Engine(gate.path, batch_items=1, **UNPROBED) as engine, gate.closed():
        bulk = engine.native.bulk(["text"] * 10)
        assert bulk.submit()
        engine.close_while_running(gate)
        assert bulk.wait(30)
        assert [result[0] for result in bulk.results(b"")] == [UNAVAILABLE] * 10


def test_draining_engine_refuses(zoo: Zoo) -> None:
    with Engine(zoo("docnn_mask")) as engine:
        engine.native.drain()
        assert results(engine, ["text"]) == [(UNAVAILABLE, "the model is being unloaded")]


def test_closed_engine_takes_nothing(zoo: Zoo) -> None:
    with Engine(zoo("docnn_mask")) as engine:
        bulk = engine.native.bulk(["text"])
        engine.native.close()
        with pytest.raises(RuntimeError, match="closed"):
            bulk.submit()
        with pytest.raises(RuntimeError, match="closed"):
            engine.native.bulk(["text"])


def test_texts_must_be_strings(zoo: Zoo) -> None:
    with Engine(zoo("docnn_mask")) as engine, pytest.raises(TypeError):
        engine.native.bulk([b"bytes"])


def test_no_texts(zoo: Zoo) -> None:
    with Engine(zoo("docnn_mask")) as engine:
        assert results(engine, []) == []


def test_bulk_that_nobody_waits_for(zoo: Zoo) -> None:
    with Engine(zoo("slow_20ms"), **UNPROBED) as engine:
        bulk = engine.native.bulk(["text"] * 20)
        assert bulk.submit()
        del bulk
        assert engine.values(["after"])
