"""One method for each RPC, with real models and without a network."""

from __future__ import annotations

import asyncio
import inspect
import time
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from predictor import Predictor
from predictor.ttypes import BatchRequest, ClassifyOptions, GenerationOptions, Lane, RequestOptions, ServerStatus

from server.config import Settings
from server.errors import ErrorCode
from server.models.registry import Registry
from server.rpc.handler import Handler
from tests.server.waiting import error_of, result

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from pathlib import Path

STATUS = ServerStatus("1.2.3", 4.5, True, [], 6, [])


class Harness:
    """A handler and its registry."""

    def __init__(self, **settings: Any) -> None:
        self.settings = Settings(warm_up_tokens=0, replicas=1, **settings)
        self.registry = Registry(self.settings)
        self.handler = Handler(self.registry, self.settings, lambda: STATUS)


@pytest.fixture
async def harness(zoo: Callable[[str], Path]) -> AsyncIterator[Harness]:
    """A classifier and an embedder."""
    harness = Harness()
    await harness.registry.load("labels", str(zoo("doc_model")))
    await harness.registry.load("vectors", str(zoo("embedding_tensor")))
    yield harness
    await harness.registry.close()


def test_every_method_of_the_contract_is_there() -> None:
    """With the contract's arguments, in its order."""
    for name, declared in inspect.getmembers(Predictor.Iface, inspect.isfunction):
        method = getattr(Handler, name)
        assert inspect.iscoroutinefunction(method), name
        assert list(inspect.signature(method).parameters) == list(inspect.signature(declared).parameters), name


async def test_predict(harness: Harness) -> None:
    alone = await result(harness.handler.predict("set an alarm", None))
    assert len(alone) == 3
    named = await result(harness.handler.predict("set an alarm", RequestOptions("labels", 60_000, Lane.BULK, "id")))
    many = await result(harness.handler.predict_batch(["set an alarm", "snooze"], None))
    assert named == alone
    assert many[0] == pytest.approx(alone, abs=1e-5)
    assert many[1] != many[0]


async def test_vectors(harness: Harness) -> None:
    alone = await result(harness.handler.embed("set an alarm", None, None))
    many = await result(harness.handler.embed_batch(["set an alarm", "snooze"], None, None))
    matrix = await result(harness.handler.embed_matrix(["set an alarm", "snooze"], None, None))
    assert many[0] == pytest.approx(alone, abs=1e-6)
    assert (matrix.rows, matrix.columns) == (2, len(alone)) == (2, 16)
    assert matrix.tokens is None, "a module does not tell"
    values = np.frombuffer(matrix.values, "<f4").reshape(2, 16)
    assert values == pytest.approx(np.array(many), abs=1e-6)


async def test_vectors_that_take_too_much_are_refused(harness: Harness) -> None:
    """16 numbers a text: 64 bytes in a matrix, 133 in lists."""
    small = Handler(harness.registry, harness.settings.model_copy(update={"message_bytes": 1024}), lambda: STATUS)
    assert len(await result(small.embed_batch(["a"] * 7, None, None))) == 7
    assert (await result(small.embed_matrix(["a"] * 16, None, None))).rows == 16
    error = await error_of(small.embed_batch(["a"] * 8, None, None))
    assert (error.code, error.message) == (
        ErrorCode.TOO_LARGE,
        "texts: 8 vectors take 1064 bytes, over the limit of 1024; ask for fewer at a time; embed_matrix takes half as"
        " many (setting message_bytes)",
    )
    error = await error_of(small.embed_matrix(["a"] * 17, None, None))
    assert (error.field, error.setting) == ("texts", "message_bytes")
    assert error.message.startswith("texts: 17 vectors take 1088 bytes, over the limit of 1024")


async def test_scores_that_take_too_much_are_refused_before_any_is_computed(harness: Harness) -> None:
    """A model's labels are known, and so is what an answer takes."""
    labels = list(await result(harness.handler.predict("a", None)))
    size = 6 + sum(len(label) + 12 for label in labels)
    small = Handler(harness.registry, harness.settings.model_copy(update={"message_bytes": 4096}), lambda: STATUS)
    most = 4096 // size
    assert len(await result(small.predict_batch(["a"] * most, None))) == most
    accepted = harness.registry.statuses()[0].accepted
    error = await error_of(small.predict_batch(["a"] * (most + 1), None))
    assert (error.code, error.field, error.setting) == (ErrorCode.TOO_LARGE, "docs", "message_bytes")
    assert error.message == (
        f"docs: {most + 1} answers take {size * (most + 1)} bytes, over the limit of 4096; ask for fewer at a time"
        " (setting message_bytes)"
    )
    error = await error_of(small.classify(["a"] * (most + 1), None, None))
    assert (error.code, error.field, error.setting) == (ErrorCode.TOO_LARGE, "texts", "message_bytes")
    assert harness.registry.statuses()[0].accepted == accepted
    one = ClassifyOptions(top_k=1)
    assert len(await result(small.classify(["a"] * (most + 1), None, one))) == most + 1


async def test_no_texts_give_no_vectors(harness: Harness) -> None:
    matrix = await result(harness.handler.embed_matrix([], None, None))
    assert (matrix.rows, matrix.columns, matrix.values, matrix.tokens) == (0, 0, b"", 0)
    assert await result(harness.handler.embed_batch([], None, None)) == []
    assert await result(harness.handler.predict_batch([], None)) == []


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        (RequestOptions(timeout_ms=0), "options.timeout_ms: must lie between 1 and 600,000, got 0"),
        (RequestOptions(timeout_ms=600_001), "(setting max_timeout_ms)"),
        (RequestOptions(lane=-1), "options.lane: must be 0 (INTERACTIVE) or 1 (BULK), got -1"),
        (RequestOptions(request_id="x" * 129), "options.request_id: must have at most 128 characters, got 129"),
    ],
)
async def test_options_out_of_range(harness: Harness, options: RequestOptions, complaint: str) -> None:
    for call in (
        harness.handler.predict("a", options),
        harness.handler.predict_batch(["a"], options),
        harness.handler.embed("a", options, None),
        harness.handler.embed_matrix(["a"], options, None),
    ):
        error = await error_of(call)
        assert error.code == ErrorCode.INVALID_ARGUMENT
        assert complaint in error.message


async def test_the_deadline_is_the_callers_or_the_settings(zoo: Callable[[str], Path]) -> None:
    """The queue holds everything, so that only the deadline ends a call."""
    harness = Harness(hold=100, timeout_ms=30)
    await harness.registry.load("labels", str(zoo("doc_model")))
    for options, least_ms in ((None, 30), (RequestOptions(), 30), (RequestOptions(timeout_ms=60), 60)):
        begin = time.monotonic()
        error = await error_of(harness.handler.predict("a", options))
        assert error.code == ErrorCode.DEADLINE_EXCEEDED
        assert time.monotonic() - begin >= least_ms / 1000
    await harness.registry.close()


async def test_methods_without_a_model_say_which_to_load(harness: Harness) -> None:
    for call, wanted in (
        (harness.handler.reply("a", None, None), "Smart Reply"),
        (harness.handler.reply_batch(["a"], None, None), "Smart Reply"),
        (harness.handler.reply_conversation(["a"], None, None), "Smart Reply"),
        (harness.handler.generate("a", GenerationOptions(), None), "text generator"),
        (harness.handler.generate_begin("a", GenerationOptions(), None), "text generator"),
    ):
        error = await error_of(call)
        assert error.code == ErrorCode.NOT_FOUND
        assert wanted in error.message


async def test_streams_and_jobs_that_do_not_exist(harness: Harness) -> None:
    for call in (
        harness.handler.generate_next("no-such-stream", 0),
        harness.handler.generate_cancel("no-such-stream"),
        harness.handler.get_batch("no-such-job"),
        harness.handler.cancel_batch("no-such-job"),
        harness.handler.resume_batch("no-such-job"),
    ):
        error = await error_of(call)
        assert error.code == ErrorCode.NOT_FOUND
        assert "no-such-" in error.message
    for limit in (0, -1, 1001):
        error = await error_of(harness.handler.list_batches(limit))
        assert error.code == ErrorCode.INVALID_ARGUMENT
        assert error.message == f"limit: must lie between 1 and 1000, got {limit}"
    assert await result(harness.handler.list_batches(1)) == []
    error = await error_of(harness.handler.submit_batch(BatchRequest("predict", None, "in", "out")))
    assert error.code == ErrorCode.UNAVAILABLE


async def test_status_and_models(harness: Harness) -> None:
    assert await result(harness.handler.status()) is STATUS
    assert [info.name for info in await result(harness.handler.list_models())] == ["labels", "vectors"]


async def test_loading_over_rpc(zoo: Callable[[str], Path]) -> None:
    off = Harness()
    for call in (off.handler.load_model("a", "b"), off.handler.unload_model("a")):
        error = await error_of(call)
        assert error.code == ErrorCode.INVALID_ARGUMENT
        assert "model_root" in error.message

    on = Harness(model_root=zoo("doc_model").parent)
    info = await result(on.handler.load_model("loaded", "doc_model.pt"))
    assert info.name == "loaded"
    assert await result(on.handler.predict("a", RequestOptions(model="loaded")))
    await result(on.handler.unload_model("loaded"))
    assert on.registry.infos() == []


async def test_a_caller_that_goes_away_does_not_stop_a_load(zoo: Callable[[str], Path]) -> None:
    harness = Harness(model_root=zoo("doc_model").parent)
    load = harness.handler.load_model("loaded", "doc_model.pt")
    awaited = load.send(None)  # as far as its first wait
    awaited._asyncio_future_blocking = False
    load.close()
    info = await result(harness.handler.load_model("other", "doc_model.pt"))
    assert info.name == "other"

    async def both_are_there() -> None:  # they are tried at the same time, and either may be the first
        while {info.name for info in harness.registry.infos()} != {"loaded", "other"}:  # noqa: ASYNC110
            await asyncio.sleep(0.01)

    await asyncio.wait_for(both_are_there(), 60)
    await harness.registry.close()
