"""What is asked of an engine. Times are seconds from when all requests are there; texts are greedy and do not end."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, NamedTuple, Protocol

if TYPE_CHECKING:
    from collections.abc import Sequence

Tokens = list[int]


class Gaps(NamedTuple):
    """Seconds between two tokens of a text that grows."""

    usual: float
    beside: list[float]
    """While the prompt of another is read, one after the other."""
    alone: list[float]
    """For as long after that."""


def differences(times: Sequence[float]) -> list[float]:
    """Between each time and the next."""
    return [after - before for before, after in itertools.pairwise(times)]


class Engine(Protocol):
    """One engine with one model in one precision."""

    name: str

    def texts(self, prompts: Sequence[Tokens], count: int) -> tuple[list[Tokens], float]:
        """So many new tokens of each, all at a time; and when the last one was there."""

    def close(self) -> None:
        """Free the memory."""


class Server(Engine, Protocol):
    """One that requests join and leave while it runs."""

    def first_tokens(self, prompts: Sequence[Tokens], count: int) -> list[float]:
        """When each text had its first token, sorted; each grows on to `count`."""

    def gaps(self, text: Tokens, usual: int, other: Tokens) -> Gaps:
        """Of a text that grows by `usual` tokens before another prompt comes, and on after it."""
