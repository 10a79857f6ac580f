"""The default sentence encoder: the vectors of sentence-transformers, whatever the batch mates; limits; devices."""

from __future__ import annotations

import asyncio
import random
import threading
import time
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from server.config import Settings
from server.errors import ErrorCode, ModelError
from server.models import kinds
from server.models.capabilities import Capability
from server.models.requests import AS_IT_IS, Reading, RequestContext
from tests.server.waiting import error_of, result
from tests.support.sentences import texts

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

MAX_TOKENS = 256


def context(lane: int = 0) -> RequestContext:
    return RequestContext(lane, time.monotonic_ns() + 60 * 10**9, None)


async def vectors(model: Any, given: Sequence[str]) -> NDArray[np.float32]:
    """All submitted before any is awaited: they share batches."""
    pending = [model.embed(text, AS_IT_IS, context()) for text in given]
    return np.stack([np.frombuffer(await result(each), "<f4") for each in pending])


def least_cosine(one: NDArray[np.float32], other: NDArray[np.float32]) -> float:
    norms = np.linalg.norm(one, axis=1) * np.linalg.norm(other, axis=1)
    return float(((one * other).sum(1) / norms).min())


@pytest.fixture
async def model(encoder: Path) -> AsyncIterator[Any]:
    model = await kinds.load(encoder, Settings(warm_up_tokens=0))
    yield model
    await model.close()


async def test_equals_sentence_transformers_on_200_texts_in_any_order(model: Any, sentence_vectors: Any) -> None:
    given = texts(200)
    wanted = sentence_vectors(given)
    assert least_cosine(await vectors(model, given), wanted) > 0.99999
    order = list(range(len(given)))
    random.Random(3).shuffle(order)
    assert least_cosine(await vectors(model, [given[i] for i in order]), wanted[order]) > 0.99999
    assert model.stats()["batches"] < len(given), "texts shared batches"


async def test_alone_as_among_others(model: Any) -> None:
    given = ["hello", "", "one two three four", "x " * 300, "今日は"]
    together = await vectors(model, given)
    alone = np.concatenate([await vectors(model, [text]) for text in given])
    assert least_cosine(together, alone) > 0.99999


async def test_what_it_says_of_itself(model: Any) -> None:
    assert model.kind == "sentence-encoder"
    assert model.capabilities == (Capability.EMBED, Capability.EMBED_IDS, Capability.TOKENIZE)
    assert model.limits.max_tokens == MAX_TOKENS
    assert (model.dimensions, model.normalized) == (384, True)
    assert model.details["dimensions"] == "384"
    assert model.details["precision"] == "float32"


async def test_a_long_text_is_cut_and_counted_or_refused(model: Any) -> None:
    fits, longer = " ".join(["word"] * (MAX_TOKENS - 2)), " ".join(["word"] * (MAX_TOKENS - 1))
    cut = await vectors(model, [fits, longer])
    assert least_cosine(cut[:1], cut[1:]) > 0.99999
    assert model.stats()["truncated"] == 1
    await result(model.embed(fits, Reading(truncate=False), context()))
    for text in (longer, "word " * 20_000, "語" * 5_000):

        async def refused(text: str = text) -> Any:
            return await model.embed(text, Reading(truncate=False), context())

        error = await error_of(refused())
        assert error.code == ErrorCode.TOO_LARGE
        assert "more than 256 tokens, the model's limit, and truncate is false" in error.message
    assert model.stats()["truncated"] == 1


async def test_a_text_over_the_server_s_limit_of_bytes_is_cut_or_refused(model: Any) -> None:
    for text in ("word " * (1 << 18), "ü " * (1 << 16) + "x"):
        cut = await vectors(model, [text, text[:2000]])
        assert least_cosine(cut[:1], cut[1:]) > 0.99999

        async def refused(text: str = text) -> Any:
            return await model.embed(text, Reading(truncate=False), context())

        error = await error_of(refused())
        assert (error.code, "setting max_message_bytes" in error.message) == (ErrorCode.TOO_LARGE, True)


async def test_a_long_text_without_white_space_does_not_stop_the_loop(
    model: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Tokenised in a thread; its caller may go away meanwhile."""
    text = "語" * 40_000
    wanted = await vectors(model, [text[:1000]])
    encode, tokenising = model._tokenizer.encode, threading.Event()

    def noted(text: str) -> Any:
        tokenising.set()
        tokens = encode(text)
        tokenising.clear()
        return tokens

    monkeypatch.setattr(model._tokenizer, "encode", noted)
    turns = given = 0
    while turns < 10 * (given + 1):  # of a loop that stood still there are one or two for each text
        assert given < 20, f"{turns} turns of the loop in {given} texts"
        pending = asyncio.ensure_future(result(model.embed(text, AS_IT_IS, context())))
        given += 1
        while not pending.done():
            await asyncio.sleep(0.001)
            turns += tokenising.is_set()
        assert least_cosine(np.frombuffer(pending.result(), "<f4")[None], wanted) > 0.99999
    accepted = model.stats()["accepted"]
    abandoned = model.embed(text, AS_IT_IS, context())
    abandoned.abandon()
    await asyncio.sleep(0.2)
    assert model.stats()["accepted"] == accepted


async def test_less_than_the_model_s_limit_where_the_server_says_so(encoder: Path) -> None:
    model = await kinds.load(encoder, Settings(warm_up_tokens=0, max_tokens=8))
    cut = await vectors(model, ["one two three four five six", "one two three four five six seven"])
    assert least_cosine(cut[:1], cut[1:]) > 0.99999
    assert model.limits.max_tokens == 8
    await model.close()


async def test_batches_hold_so_many_tokens(encoder: Path) -> None:
    settings = Settings(warm_up_tokens=0, encoder_batch_tokens=100, hold=12, replicas=1)
    model = await kinds.load(encoder, settings)
    await vectors(model, ["three word text"] * 10 + ["word " * 58, "word " * 90])  # 5 tokens each, 60, 92
    assert model.stats()["batched_tokens"] == 10 * 5 + 60 + 92
    assert model.stats()["batches"] == 3
    await model.close()


async def test_an_encoder_that_an_earlier_version_exported(tmp_path: Path) -> None:
    (tmp_path / "encoder.json").write_text("{}")
    (tmp_path / "model.pt").write_bytes(b"")
    with pytest.raises(ModelError) as caught:
        await kinds.load(tmp_path, Settings())
    assert "serve the folder that it was exported from" in str(caught.value)
    assert "`python scripts/fetch_models.py encoder`" in str(caught.value)


@pytest.mark.parametrize(
    ("device", "reason"),
    [
        ("cuda:7", "there is no device cuda:7 (setting device): "),
        ("cuda", "there is no device cuda (setting device): "),
        ("tpu", "device is 'tpu'; it must be cpu or, for a graphics card, cuda or cuda:N"),
        ("meta", "device is 'meta'; it must be cpu or, for a graphics card, cuda or cuda:N"),
        ("cpu:1", "there is no device cpu:1 (setting device): this machine has 1, from cpu:0"),
    ],
)
async def test_no_such_device(encoder: Path, zoo: Callable[[str], Path], device: str, reason: str) -> None:
    for path in (encoder, zoo("doc_model")):
        with pytest.raises(ModelError) as caught:
            await kinds.load(path, Settings(device=device))
        assert reason in str(caught.value)
