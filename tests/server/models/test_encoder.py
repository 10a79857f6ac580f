"""Sentence encoders: the vectors of sentence-transformers, whatever the batch mates; limits; broken folders."""

from __future__ import annotations

import asyncio
import json
import os
import random
import shutil
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


async def test_what_it_says_of_itself(model: Any, encoder: Path) -> None:
    assert (model.kind, model.capabilities) == ("sentence-encoder", (Capability.EMBED,))
    assert model.limits.max_tokens == MAX_TOKENS
    about = json.loads((encoder / "encoder.json").read_text())
    assert about["cosine_error"] < 1e-6
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
    whole, tokenising = model._tokenizer.whole, threading.Event()

    def noted(text: str) -> Any:
        tokenising.set()
        tokens = whole(text)
        tokenising.clear()
        return tokens

    monkeypatch.setattr(model._tokenizer, "whole", noted)
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


# ---------------------------------------------------------------------------------------------------- broken folders


def rewrite(path: Path, content: bytes) -> None:
    """Not in place: the original has the same inode."""
    path.unlink()
    path.write_bytes(content)


def cut_half(path: Path) -> None:
    rewrite(path, path.read_bytes()[: path.stat().st_size // 2])


def change(name: str, value: object) -> Callable[[Path], None]:
    def apply(folder: Path) -> None:
        path = folder / "encoder.json"
        rewrite(path, json.dumps(json.loads(path.read_bytes()) | {name: value}).encode())

    return apply


@pytest.mark.parametrize(
    ("harm", "reason"),
    [
        (lambda folder: (folder / "tokenizer.json").unlink(), "tokenizer.json: No such file"),
        (lambda folder: cut_half(folder / "tokenizer.json"), "the tokenizer cannot be read: "),
        (lambda folder: rewrite(folder / "tokenizer.json", b"\xff"), "tokenizer.json: "),
        (lambda folder: rewrite(folder / "encoder.json", b"[" * 100_000), "encoder.json: "),
        (lambda folder: (folder / "model.pt").unlink(), "no TorchScript file: "),
        (lambda folder: cut_half(folder / "model.pt"), "no TorchScript file: "),
        (lambda folder: rewrite(folder / "model.pt", b""), "no TorchScript file: "),
        (lambda folder: rewrite(folder / "encoder.json", b"[]"), "encoder.json: "),
        (lambda folder: rewrite(folder / "encoder.json", b"{"), "encoder.json: "),
        (lambda folder: rewrite(folder / "encoder.json", b"\xff"), "encoder.json: "),
        (change("format", 3), "encoder.json: format: "),
        (change("max_tokens", "many"), "encoder.json: max_tokens: "),
        (change("max_tokens", 2), "2 tokens leave no room for a text"),
        (change("max_tokens", 513), "the model fails on 1 texts of 513 tokens: "),
        (change("vocabulary", 30523), "the model fails on 1 texts"),
        (change("vocabulary", 100), "tokenizer.json has 30522 tokens, the model 100"),
        (change("dimensions", 385), "model.pt gives 384 numbers a text, encoder.json says 385"),
    ],
)
async def test_a_broken_folder_is_refused(
    encoder: Path, tmp_path: Path, harm: Callable[[Path], object], reason: str
) -> None:
    folder = tmp_path / "encoder"
    shutil.copytree(encoder, folder, copy_function=os.link)
    harm(folder)
    with pytest.raises(ModelError) as caught:
        await kinds.load(folder, Settings(warm_up_tokens=0))
    assert str(caught.value).startswith(f"{folder}: ")
    assert reason in str(caught.value)


async def test_a_classifier_is_no_encoder(encoder: Path, tmp_path: Path, zoo: Callable[[str], Path]) -> None:
    folder = tmp_path / "encoder"
    shutil.copytree(encoder, folder, copy_function=os.link)
    rewrite(folder / "model.pt", zoo("doc_model").read_bytes())
    with pytest.raises(ModelError, match="forward does not take token ids"):
        await kinds.load(folder, Settings())


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
