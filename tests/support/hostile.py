"""TorchScript models that end, hold up or flood the process that loads or runs them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from tests.support.zoo import TokenModel, save

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

LOOP = "endless"
LONG = str(10**15)


class Endless(TokenModel):
    """Never done, whatever it is asked."""

    def forward(self, tokens: list[list[str]]) -> list[dict[str, float]]:
        while torch.ops.prim.TimePoint() > 0:  # a condition that no optimiser can leave out
            pass
        return self.scorer(tokens)


class EndlessAtAWord(TokenModel):
    """Never done with one word alone: a sample does not find it."""

    def __init__(self) -> None:
        super().__init__()
        self.word = LOOP

    def forward(self, tokens: list[list[str]]) -> list[dict[str, float]]:
        for document in tokens:
            while self.word in document and torch.ops.prim.TimePoint() > 0:
                pass
        return self.scorer(tokens)


class LongAtANumber(TokenModel):
    """Goes round as often as a word says."""

    def forward(self, tokens: list[list[str]]) -> list[dict[str, float]]:
        for document in tokens:
            for word in document:
                if word.isdigit():
                    for _ in range(int(word)):
                        if torch.ops.prim.TimePoint() < 0:  # which no optimiser can leave out
                            break
        return self.scorer(tokens)


class EndlessAfterItsTrial(TokenModel):
    """Not done while the first of two numbers in a file, of type long, is 1."""

    def __init__(self, file: Path) -> None:
        super().__init__()
        self.file = str(file)

    def forward(self, tokens: list[list[str]]) -> list[dict[str, float]]:
        shared = torch.from_file(self.file, True, min(2, 1 + len(tokens)), dtype=torch.long)
        while int(shared[0]) == 1:
            shared[1] += 1  # or the first number would be read once
        return self.scorer(tokens)


class Overflowing(TokenModel):
    """The smallest number divided by -1: the processor raises SIGFPE in libtorch."""

    def __init__(self) -> None:
        super().__init__()
        self.smallest = -(2**63)

    def forward(self, tokens: list[list[str]]) -> list[dict[str, float]]:
        if self.smallest // (-min(1, len(tokens))) == 0:
            tokens = []
        return self.scorer(tokens)


class Greedy(TokenModel):
    """Takes a terabyte."""

    def forward(self, tokens: list[list[str]]) -> list[dict[str, float]]:
        if float(torch.ones(len(tokens) * (1 << 38)).sum()) < 0:
            tokens = []
        return self.scorer(tokens)


class Loud(TokenModel):
    """Prints more than anybody should keep, and answers."""

    def __init__(self) -> None:
        super().__init__()
        self.line = "loud " * 1000

    def forward(self, tokens: list[list[str]]) -> list[dict[str, float]]:
        for _ in range(100):
            print(self.line)
        return self.scorer(tokens)


MODELS: dict[str, Callable[[], TokenModel]] = {
    "endless": Endless,
    "endless_at_a_word": EndlessAtAWord,
    "long_at_a_number": LongAtANumber,
    "overflowing": Overflowing,
    "greedy": Greedy,
    "loud": Loud,
}


def write(name: str, folder: Path) -> Path:
    """The file of one of them."""
    return save(MODELS[name](), folder / f"{name}.pt")
