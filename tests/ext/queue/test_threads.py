"""The queue on the real clock, with threads that take batches as those of a model that Python drives would."""

from __future__ import annotations

import select
import threading
import time
from collections import Counter
from typing import TYPE_CHECKING, Any

from ext._batching import Lane, Queue, Status, monotonic_ns

if TYPE_CHECKING:
    from collections.abc import Callable

OK, INVALID_ARGUMENT, _, DEADLINE_EXCEEDED, _, INTERNAL = Status
INTERACTIVE, BULK = Lane
NEVER = 2**63 - 1
MS = 1_000_000
PATIENCE_S = 20


class Office:
    """Threads that take batches from a queue on the real clock, and a reader of its results."""

    def __init__(self, queue: Queue, workers: int, work: Callable[[Any], object]) -> None:
        self.queue = queue
        self.work = work
        self.batches: list[int] = []
        self.answers: list[tuple[Any, int, Any]] = []
        self.threads = [threading.Thread(target=self.take, daemon=True) for _ in range(workers)]
        for thread in self.threads:
            thread.start()

    def take(self) -> None:
        while taken := self.queue.take():
            batch_id, payloads = taken
            self.batches.append(len(payloads))
            self.queue.finish(batch_id, [self.outcome(payload) for payload in payloads])

    def outcome(self, payload: Any) -> object:
        try:
            return self.work(payload)
        except Exception as error:
            return error

    def read_until(self, count: int) -> None:
        end = time.monotonic() + PATIENCE_S
        while len(self.answers) < count:
            assert time.monotonic() < end, f"{len(self.answers)} of {count} answers came"
            if select.select([self.queue.fd], [], [], 0.1)[0]:
                self.answers += self.queue.results()

    def close(self) -> None:
        self.answers += self.queue.close()
        for thread in self.threads:
            thread.join(PATIENCE_S)
            assert not thread.is_alive(), "a thread is left waiting in take()"


def triple(payload: int) -> int:
    if payload % 97 == 0:
        raise ValueError(f"{payload} is poisoned")
    if payload % 89 == 0:
        raise OSError(f"{payload} broke")
    return payload * 3


def expected_of(payload: int) -> tuple[int, object]:
    try:
        return OK, triple(payload)
    except ValueError as error:
        return INVALID_ARGUMENT, str(error)
    except OSError as error:
        return INTERNAL, str(error)


def test_many_submitters_get_their_own_answers() -> None:
    queue = Queue(None, batch_items=16)
    office = Office(queue, 3, triple)
    each, submitters = 400, 6

    def submit(first: int) -> None:
        for payload in range(first, first + each):
            assert queue.submit(payload, 1 + payload % 7, payload % 2, NEVER, payload) > 0
            queue.wake()

    threads = [threading.Thread(target=submit, args=(n * each,)) for n in range(submitters)]
    for thread in threads:
        thread.start()
    office.read_until(each * submitters)
    for thread in threads:
        thread.join(PATIENCE_S)
    office.close()
    assert len(office.answers) == each * submitters, "an answer came after the last one"
    assert Counter(tag for tag, _, _ in office.answers) == Counter(range(each * submitters))
    for tag, status, value in office.answers:
        assert (status, value) == expected_of(tag)
    assert sum(office.batches) == each * submitters


def test_take_lets_other_threads_run_and_close_lets_it_go() -> None:
    queue = Queue(None)
    office = Office(queue, 4, lambda payload: payload)
    time.sleep(0.05)  # all of them wait in take(); with the GIL held nothing would go on here
    office.close()


def test_one_wake_up_is_enough_for_all_workers() -> None:
    """Each worker that leaves something behind wakes the next: two slow requests run side by side."""
    both_run = threading.Barrier(2)
    queue = Queue(None, batch_items=1)
    office = Office(queue, 2, lambda _: both_run.wait(PATIENCE_S))
    time.sleep(0.05)
    queue.submit("a", 1, INTERACTIVE, NEVER, "a")
    queue.submit("b", 1, INTERACTIVE, NEVER, "b")
    queue.wake()
    office.read_until(2)
    office.close()
    assert [status for _, status, _ in office.answers] == [OK, OK]


def test_max_delay_ends_by_itself() -> None:
    queue = Queue(None, max_delay_ms=30)
    office = Office(queue, 1, lambda payload: payload)
    started = time.monotonic()
    queue.submit("a", 1, INTERACTIVE, NEVER, "a")
    queue.wake()
    office.read_until(1)
    assert time.monotonic() - started >= 0.03
    office.close()


def test_bulk_that_had_to_wait_begins_by_itself_when_nobody_else_asks_any_more() -> None:
    queue = Queue(None, bulk_items=1, bulk_share=1e-9, capacity=2)
    office = Office(queue, 2, lambda payload: payload)
    for number, lane in enumerate([INTERACTIVE, BULK, BULK, BULK, BULK]):
        queue.submit(number, 1, lane, NEVER, number)
    queue.wake()
    office.read_until(5)
    office.close()


def test_a_deadline_is_answered_before_the_slow_batch_ends() -> None:
    go_on = threading.Event()
    queue = Queue(None)
    office = Office(queue, 1, lambda _: go_on.wait(PATIENCE_S))
    queue.submit("slow", 1, INTERACTIVE, NEVER, "slow")
    queue.wake()
    while queue.stats()["running"] == 0:
        time.sleep(0.001)
    while queue.submit("late", 1, INTERACTIVE, (deadline := monotonic_ns() + MS), "late") < 0:
        pass  # so busy is the machine that the deadline had passed before
    while monotonic_ns() < deadline:
        time.sleep(0.001)
    queue.sweep()
    office.read_until(1)
    assert [(tag, status) for tag, status, _ in office.answers] == [("late", DEADLINE_EXCEEDED)]
    go_on.set()
    office.read_until(2)
    office.close()


def test_the_clock_is_python_s_monotonic_clock() -> None:
    before = time.monotonic_ns()
    assert before <= monotonic_ns() <= time.monotonic_ns()
