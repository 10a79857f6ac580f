"""Scores that are asked for as numbers of eight bytes with other bytes around them."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

import pytest
from torch import nn

from ext._torchscript import ScoresForm
from tests.ext.torchscript.modules import UNPROBED, Engine, value_of
from tests.support import zoo as models

if TYPE_CHECKING:
    from collections.abc import Iterator

LABELS = ["é", "", "b"]
AROUND = [b"\x00<", b"\xff", b"", b"\x00>"]


class Numbers(nn.Module):
    """Three words are the scores of as many labels; of other texts there are other labels."""

    def forward(self, texts: list[str]) -> list[dict[str, float]]:
        found: list[dict[str, float]] = []
        for text in texts:
            words = text.split()
            if len(words) == 3 and words[0] != "set":
                found.append({"é": float(words[0]), "": float(words[1]), "b": float(words[2])})
            elif text == "swapped":
                found.append({"": 1.0, "é": 2.0, "b": 3.0})
            else:
                found.append({"c": 0.5})
        return found


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    path = models.save(Numbers(), tmp_path_factory.mktemp("numbers") / "numbers.pt")
    with Engine(path, **UNPROBED) as running:
        yield running


@pytest.mark.parametrize("big_endian", [True, False])
@pytest.mark.parametrize("text", ["1 2 3", "-0.0 1e-300 0.1", "1e308 -2.5 123456789.123456789"])
def test_every_bit_of_the_numbers_is_there(engine: Engine, text: str, big_endian: bool) -> None:
    numbers = [struct.pack(">d" if big_endian else "<d", float(word)) for word in text.split()]
    parts = [part for pair in zip(AROUND, [*numbers, b""], strict=True) for part in pair]
    assert value_of(engine, text, ScoresForm(LABELS, AROUND, big_endian)) == b"".join(parts)


@pytest.mark.parametrize("text", ["swapped", "another", "1 nan 3", "inf 0 0"])
def test_what_does_not_fit_comes_as_it_is(engine: Engine, text: str) -> None:
    assert isinstance(value_of(engine, text, ScoresForm(LABELS, AROUND, True)), dict)


def test_a_form_has_bytes_around_each_number() -> None:
    with pytest.raises(ValueError, match="one more than there are labels"):
        ScoresForm(LABELS, AROUND[:-1], True)
