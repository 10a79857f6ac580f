"""More load than the model can take: every request gets an answer, and afterwards all is as before."""

from __future__ import annotations

import statistics
import threading
import time
from typing import TYPE_CHECKING

import pytest
from predictor.ttypes import ErrorCode, PredictionError

from tests.e2e.load import at_once
from tests.support.service import Service

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

CONNECTIONS = 256
REQUESTS_PER_CONNECTION = 5
QUEUE_ITEMS = 32
# 20 ms a batch of 8: 400 documents a second at most.
QUEUE = (f"--queue-items={QUEUE_ITEMS}", "--replicas=1", "--batch-items=8")
# No probe and no warm-up, which only cost time here.
QUICK_START = ("--warm-up-tokens=0", "--equal-lengths=never")


def test_every_request_gets_scores_or_overloaded(zoo: Callable[[str], Path]) -> None:
    with Service(zoo("slow_20ms"), "--no-rest", *QUEUE, *QUICK_START) as service:
        before_s = one_request_s(service)
        depths: list[int] = []
        loaded = threading.Event()
        watcher = threading.Thread(target=watch_queue, args=(service, loaded, depths))
        watcher.start()
        try:
            results = at_once(CONNECTIONS, lambda _: ask(service))
        finally:
            loaded.set()
            watcher.join()
        after_s = one_request_s(service)
        status = service.model_status()

    answers = [answer for result in results for answer in result]
    refusals = [answer for answer in answers if isinstance(answer, PredictionError)]
    scores = [answer for answer in answers if not isinstance(answer, PredictionError)]
    assert len(answers) == CONNECTIONS * REQUESTS_PER_CONNECTION
    assert {refusal.code for refusal in refusals} == {ErrorCode.OVERLOADED}, "nothing was refused, or not only for that"
    assert all(1 <= refusal.retry_after_ms <= 10_000 for refusal in refusals)
    assert all("queue_items" in refusal.message for refusal in refusals)
    assert len(scores) >= QUEUE_ITEMS
    assert all(answer == pytest.approx(scores[0], abs=1e-5) for answer in scores)
    assert max(depths) <= QUEUE_ITEMS
    assert (status.queue_depth, status.queue_tokens, status.running) == (0, 0, 0)
    assert status.overloaded == len(refusals)
    assert after_s < 5 * before_s


def ask(service: Service) -> list[dict[str, float] | PredictionError]:
    """What a client gets that does not slow down when it is told to."""
    answers: list[dict[str, float] | PredictionError] = []
    with service.client() as predictor:
        for _ in range(REQUESTS_PER_CONNECTION):
            try:
                answers.append(predictor.predict("set an alarm", None))
            except PredictionError as error:
                answers.append(error)
    return answers


def watch_queue(service: Service, loaded: threading.Event, depths: list[int]) -> None:
    """Note the queue's depth until the load is over."""
    with service.client() as predictor:
        while not loaded.is_set():
            depths.append(predictor.status().models[0].queue_depth)


def one_request_s(service: Service) -> float:
    """Seconds that a single client waits for an answer, median of 9."""
    seconds = []
    with service.client() as predictor:
        for _ in range(9):
            started = time.perf_counter()
            predictor.predict("set an alarm", None)
            seconds.append(time.perf_counter() - started)
    return statistics.median(seconds)
