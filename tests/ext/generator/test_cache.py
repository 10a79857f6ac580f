"""The cache of keys and values: beginnings that are known, texts that must wait, and schedules of all kinds."""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.process import memory
from ext import _generator
from tests.support.generators import CONTEXT, Generators, prompts

if TYPE_CHECKING:
    from tests.support.generators import Source

PAGE_BYTES = 2 * 2 * 64 * 4 * 16  # in float32: keys and values of two layers


def test_a_known_beginning_is_not_read_again(source: Source) -> None:
    beginning = prompts()[5][:90]
    with Generators(source) as generators:
        first = generators.tokens([[*beginning, 1]], 20, temperature=1.0)
        before = generators.native.stats()
        assert before["cached_tokens"] == 0
        again = generators.tokens([[*beginning, 1]], 20, temperature=1.0)
        other = generators.tokens([[*beginning, 2]], 20, temperature=1.0)
        after = generators.native.stats()
    with Generators(source) as generators:
        assert other == generators.tokens([[*beginning, 2]], 20, temperature=1.0)
    assert again == first
    assert after["cached_tokens"] == 2 * 80  # whole pages
    assert after["prompt_tokens"] == 3 * 91


def test_what_a_text_has_grown_by_is_known_too(source: Source) -> None:
    """As the next turn of a chat needs it."""
    prompt = prompts()[2]
    with Generators(source) as generators:
        (reply,) = generators.tokens([prompt], 40)
        generators.tokens([[*prompt, *reply, 5]], 4)
        assert generators.native.stats()["cached_tokens"] == (len(prompt) + 40 - 1) // 16 * 16


def test_the_cache_takes_memory_only_where_it_is_written_to(source: Source) -> None:
    """Also where freed memory lies in the process, which must not be made zero for it."""
    freed = [bytearray(1 << 20) for _ in range(64)]
    end = bytearray(1 << 20)
    freed.clear()
    _generator.give_back_memory()
    before = memory(os.getpid()).rss
    with Generators(source, cache_bytes=40 << 20) as generators:
        assert generators.native.pages * PAGE_BYTES > 39 << 20
        assert memory(os.getpid()).rss - before < 20
    del end


def test_a_full_cache_puts_texts_back_and_loses_nothing(source: Source) -> None:
    """Eight texts that grow to 8 pages each share 12: most wait, some begin again, all end as if alone."""
    asked = [prompt[:20] for prompt in prompts()]
    options = {"temperature": 1.0, "seed": 3}
    with Generators(source) as generators:
        wanted = generators.tokens(asked, 100, **options)
        assert generators.native.stats()["put_back"] == 0
    with Generators(source, cache_bytes=12 * PAGE_BYTES, hold=8) as generators:
        assert generators.native.pages == 12
        assert generators.tokens(asked, 100, **options) == wanted
        stats = generators.native.stats()
    assert stats["put_back"] > 0
    assert stats["held_pages"] == 0


def test_a_text_must_fit_the_cache(source: Source) -> None:
    with Generators(source, cache_bytes=3 * PAGE_BYTES) as generators:
        assert generators.native.context == 48
        assert len(generators.tokens([[1]], 47)[0]) == 47
        with pytest.raises(ValueError, match="positions"):
            generators.submit([1], 48)
    with pytest.raises(
        _generator.ModelError, match=r"has 100 bytes \(setting cache_bytes\); this model needs at least"
    ):
        Generators(source, cache_bytes=100)


@settings(max_examples=25, deadline=None)
@given(st.data())
def test_random_schedules(source: Source, shared: Generators, data: st.DataObject) -> None:
    """Prompts with common beginnings, one after the other or at once, some cancelled, in a cache of any size."""
    beginnings = prompts(3)
    asked = []
    for _ in range(data.draw(st.integers(1, 8), "texts")):
        beginning = data.draw(st.sampled_from(beginnings), "beginning")
        shown = beginning[: data.draw(st.integers(1, len(beginning)), "shown")]
        asked.append((shown, data.draw(st.integers(1, CONTEXT - len(shown)), "max_tokens")))
    pages = data.draw(st.integers(8, 24), "pages")
    slots = data.draw(st.integers(1, 4), "slots")
    with Generators(source, slots=slots, cache_bytes=pages * PAGE_BYTES) as generators:
        ids = []
        for prompt, max_tokens in asked:
            ids.append(generators.submit(prompt, max_tokens, temperature=1.0))
            if data.draw(st.booleans(), "now"):
                generators.native.wake()
        cancelled = set()
        for tag, request in enumerate(ids):
            if data.draw(st.integers(0, 4), "cancel") == 0 and generators.native.cancel(request):
                cancelled.add(tag)
        generators.wait(len(asked) - len(cancelled))
        found = {tag: value[1] for tag, (_, value) in generators.outcomes.items()}
        while generators.native.stats()["held_pages"]:
            time.sleep(0.001)  # those of a cancelled text are free after the step
    for tag, (prompt, max_tokens) in enumerate(asked):
        if tag not in cancelled:
            assert found[tag] == shared.tokens([prompt], max_tokens, temperature=1.0)[0]
