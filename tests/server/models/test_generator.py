"""A generator on the event loop: what its callers get while it is unloaded, or beside one of them that fails."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any

import pytest
from structlog.testing import capture_logs

from server.config import Settings
from server.errors import ErrorCode
from server.models import kinds
from server.models.requests import RequestContext, Sampling
from tests.server.waiting import error_of, result

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

GREEDY = Sampling(max_tokens=40, temperature=0.0, top_k=0, top_p=1.0, repetition_penalty=1.0, stop=(), seed=1)
PROMPT = "The harbour"


def context() -> RequestContext:
    return RequestContext(0, time.monotonic_ns() + 60 * 10**9, None)


@pytest.fixture
async def model(slow_generator: Path) -> AsyncIterator[Any]:
    model = await kinds.load(slow_generator, Settings())
    yield model
    await model.close()


def wait_until_idle(model: Any) -> None:
    """Without the event loop, which hears of nothing that has been made meanwhile."""
    end = time.monotonic() + 30
    while model.stats()["waiting"] + model.stats()["running"]:
        assert time.monotonic() < end, "the text never ends"
        time.sleep(0.001)


async def test_a_streamed_text_is_whole_though_its_model_is_unloaded(slow_generator: Path) -> None:
    model: Any = await kinds.load(slow_generator, Settings())
    tokens = await result(model.prompt_tokens(PROMPT, GREEDY))
    whole = (await result(model.generate(tokens, GREEDY, context()))).text
    parts: list[str] = []
    has_begun = asyncio.Event()

    def on_text(text: str, *_: object) -> None:
        parts.append(text)
        has_begun.set()

    streamed = asyncio.ensure_future(result(model.generate(tokens, GREEDY, context(), on_text)))
    await has_begun.wait()
    wait_until_idle(model)
    await model.close()
    assert "".join(parts) + (await streamed).text == whole


async def test_a_prompt_that_a_thread_tokenises_is_answered_though_its_model_is_unloaded(slow_generator: Path) -> None:
    model: Any = await kinds.load(slow_generator, Settings())

    async def ask() -> Any:
        tokens = await model.prompt_tokens("word " * 110, GREEDY)
        return await model.generate(tokens, GREEDY, context())

    asked = asyncio.ensure_future(result(ask()))
    await asyncio.sleep(0)
    await model.close()
    assert (await asked).token_count == GREEDY.max_tokens


async def test_after_the_end_it_is_unavailable(slow_generator: Path) -> None:
    model: Any = await kinds.load(slow_generator, Settings())
    await model.close()
    assert (await error_of(model.generate([1], GREEDY, context()))).code == ErrorCode.UNAVAILABLE
    assert model.stats() == {}


async def test_a_listener_that_fails_is_its_own_trouble(model: Any) -> None:
    def stumble(*_: object) -> None:
        raise ZeroDivisionError("in the caller's code")

    tokens = await result(model.prompt_tokens(PROMPT, GREEDY))
    with capture_logs() as entries:
        texts = [
            asyncio.ensure_future(result(model.generate(tokens, GREEDY, context(), listener)))
            for listener in (stumble, None)
        ]
        done = [await text for text in texts]
    assert [text.token_count for text in done] == [GREEDY.max_tokens] * 2
    assert entries
