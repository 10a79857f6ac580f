"""Scores that are asked for as JSON: the bytes that the HTTP routes write of them."""

from __future__ import annotations

import math
import random
import struct
import sys
from operator import itemgetter
from typing import TYPE_CHECKING

import orjson
import pytest
from torch import nn

from ext import _torchscript
from tests.ext.torchscript.modules import UNPROBED, Engine, value_of
from tests.support import zoo as models

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


class Numbers(nn.Module):
    """Every word is a label, and its score; so that it answers its sample too, other words score 0."""

    def forward(self, texts: list[str]) -> list[dict[str, float]]:
        found: list[dict[str, float]] = []
        for text in texts:
            scores: dict[str, float] = {}
            for word in text.split():
                scores[word] = 0.0 if word in ["set", "an", "alarm"] else float(word)
            found.append(scores)
        return found


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    path = models.save(Numbers(), tmp_path_factory.mktemp("numbers") / "numbers.pt")
    with Engine(path, **UNPROBED) as running:
        yield running


def written(scores: dict[str, float]) -> bytes:
    """By the library that the routes use."""
    return orjson.dumps(dict(sorted(scores.items(), key=itemgetter(1), reverse=True)))


NUMBERS = (
    "0 -0.0 1 10 -2.5 0.1 1e-5 1.5e-5 1e-6 -1.25e-6 1e15 1e16 123456789012345680 1234567890123456 1e22 2.5e-308 1e300"
)


@pytest.mark.parametrize("text", [NUMBERS, "7", "3 3.0 1 1.0"], ids=["all forms", "one", "equal ones"])
def test_the_library_writes_the_same(engine: Engine, text: str) -> None:
    scores = value_of(engine, text, None)
    assert list(scores) == text.split()
    assert value_of(engine, text, _torchscript.JSON) == written(scores)


def test_the_library_writes_any_number_the_same(engine: Engine) -> None:
    bits = random.Random(5)
    found = [struct.unpack("d", bits.randbytes(8))[0] for _ in range(2000)]
    usual = (bits.uniform(-20, 0) * 10 ** bits.randint(-8, 2) for _ in range(2000))
    text = " ".join(
        repr(number) for number in (*found, *usual) if math.isfinite(number) and abs(number) > sys.float_info.min
    )
    assert value_of(engine, text, _torchscript.JSON) == written(value_of(engine, text, None))


def test_any_label_is_json(tmp_path: Path) -> None:
    class Labels(nn.Module):
        def forward(self, texts: list[str]) -> list[dict[str, float]]:
            return [{'a "quoted"\\\n\t\r\x01\x08\x0c é ☀ 😀': 0.5, "": 1.0} for _ in texts]

    with Engine(models.save(Labels(), tmp_path / "labels.pt"), **UNPROBED) as engine:
        assert value_of(engine, "x", _torchscript.JSON) == written(value_of(engine, "x", None))


@pytest.mark.parametrize("score", ["nan", "inf", "-inf"])
def test_scores_that_json_lacks_come_as_they_are(engine: Engine, score: str) -> None:
    scores = value_of(engine, f"1 {score}", _torchscript.JSON)
    assert isinstance(scores, dict)
    assert scores[score] == pytest.approx(float(score), nan_ok=True)
