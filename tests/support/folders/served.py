"""What the server's own models answer for the same folders, and how far that is from what the libraries answer."""

from __future__ import annotations

import asyncio
import contextlib
import time
from typing import TYPE_CHECKING, Any

import numpy as np

from server.config import Settings
from server.models import kinds, zero_shot
from server.models.requests import Classification, Reading, RequestContext, Tagging
from tests.server.waiting import result
from tests.support import sentences
from tests.support.folders import heads, reference, table

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from server.calls import Pending
    from tests.support.folders.table import Row

    Array = NDArray[np.float32]

TEXTS = 200  # of a row that is basic
FEWER = 40  # of the others, and where each text is several pairs
STRATEGIES = ("none", "simple", "first", "average", "max")
_PATIENCE_NS = 120 * 10**9


def texts_of(row: Row) -> list[str]:
    """Texts of all kinds and lengths; for `scores of pairs` each is asked about another."""
    if row.kind == table.ENTAILMENT:  # the pipeline refuses an empty one
        return sentences.texts(TEXTS)[1 : 1 + FEWER]
    return sentences.texts(TEXTS)[: TEXTS if row.basic else FEWER]


def pairs_of(row: Row) -> list[tuple[str, str]]:
    """Each text with another one, short ones with long ones."""
    texts = texts_of(row)
    return list(zip(texts, reversed(texts), strict=True))


def wanted(row: Row, folder: Path) -> list[Array]:
    """What the library answers, an array for each text: a vector, logits, a score, or a row of them for each token."""
    if row.kind == table.SCORES:
        return list(reference.scores(folder, pairs_of(row)))
    if row.kind == table.TOKEN_CLASSES:
        return _shares_of_tokens(row, folder)
    if row.kind == table.ENTAILMENT:
        answers = reference.zero_shot(folder, texts_of(row), heads.TOPICS, **row.options)
        return [np.array([answer[label] for label in heads.TOPICS], np.float32) for answer in answers]
    ask = {
        table.VECTORS: reference.vectors,
        table.CLASSES: reference.logits,
        table.SPARSE: reference.sparse_vectors,
        table.TOKEN_VECTORS: reference.token_vectors,
    }[row.kind]
    return list(ask(folder, texts_of(row), **row.options))


def _shares_of_tokens(row: Row, folder: Path) -> list[Array]:
    """The score of each label, for each token that is not special."""
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(folder)
    shares_of_texts = []
    for text, logits in zip(texts_of(row), reference.token_logits(folder, texts_of(row)), strict=True):
        special = tokenizer(text, truncation=True, return_special_tokens_mask=True)["special_tokens_mask"]
        shares = np.exp(logits - logits.max(1, keepdims=True))
        shares_of_texts.append((shares / shares.sum(1, keepdims=True))[~np.array(special, bool)])
    return shares_of_texts


@contextlib.asynccontextmanager
async def loaded(folder: Path, precision: str = "float32", **settings: Any) -> AsyncIterator[Any]:
    """The model that the server makes of the folder, until the end of the block."""
    options = {"warm_up_tokens": 0, "replicas": 1, "precision": precision} | settings
    model = await kinds.load(folder, Settings(**options))
    try:
        yield model
    finally:
        await model.close()


async def given(row: Row, model: Any, order: Sequence[int] | None = None, *, together: bool = True) -> list[Array]:
    """What the server's model answers, as `wanted` gives it; of a token only the best label's score, and 0 for others.

    `order`: which texts, in which order. `together`: all are asked before any is awaited, so that they share batches.
    """
    inputs: Sequence[Any] = pairs_of(row) if row.kind == table.SCORES else texts_of(row)
    numbers = range(len(inputs)) if order is None else order
    if not together:
        return [_as_array(row, model, await _result(_ask(row, model, inputs[number]))) for number in numbers]
    requests = [_ask(row, model, inputs[number]) for number in numbers]
    return [_as_array(row, model, answer) for answer in await asyncio.gather(*map(_result, requests))]


async def _result(request: Pending[Any] | list[Pending[Any]]) -> Any:
    if isinstance(request, list):
        return [await result(each) for each in request]
    return await result(request)


def context() -> RequestContext:
    return RequestContext(0, time.monotonic_ns() + _PATIENCE_NS, None)


def _ask(row: Row, model: Any, asked: Any) -> Any:
    """A Pending, or a list of them."""
    if row.kind == table.VECTORS:
        return model.embed(asked, Reading(**row.options), context())
    if row.kind == table.CLASSES:
        return model.predict(asked, Classification(raw_scores=True), context())
    if row.kind == table.TOKEN_CLASSES:
        return model.classify_tokens(asked, Tagging("none", ignore_labels=frozenset()), context())
    if row.kind == table.SCORES:
        return model.score_pair(*asked, True, False, context())
    if row.kind == table.ENTAILMENT:
        hypotheses = zero_shot.hypotheses(heads.TOPICS, "This example is {}.")
        return [model.entail(asked, hypothesis, True, context()) for hypothesis in hypotheses]
    if row.kind == table.SPARSE:
        return model.embed_sparse(asked, Reading(), context())
    return model.embed_tokens(asked, Reading(), context())


def _as_array(row: Row, model: Any, answer: Any) -> Array:
    if row.kind == table.CLASSES:
        return np.array(list(answer.values()), np.float32)
    if row.kind == table.TOKEN_CLASSES:
        labels = model.details["labels"].split(", ")
        best = np.zeros((len(answer), len(labels)), np.float32)
        for place, part in enumerate(answer):
            best[place, labels.index(part.label)] = part.score
        return best
    if row.kind == table.SCORES:
        return np.array([answer], np.float32)
    if row.kind == table.ENTAILMENT:
        scores = zero_shot.scores(heads.TOPICS, answer, row.options.get("multi_label", False), False)
        return np.array([scores[label] for label in heads.TOPICS], np.float32)
    if row.kind == table.SPARSE:
        pairs = np.frombuffer(answer, [("token", "<i4"), ("weight", "<f4")])
        dense = np.zeros(int(model.details["vocabulary"]), np.float32)
        dense[pairs["token"]] = pairs["weight"]
        return dense
    vector = np.frombuffer(answer, np.float32)
    return vector if row.kind == table.VECTORS else vector.reshape(-1, model.dimensions)


# ------------------------------------------------------------------------------------------------------------- errors


def is_of_vectors(kind: str) -> bool:
    """Whether the error is 1 - cosine, and not a difference of numbers."""
    return kind in (table.VECTORS, table.TOKEN_VECTORS)


def error(row: Row, found: Sequence[Array], right: Sequence[Array]) -> float:
    """The largest of all texts: 1 - cosine of vectors, the difference of logits and scores."""
    assert len(found) == len(right)
    if is_of_vectors(row.kind):
        measure = _cosine_error
    else:
        measure = {table.SPARSE: _share, table.TOKEN_CLASSES: _best_difference}.get(row.kind, _difference)
    return max(measure(one, other) for one, other in zip(found, right, strict=True))


def _cosine_error(found: Array, right: Array) -> float:
    """Of rows; a vector of nothing but 0 equals another one."""
    found, right = np.atleast_2d(found).astype(np.float64), np.atleast_2d(right).astype(np.float64)
    if found.shape != right.shape or not np.isfinite(found).all():
        return np.inf
    lengths = np.linalg.norm(found, axis=1) * np.linalg.norm(right, axis=1)
    both_zero = ~found.any(1) & ~right.any(1)
    cosines = np.where(both_zero, 1, (found * right).sum(1) / np.where(lengths == 0, 1, lengths))
    return max(0.0, float((1 - cosines).max(initial=0)))


def _difference(found: Array, right: Array) -> float:
    found, right = np.atleast_1d(found), np.atleast_1d(right)
    if found.shape != right.shape or not np.isfinite(found).all():
        return np.inf
    return float(np.abs(found - right).max(initial=0))


def _share(found: Array, right: Array) -> float:
    """Of what is more than 1: sums over all tokens of a text are large."""
    return _difference(found / np.maximum(1, np.abs(right)), right / np.maximum(1, np.abs(right)))


def _best_difference(found: Array, right: Array) -> float:
    """Of the labels that we found best. Another one that is as good may be the library's best."""
    if found.shape != right.shape or not np.isfinite(found).all():
        return np.inf
    best = found.argmax(1, keepdims=True) if len(found) else np.zeros((0, 1), np.int64)
    ours, theirs = (np.take_along_axis(scores, best, 1)[:, 0] for scores in (found, right))
    return max(_difference(ours, theirs), _difference(theirs, right.max(1, initial=0)))


def label_shortfall(row: Row, found: Sequence[Array], right: Sequence[Array]) -> float:
    """How much less than its own best label the library gives those that we found best, on which a caller acts."""
    if row.kind not in (table.CLASSES, table.ENTAILMENT):
        return 0
    return max(float(theirs.max() - theirs[ours.argmax()]) for ours, theirs in zip(found, right, strict=True))
