"""Our engine in this process, asked as the server asks it."""

from __future__ import annotations

import itertools
import select
import time
from statistics import median
from typing import TYPE_CHECKING

from benchmarks.language_models import models
from benchmarks.language_models.engines import Gaps, Tokens, differences
from ext._batching import Lane
from ext._generator import TextGenerator
from server.models.folder.weights import Weights

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

CACHE = 1 << 30
NEVER = 2**63 - 1
PATIENCE_S = 60


class Ours:
    """A `Server`."""

    name = "ours"

    def __init__(self, shape: str, precision: str, threads: int, slots: int) -> None:
        weights = Weights()
        weights.add(models.folder_of(shape))
        config = models.config_of(shape)
        self._native = TextGenerator(
            config,
            weights.files,
            weights.tensors,
            [b"%d " % token for token in range(config["vocab_size"])],
            [],
            precision=precision,
            threads=threads,
            slots=slots,
            cache_bytes=CACHE,
            max_tokens=models.CONTEXT,
        )

    def texts(self, prompts: Sequence[Tokens], count: int) -> tuple[list[Tokens], float]:
        """See Engine."""
        begin = time.perf_counter()
        for number, tokens in enumerate(prompts):
            self._submit(tokens, count, number)
        found: dict[int, Tokens] = {}
        news = self._news()
        while len(found) < len(prompts):
            end, done, _ = next(news)
            found |= {number: generated for number, _, (_, generated, _, _) in done}
        return [found[number] for number in range(len(prompts))], end - begin

    def first_tokens(self, prompts: Sequence[Tokens], count: int) -> list[float]:
        """See Server."""
        begin = time.perf_counter()
        for number, tokens in enumerate(prompts):
            self._submit(tokens, count, number, streamed=True)
        first: dict[int, float] = {}
        ended = 0
        for now, done, grown in self._news():
            for text in grown:
                first.setdefault(text, now - begin)
            ended += len(done)
            if ended == len(prompts):
                break
        return sorted(first.values())

    def gaps(self, text: Tokens, usual: int, other: Tokens) -> Gaps:
        """See Server."""
        text_id = self._submit(text, models.CONTEXT - len(text), 0, streamed=True)
        news = self._news()
        times = [now for now, _, grown in itertools.islice(news, usual) if grown]
        expected = median(differences(times))
        self._submit(other, 1, 1)
        times = times[-1:]
        for now, done, grown in news:
            if grown:
                times.append(now)
            if done:
                break
        alone = times[-1:]
        while alone[-1] - times[-1] < times[-1] - times[0]:
            now, done, grown = next(news)
            if done:
                break
            if grown:
                alone.append(now)
        self._native.cancel(text_id)
        return Gaps(expected, differences(times), differences(alone))

    def _submit(self, tokens: Tokens, count: int, tag: int, *, streamed: bool = False) -> int:
        options = {"max_tokens": count, "temperature": 0.0, "streamed": streamed}
        return self._native.submit(tokens, options, int(Lane.INTERACTIVE), NEVER, tag)

    def _news(self) -> Iterator[tuple[float, Sequence[tuple[int, int, tuple[str, Tokens, int, object]]], list[int]]]:
        """(time, texts that are done, ids of those that have grown), whenever there is something."""
        self._native.wake()
        while True:
            select.select([self._native.fd], [], [], PATIENCE_S)
            done = self._native.results()
            grown = [text for text, *_ in self._native.progress()]
            yield time.perf_counter(), done, grown

    def close(self) -> None:
        """See Engine."""
        self._native.close()
