"""Which models run on the thread that submits, which is the event loop: those whose loops are short by their code.

Of texts that they were measured with all of these are quick.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import torch

from tests.ext.torchscript.modules import Engine
from tests.support import hostile
from tests.support.zoo import TokenModel, save

if TYPE_CHECKING:
    from pathlib import Path

WORD = hostile.LOOP
QUICK_US = 1_000_000


def largest(numbers: list[int]) -> int:
    """As PyText's list_max."""
    most = numbers[0]
    for i in range(len(numbers) - 1):
        most = max(most, numbers[i + 1])
    return most


class Padded(TokenModel):
    """As PyText's pad_2d."""

    def forward(self, tokens: list[list[str]]) -> list[dict[str, float]]:
        lengths = [len(document) for document in tokens]
        width = min(largest(lengths), 64)
        ids: list[list[int]] = []
        for document in tokens:
            row = [len(word) for word in document]
            padding = width - len(row)
            if padding >= 0:
                for _ in range(padding):
                    row.append(0)
            else:
                for _ in range(-padding):
                    row.pop()
            ids.append(row)
        for row, document in zip(ids, tokens):  # noqa: B905 - TorchScript knows no strict
            for i, number in enumerate(row):
                if number < 0:
                    document.append(str(i))
        return self.scorer(tokens)


class Columns(TokenModel):
    """Goes over the sides of a tensor, and a few times more."""

    def forward(self, tokens: list[list[str]]) -> list[dict[str, float]]:
        table = torch.ones(len(tokens), 3)
        total = 0.0
        for row in range(table.size(0)):
            for column in range(0, table.size(1), 2):
                for _ in range(3):
                    total += float(table[row, column])
        return self.scorer(tokens if total > 0 else tokens[:0])


class Doubled(TokenModel):
    """A number that doubles with each word."""

    def forward(self, tokens: list[list[str]]) -> list[dict[str, float]]:
        rounds, more = 1, 1
        for document in tokens:
            for word in document:
                if word == "endless":
                    more = rounds
                rounds, more = rounds + more, 0
            for _ in range(rounds):
                if torch.ops.prim.TimePoint() < 0:
                    break
        return self.scorer(tokens)


class Often(TokenModel):
    """A million rounds, with one word alone."""

    def __init__(self, rounds: int = 1000) -> None:
        super().__init__()
        self.word = WORD
        self.rounds = rounds

    def forward(self, tokens: list[list[str]]) -> list[dict[str, float]]:
        for document in tokens:
            if self.word in document:
                for _ in range(self.rounds):
                    for _ in range(self.rounds):
                        if torch.ops.prim.TimePoint() < 0:
                            break
        return self.scorer(tokens)


class Copies(TokenModel):
    """A list of a million items."""

    def __init__(self) -> None:
        super().__init__()
        self.word = WORD

    def forward(self, tokens: list[list[str]]) -> list[dict[str, float]]:
        for document in tokens:
            if self.word in document:
                for _ in [0] * 1_000_000:
                    if torch.ops.prim.TimePoint() < 0:
                        break
        return self.scorer(tokens)


def wait_at_a_word(tokens: list[list[str]]) -> int:
    while "endless" in tokens[0] and torch.ops.prim.TimePoint() > 0:
        pass
    return len(tokens)


class Forked(TokenModel):
    """The loop is in what runs beside the rest."""

    def forward(self, tokens: list[list[str]]) -> list[dict[str, float]]:
        count: int = torch.jit.wait(torch.jit.fork(wait_at_a_word, tokens))
        return self.scorer(tokens if count > 0 else tokens[:0])


def run_at_once(engine: Engine) -> bool:
    """Whether one of some lone texts was run by who submitted it."""
    for _ in range(20):
        engine.submit("alone")
        if engine.native.wake():
            return True
        engine.wait_for(engine.submitted)
    return False


@pytest.mark.parametrize("model", [Padded, Columns])
def test_a_model_whose_loops_are_as_long_as_its_texts_is_run_at_once(tmp_path: Path, model: type[TokenModel]) -> None:
    with Engine(save(model(), tmp_path / "model.pt"), inline_us=QUICK_US) as engine:
        assert run_at_once(engine)


@pytest.mark.parametrize("model", [hostile.EndlessAtAWord, hostile.LongAtANumber, Doubled, Often, Copies, Forked])
def test_a_model_that_may_go_round_long_is_left_to_the_workers(tmp_path: Path, model: type[TokenModel]) -> None:
    with Engine(save(model(), tmp_path / "model.pt"), inline_us=QUICK_US) as engine:
        assert not run_at_once(engine)
