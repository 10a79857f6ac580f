"""The Smart Reply model: what its queue, its workers and its limits add to the interpreter."""

from __future__ import annotations

import asyncio
import gc
import random
import re
import time
from typing import TYPE_CHECKING, Any

import pytest
from predictor.ttypes import ReplyOptions, RequestOptions, ServerStatus

from ext import _smart_reply
from server.config import Settings
from server.errors import ErrorCode, ModelError
from server.models import kinds
from server.models.capabilities import Capability
from server.models.registry import Registry
from server.models.requests import ReplyFilter, RequestContext
from server.models.smart_reply_engine import SmartReplyInterpreter, best
from server.rpc.handler import Handler
from tests.ext.smart_reply.test_broken_models import BROKEN
from tests.server.waiting import error_of, result
from tests.support.smart_reply_models import HELLO, google_model, small_parts

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from server.models.smart_reply import SmartReplyModel

ALL = ReplyFilter()
WORDS = "hello thanks you me see tomorrow at the station no problem how are you? great! ok. late, sorry"


def context(timeout_s: float = 30) -> RequestContext:
    return RequestContext(0, time.monotonic_ns() + int(timeout_s * 1e9), None)


def messages_of_any_length(count: int) -> list[str]:
    """One to forty words, some in segments."""
    draw = random.Random(count)
    words = WORDS.split()
    return [" ".join(draw.choices(words, k=draw.randint(1, 40))) for _ in range(count)]


async def loaded(**settings: Any) -> SmartReplyModel:
    model: Any = await kinds.load(google_model(), Settings(**settings))
    return model


async def asked(model: SmartReplyModel, messages: list[str], timeout_s: float = 30) -> dict[str, float]:
    """As a handler's method asks: refusals come to whoever awaits, too."""
    return await model.reply(messages, ALL, context(timeout_s))


@pytest.fixture(scope="module")
def interpreter() -> SmartReplyInterpreter:
    return SmartReplyInterpreter(google_model())


@pytest.fixture
async def model() -> AsyncIterator[SmartReplyModel]:
    made = await loaded(replicas=2)
    yield made
    await made.close()


async def test_hello_gives_the_published_result_best_first(model: SmartReplyModel) -> None:
    replies = await result(model.reply(["Hello"], ALL, context()))
    assert replies == HELLO
    assert list(replies) == sorted(HELLO, key=lambda reply: -HELLO[reply])
    assert (model.kind, model.capabilities) == ("smart-reply", (Capability.REPLY,))


@pytest.mark.parametrize(
    "reply_filter",
    [
        ReplyFilter(max_replies=2),
        ReplyFilter(threshold=0.5),
        ReplyFilter(threshold=HELLO["Sending now"]),
        ReplyFilter(4, 1.1),
        ReplyFilter(1000, 99),
    ],
)
async def test_selection_cuts_what_the_interpreter_gives(model: SmartReplyModel, reply_filter: ReplyFilter) -> None:
    wanted = best(HELLO, None, None)
    wanted = best(dict(sorted(wanted.items(), key=lambda pair: -pair[1])), *reply_filter)
    assert list((await result(model.reply(["Hello"], reply_filter, context()))).items()) == list(wanted.items())


async def test_a_conversation_is_one_map_with_summed_scores(
    model: SmartReplyModel, interpreter: SmartReplyInterpreter
) -> None:
    conversation = ["Hello", "How are you?", "Hello"]
    assert await result(model.reply(conversation, ALL, context())) == interpreter.merged_replies(conversation)
    assert await result(model.reply([], ALL, context())) == {}


@pytest.mark.parametrize("replicas", [1, 2])
async def test_replies_depend_neither_on_batch_mates_nor_on_order(
    replicas: int, interpreter: SmartReplyInterpreter
) -> None:
    """Forced batches of up to 16, each time with others; every message with a reply_filter of its own."""
    model = await loaded(replicas=replicas, hold=64, batch_items=16)
    messages = messages_of_any_length(64)
    wanted = {message: interpreter.replies(message) for message in messages}
    for order in (messages, messages[::-1], random.Random(1).sample(messages, 64)):
        pending = [model.reply([text], ReplyFilter(1 + i % 7), context()) for i, text in enumerate(order)]
        answers = [await result(each) for each in pending]
        assert answers == [best(wanted[text], 1 + i % 7, None) for i, text in enumerate(order)]
    stats = model.stats()
    assert (stats["completed"], stats["batches"]) == (192, 12)
    await model.close()


async def test_a_message_over_the_limit_is_refused_by_bytes() -> None:
    model = await loaded(replicas=1, max_message_bytes=20)
    await result(model.reply(["x" * 20], ALL, context()))
    await result(model.reply(["é" * 10], ALL, context()))
    await result(model.reply(["x" * 9, "y" * 10], ALL, context()))
    for messages, has in (
        (["x" * 21], "the message has 21 bytes"),
        (["é" * 10 + "x"], "the message has 21 bytes"),
        (["x" * 10, "y" * 10], "the messages of a conversation together have 21 bytes"),
        ([""] * 22, "the messages of a conversation together have 21 bytes"),
    ):
        error = await error_of(asked(model, messages))
        assert error.code == ErrorCode.TOO_LARGE
        assert error.message == f"{has}, over the limit of 20 (setting max_message_bytes)"
    await model.close()


async def test_cost_is_one_token_and_one_for_every_16_bytes() -> None:
    """More is held than is ever sent, so that no worker takes any of it meanwhile."""
    model = await loaded(replicas=1, hold=9, queue_tokens=20, max_message_bytes=160)
    pending = []
    for text, waiting in (("", 1), ("x" * 15, 2), ("x" * 16, 4), ("x" * 160, 15)):
        pending.append(model.reply([text], ALL, context()))
        assert model.stats()["waiting_tokens"] == waiting
    full = await error_of(asked(model, ["x" * 80]))
    assert (full.code, full.setting) == (ErrorCode.OVERLOADED, "queue_tokens")
    pending.append(model.reply(["x" * 79], ALL, context()))
    assert model.stats()["waiting_tokens"] == 20
    closing = asyncio.create_task(model.close())
    for each in pending:
        await result(each)
    await closing
    by_default = await loaded(replicas=1)
    assert by_default.limits.max_tokens == 1 + (1 << 17) // 16
    await by_default.close()


async def test_settings_that_do_not_fit_together_are_refused_at_load() -> None:
    with pytest.raises(ModelError, match=r"max_message_bytes \(131072\) costs 8193 tokens.*queue_tokens \(8192\)"):
        await loaded(queue_tokens=8192)
    with pytest.raises(ModelError, match="hold must be at most queue_items"):
        await loaded(hold=5000)


@pytest.mark.parametrize("name", BROKEN)
async def test_a_broken_model_is_refused_at_load_by_its_file(name: str, tmp_path: Path) -> None:
    """Those that are no Smart Reply graph at all are tried as other graphs, and refused as such."""
    path = tmp_path / "broken.tflite"
    path.write_bytes(BROKEN[name][0]())
    with pytest.raises(ModelError) as caught:
        await kinds.load(path, Settings())
    assert str(caught.value).startswith(f"{path}: ")
    if BROKEN[name][1] != "no Smart Reply graph":
        assert re.search(BROKEN[name][1], str(caught.value))


async def test_what_was_accepted_is_answered_before_the_end(interpreter: SmartReplyInterpreter) -> None:
    model = await loaded(replicas=2, hold=10)
    messages = messages_of_any_length(9)
    pending = [model.reply([text], ALL, context()) for text in messages]
    closing = asyncio.create_task(model.close())
    assert [await result(each) for each in pending] == [interpreter.replies(text) for text in messages]
    await closing


async def test_a_deadline_ends_what_waits() -> None:
    model = await loaded(replicas=1, hold=2)
    error = await error_of(asked(model, ["Hello"], 0.03))
    assert error.code == ErrorCode.DEADLINE_EXCEEDED
    await model.close()


class Native:
    """The engine without an event loop."""

    def __init__(self, **settings: Any) -> None:
        self.model = _smart_reply.Model(_smart_reply.ModelFile.copied(small_parts().graph()))
        self.engine = _smart_reply.SmartReplyEngine(self.model, max_tokens=10_000, **{"workers": 2} | settings)

    def submit(self, message: str) -> int:
        return self.engine.submit([message], None, None, 1, 0, time.monotonic_ns() + 10**10, message)

    def run_at_once(self, message: str) -> dict[str, float]:
        """Submits until it is run by wake(): a worker that has only just started takes what waits at that moment."""
        for _ in range(1000):
            self.submit(message)
            if self.engine.wake():
                return self.answer(message)
            self.answer(message)
        pytest.fail("wake() never ran a lone quick message")

    def answer(self, message: str) -> dict[str, float]:
        """The replies to the only message under way, by whomever it was run."""
        for _ in range(10_000):
            if outcomes := self.engine.results():
                break
            time.sleep(0.001)
        ((tag, status, replies),) = outcomes
        assert (tag, status) == (message, 0)
        return dict(replies)


def test_a_lone_quick_message_is_run_by_its_submitter_and_a_long_one_is_not() -> None:
    native = Native(inline_us=100_000)
    assert native.run_at_once("Hello") == SmartReplyInterpreter(small_parts().graph()).replies("Hello")
    native.submit("no. " * 20_000)
    assert not native.engine.wake()
    native.engine.close()


def test_without_time_inline_every_message_needs_a_worker() -> None:
    native = Native(inline_us=0)
    native.submit("Hello")
    assert not native.engine.wake()
    native.engine.close()


def test_an_engine_keeps_its_model_as_long_as_it_lives() -> None:
    native = Native()
    del native.model
    gc.collect()
    native.submit("Hello")
    native.engine.wake()
    assert native.answer("Hello") == SmartReplyInterpreter(small_parts().graph()).replies("Hello")
    native.engine.close()


def test_settings_out_of_range_are_named() -> None:
    with pytest.raises(ValueError, match="batch_items must be 1 to 65536"):
        Native(batch_items=0)
    with pytest.raises(TypeError, match="unknown setting 'bach_items'"):
        Native(bach_items=1)
    with pytest.raises(ValueError, match="at least one worker"):
        Native(workers=0)


def test_a_closed_engine_says_so() -> None:
    native = Native()
    native.engine.close()
    for call in (native.engine.wake, native.engine.results, native.engine.stats, lambda: native.submit("a")):
        with pytest.raises(RuntimeError, match="closed"):
            call()


# ---------------------------------------------------------------------------------------------------------- the RPCs


@pytest.fixture
async def handler() -> AsyncIterator[Handler]:
    settings = Settings(replicas=1, max_message_bytes=1000)
    registry = Registry(settings)
    await registry.load("replies", str(google_model()))
    yield Handler(registry, settings, lambda: ServerStatus("", 0.0, True, [], 0, []))
    await registry.close()


async def test_reply_methods(handler: Handler, interpreter: SmartReplyInterpreter) -> None:
    texts = ["Hello", "See you. Thanks!", ""]
    assert await result(handler.reply("Hello", None, None)) == HELLO
    assert await result(handler.reply_batch(texts, None, None)) == interpreter.replies_many(texts)
    assert await result(handler.reply_conversation(texts, None, None)) == interpreter.merged_replies(texts)
    two = ReplyOptions(max_replies=2, threshold=0.5)
    named = RequestOptions(model="replies", timeout_ms=30_000)
    assert list(await result(handler.reply("Hello", named, two))) == ["How are you sir?", "I do not understand"]
    assert [len(each) for each in await result(handler.reply_batch(["Hello"] * 3, named, two))] == [2, 2, 2]
    assert len(await result(handler.reply_conversation(texts, named, two))) == 2
    assert await result(handler.reply_batch([], None, None)) == []


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (ReplyOptions(max_replies=0), "reply_options.max_replies: must lie between 1 and 1000, got 0"),
        (ReplyOptions(max_replies=1001), "reply_options.max_replies: must lie between 1 and 1000, got 1001"),
        (ReplyOptions(max_replies=-(2**31)), "reply_options.max_replies: must lie between 1 and 1000, got -2147483648"),
        (ReplyOptions(threshold=float("nan")), "reply_options.threshold: must be a finite number, got nan"),
        (ReplyOptions(threshold=float("-inf")), "reply_options.threshold: must be a finite number, got -inf"),
    ],
)
async def test_options_out_of_range_are_refused_by_every_method(
    handler: Handler, options: ReplyOptions, message: str
) -> None:
    for call in (
        handler.reply("Hello", None, options),
        handler.reply_batch(["Hello"], None, options),
        handler.reply_conversation(["Hello"], None, options),
    ):
        error = await error_of(call)
        assert error.code == ErrorCode.INVALID_ARGUMENT
        assert error.message.startswith(message)


async def test_a_message_that_is_too_large_is_named_by_its_index(handler: Handler) -> None:
    error = await error_of(handler.reply_batch(["a", "b", "x" * 1001], None, None))
    assert error.code == ErrorCode.TOO_LARGE
    assert error.message == (
        "messages[2]: the message has 1001 bytes, over the limit of 1000 (setting max_message_bytes)"
    )
