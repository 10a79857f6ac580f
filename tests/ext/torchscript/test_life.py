"""A TorchScript engine from its first request to its end: deadlines, cancelling, threads, draining and closing."""

from __future__ import annotations

import gc
import os
import random
import threading
import time
import weakref
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from ext._batching import monotonic_ns
from ext._torchscript import TorchScriptEngine
from tests.ext.torchscript.modules import (
    BULK,
    DEADLINE_EXCEEDED,
    DEADLINE_PASSED,
    DRAINING,
    INTERACTIVE,
    INTERNAL,
    MS,
    NEVER,
    OK,
    PATIENCE_S,
    QUEUE_FULL,
    UNAVAILABLE,
    UNPROBED,
    Engine,
    alone,
    assert_close,
)
from tests.support import zoo as models
from tests.support.service import eventually

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.support.gate import Gate

    Zoo = Callable[[str], Path]

THREADS = Path("/proc/self/task")


# --------------------------------------------------------------------------------------------- deadlines, cancelling


def test_a_deadline_behind_a_slow_batch_is_answered_before_that_ends(gate: Gate) -> None:
    with Engine(gate.path, **UNPROBED) as engine, gate.closed():
        engine.submit("slow")
        engine.native.wake()
        engine.wait_until_running()
        engine.submit_late("late")
        engine.native.sweep()
        engine.wait_for(1)
        assert engine.outcomes[1][0] == DEADLINE_EXCEEDED
        assert "in the queue" in engine.outcomes[1][1]
        gate.open()
        engine.wait_for(2)
        assert engine.outcomes[0][0] == OK
        stats = engine.native.stats()
        assert (stats["completed"], stats["batches"], gate.batches) == (1, 1, 1), "the late one must not have run"


def test_a_deadline_is_answered_while_its_own_batch_runs_and_the_late_result_is_dropped(gate: Gate) -> None:
    for timeout_ms in (50, 500, 5000):  # longer where the machine was too busy to begin before
        with Engine(gate.path, hold=2, **UNPROBED) as engine, gate.closed():
            if engine.submit("late", deadline_ns=monotonic_ns() + timeout_ms * MS) == DEADLINE_PASSED:
                continue
            engine.submit("patient")
            engine.native.wake()
            engine.wait_until_running()
            if engine.native.stats()["running"] == 1:  # the patient one alone
                continue
            while not engine.outcomes:
                engine.native.sweep()
                engine.gather()
            assert engine.outcomes == {0: (DEADLINE_EXCEEDED, "the deadline passed while the model ran")}
            gate.open()
            engine.wait_for(2)
            assert engine.outcomes[1][0] == OK
            assert engine.native.stats()["running"] == 0
            assert engine.native.results() == []
            return
    pytest.fail("the batch never began in time")


def test_a_deadline_that_has_passed_is_refused(zoo: Zoo) -> None:
    with Engine(zoo("doc_model"), **UNPROBED) as engine:
        assert engine.submit("late", deadline_ns=monotonic_ns() - 1) == DEADLINE_PASSED


def test_cancelling_what_waits_and_what_runs(gate: Gate) -> None:
    with Engine(gate.path, batch_items=1, queue_items=1, **UNPROBED) as engine, gate.closed():
        running = engine.submit("runs")
        engine.native.wake()
        engine.wait_until_running()
        waiting = engine.submit("waits")
        assert engine.submit("too many") == QUEUE_FULL
        assert engine.native.cancel(waiting)
        assert engine.submit("in its place") > 0
        assert engine.native.cancel(running)
        assert not engine.native.cancel(running)
        gate.open()
        engine.wait_for(1)
        assert engine.outcomes.keys() == {2}
        stats = engine.native.stats()
        assert (stats["cancelled"], stats["completed"], stats["overloaded"]) == (2, 1, 1)


# ---------------------------------------------------------------------------------------------------------- threads


def test_replicas_run_side_by_side(gate: Gate) -> None:
    with Engine(gate.path, replicas=2, batch_items=1, **UNPROBED) as engine, gate.closed():
        engine.submit("one")
        engine.submit("two")
        engine.native.wake()
        engine.wait_until_running(2)
        gate.open()
        engine.wait_for(2)
        assert engine.native.stats()["batches"] == 2


def test_python_goes_on_while_a_batch_runs(gate: Gate) -> None:
    with Engine(gate.path, **UNPROBED) as engine, gate.closed():
        engine.submit("slow")
        engine.native.wake()
        engine.wait_until_running()  # else whoever held the GIL would hold it until the gate loses its patience
        assert [engine.native.results() for _ in range(100)] == [[]] * 100
        assert engine.native.stats()["running"] == 1
        gate.open()
        engine.wait_for(1)


def test_many_threads_submit_at_once(zoo: Zoo) -> None:
    path, each, submitters = zoo("docnn_mask"), 250, 6
    words = ["set", "an", "alarm", "weather", "call", "me"]
    chance = random.Random(1)
    texts = [" ".join(chance.choices(words, k=chance.randint(1, 12))) for _ in range(each * submitters)]
    outcomes: dict[int, tuple[int, dict[str, float]]] = {}
    with Engine(path, replicas=2) as engine:

        def submit(first: int) -> None:
            for i in range(first, first + each):
                assert engine.native.submit(texts[i], i % 2, NEVER, i) > 0
                engine.native.wake()

        threads = [threading.Thread(target=submit, args=(n * each,)) for n in range(submitters)]
        for thread in threads:
            thread.start()
        end = time.monotonic() + PATIENCE_S
        while len(outcomes) < len(texts):
            assert time.monotonic() < end, f"{len(outcomes)} of {len(texts)} came"
            for tag, status, value in engine.native.results():
                assert tag not in outcomes
                outcomes[tag] = (status, value)
        for thread in threads:
            thread.join(PATIENCE_S)
    for i, expected in enumerate(alone(path, texts)):
        assert outcomes[i][0] == OK
        assert_close(outcomes[i][1], expected)


# ----------------------------------------------------------------------------------- run by the caller of wake()


def run_at_once(engine: Engine, text: str, lane: int = INTERACTIVE) -> None:
    """Submit the text until wake() has run it; a worker that has just started or finished may be faster."""
    for _ in range(100):
        assert engine.submit(text, lane) > 0
        if engine.native.wake():
            return
        engine.wait_for(engine.submitted)
    pytest.fail("wake() never ran a lone quick document")


def test_a_lone_quick_document_is_run_at_once(zoo: Zoo) -> None:
    path = zoo("docnn_mask")
    with Engine(path, inline_us=100_000) as engine:
        run_at_once(engine, "set an alarm")
        stats = engine.native.stats()
        assert stats["batches"] == stats["completed"] == engine.submitted
        assert stats["running"] == 0
        engine.gather()
        assert_close(engine.outcomes[engine.submitted - 1][1], alone(path, ["set an alarm"])[0])
        assert not engine.native.wake(), "there is nothing to run"


def test_a_lone_document_may_fail_and_be_of_any_lane(zoo: Zoo) -> None:
    with Engine(zoo("poison"), inline_us=100_000) as engine:
        run_at_once(engine, models.POISON, BULK)
        engine.wait_for(engine.submitted)
        assert {status for status, _ in engine.outcomes.values()} == {INTERNAL}
        run_at_once(engine, "fine")
        engine.wait_for(engine.submitted)
        assert engine.outcomes[engine.submitted - 1][0] == OK


@pytest.mark.parametrize(
    "texts",
    [["one", "two"], ["word " * 65], [f"{'w' * 1000} {'w' * 1000}"]],
    ids=["not alone", "more tokens than were measured", "few tokens, but long ones"],
)
def test_other_documents_are_left_to_the_workers(zoo: Zoo, texts: list[str]) -> None:
    with Engine(zoo("docnn_mask"), inline_us=100_000, hold=len(texts)) as engine:
        for text in texts:
            engine.submit(text)
        assert not engine.native.wake()
        engine.wait_for(len(texts))
        assert all(status == OK for status, _ in engine.outcomes.values())


@pytest.mark.parametrize(
    ("name", "settings"),
    [("slow_20ms", {"equal_lengths": False, "batch_items": 1, "warm_up_tokens": 1}), ("docnn_mask", {"inline_us": 0})],
    ids=["slow model", "turned off"],
)
def test_a_model_that_is_not_quick_is_left_to_the_workers(zoo: Zoo, name: str, settings: dict[str, int]) -> None:
    with Engine(zoo(name), **settings) as engine:
        engine.submit("alone")
        assert not engine.native.wake()
        engine.wait_for(1)


# ------------------------------------------------------------------------------------------------------------ ends


def test_drain_refuses_what_comes_and_finishes_what_is_there(zoo: Zoo) -> None:
    with Engine(zoo("slow_20ms"), batch_items=1, **UNPROBED) as engine:
        for _ in range(5):
            engine.submit("in time")
        engine.native.wake()
        engine.native.drain()
        assert engine.submit("too late") == DRAINING
        engine.wait_for(5)
        assert [status for status, _ in engine.outcomes.values()] == [OK] * 5
        assert engine.native.close() == []


def test_close_answers_everything_at_once(gate: Gate) -> None:
    with Engine(gate.path, batch_items=1, **UNPROBED) as engine, gate.closed():
        for _ in range(3):
            engine.submit("any")
        engine.native.wake()
        engine.wait_until_running()
        rest = engine.close_while_running(gate)
        assert gate.batches == 1, "only the running batch may be waited for"
        assert sorted(tag for tag, _, _ in rest) == [0, 1, 2]
        assert {status for _, status, _ in rest} == {UNAVAILABLE}
        assert engine.native.close() == []
        for use in (engine.native.stats, engine.native.wake, engine.native.results, engine.native.sweep):
            with pytest.raises(RuntimeError, match="the engine is closed"):
                use()
        with pytest.raises(RuntimeError, match="the engine is closed"):
            engine.submit("any")


class Tag:
    """Can be referred to weakly."""


def threads() -> set[str]:
    return {thread.name for thread in THREADS.iterdir()}


def wait_for_the_end_of_those_since(before: set[str]) -> None:
    """The system forgets a thread a little after others have seen it end."""
    eventually(lambda: threads() <= before, "all threads have ended")


def test_an_engine_that_is_dropped_ends_its_threads_and_gives_back_its_tags(zoo: Zoo) -> None:
    before = threads()
    tags = [Tag() for _ in range(4)]
    alive = [weakref.ref(tag) for tag in tags]
    native = TorchScriptEngine(str(zoo("slow_20ms")), replicas=3, batch_items=1, **UNPROBED)
    descriptor = native.fd
    for tag in tags:
        assert native.submit("any", INTERACTIVE, NEVER, tag) > 0
    native.wake()
    del tags, tag
    assert all(reference() for reference in alive), "the queue must hold the tags"
    del native
    gc.collect()
    assert not any(reference() for reference in alive)
    wait_for_the_end_of_those_since(before)
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(descriptor)


def test_tags_come_back_once_and_are_kept_by_nobody(zoo: Zoo) -> None:
    native = TorchScriptEngine(str(zoo("poison")), hold=61, **UNPROBED)  # nothing runs before it is drained
    tags = [Tag() for _ in range(60)]
    alive = [weakref.ref(tag) for tag in tags]
    ids = [native.submit(models.POISON if i % 9 == 0 else "fine", 0, NEVER, tag) for i, tag in enumerate(tags)]
    cancelled = sum(map(native.cancel, ids[::5]))
    native.drain()
    del tags
    outcomes: list[object] = []
    end = time.monotonic() + PATIENCE_S
    while len(outcomes) + cancelled < len(ids):
        assert time.monotonic() < end
        outcomes += [tag for tag, _, _ in native.results()]
    assert cancelled == 12
    assert len(set(map(id, outcomes))) == len(ids) - cancelled
    outcomes.clear()
    assert not any(reference() for reference in alive)
    native.close()


def test_a_load_that_fails_leaves_no_thread_behind(zoo: Zoo) -> None:
    before = threads()
    for name in ("doc_model_dense", "pairwise"):
        with pytest.raises(ValueError, match=r"dense_feat|texts1"):
            TorchScriptEngine(str(zoo(name)), replicas=3)
    wait_for_the_end_of_those_since(before)


def test_kick_and_close_in_two_threads(zoo: Zoo) -> None:
    """wake() may run a document while another thread closes: the engine must outlive it."""
    for _ in range(20):
        engine = Engine(zoo("docnn_mask"), equal_lengths=False, warm_up_tokens=2, inline_us=100_000)

        def wake(engine: Engine = engine) -> None:
            try:
                while True:
                    engine.submit("a document")
                    engine.native.wake()
            except RuntimeError as error:
                assert str(error) == "the engine is closed"  # noqa: PT017 - in a thread of its own

        thread = threading.Thread(target=wake)
        thread.start()
        time.sleep(0.005)
        engine.native.close()
        thread.join(PATIENCE_S)
        assert not thread.is_alive()
