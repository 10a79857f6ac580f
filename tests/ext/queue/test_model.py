"""The queue against a simple model of it: any sequence of calls, one thread, a clock that only the test moves.

The model knows what must come out, in which order, and what the counters must say. Which requests form a batch it asks
a BatchPolicy of its own, and when bulk may begin a BulkPacer. Tags, payloads and results are held by weak references
only: the queue must keep them alive as long as it needs them, and not longer.
"""

from __future__ import annotations

import select
import weakref
from dataclasses import dataclass, field
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from ext._batching import Admission, BatchPolicy, BulkPacer, ManualClock, Queue, Status

OK, INVALID_ARGUMENT, _, DEADLINE_EXCEEDED, UNAVAILABLE, INTERNAL = Status
_, QUEUE_FULL, TOO_LONG, DEADLINE_PASSED, DRAINING, _, QUEUE_TOKENS_FULL, _, _ = (-admission for admission in Admission)
NEVER = 2**63 - 1
QUEUE_ITEMS, QUEUE_TOKENS, MAX_TOKENS = 6, 20, 8


requests = st.tuples(st.integers(0, MAX_TOKENS + 1), st.integers(0, 1), st.sampled_from([None, None, 0, 1, 2, 5]))
rarely = st.integers(0, 9).map(lambda number: number == 9)


class Thing:
    """A tag, a payload or a result."""


@dataclass(eq=False)
class Request:
    """What the model knows of a request."""

    tokens: int
    lane: int
    enqueued: int
    deadline: int
    tag: weakref.ref[Thing]
    payload: weakref.ref[Thing]
    id: int = 0
    answered: bool = False


@dataclass
class Outcome:
    """What results() must give. `value`: the result, a message, or None for a message that does not matter."""

    tag: weakref.ref[Thing]
    status: int
    value: weakref.ref[Thing] | str | None


@dataclass
class Model:
    """What the queue must hold and say."""

    policy: BatchPolicy
    pacer: BulkPacer
    hold: int
    now: int = 0
    lanes: list[list[Request]] = field(default_factory=lambda: [[], []])
    running: dict[int, list[Request]] = field(default_factory=dict)
    outcomes: list[Outcome] = field(default_factory=list)
    let_go: bool = False
    draining: bool = False
    closed: bool = False
    counters: dict[str, int] = field(
        default_factory=lambda: dict.fromkeys(
            ["accepted", "completed", "failed", "overloaded", "expired", "cancelled", "batches", "batched_tokens"], 0
        )
    )

    def waiting(self) -> list[Request]:
        return self.lanes[0] + self.lanes[1]

    def waiting_tokens(self) -> int:
        return sum(request.tokens for request in self.waiting())

    def admission(self, request: Request) -> int:
        """0, or why the request is refused."""
        if self.draining:
            return DRAINING
        if request.tokens > MAX_TOKENS:
            return TOO_LONG
        if request.deadline <= self.now:
            self.counters["expired"] += 1
            return DEADLINE_PASSED
        has_room = len(self.waiting()) < QUEUE_ITEMS
        if not has_room or self.waiting_tokens() + request.tokens > QUEUE_TOKENS:
            self.counters["overloaded"] += 1
            return QUEUE_TOKENS_FULL if has_room else QUEUE_FULL
        self.counters["accepted"] += 1
        self.lanes[request.lane].append(request)
        self.let_go |= len(self.waiting()) >= self.hold
        if request.lane == 0:
            self.pacer.interactive_submitted(self.now)
        return 0

    def answer(self, request: Request, status: int, value: weakref.ref[Thing] | str | None, counter: str) -> None:
        assert not request.answered, "the model answers a request twice"
        request.answered = True
        self.counters[counter] += 1
        self.outcomes.append(Outcome(request.tag, status, value))

    def drop_waiting(self, request: Request) -> None:
        self.lanes[request.lane].remove(request)
        if request.lane == 0:
            self.pacer.interactive_finished(self.now)

    def expire(self) -> None:
        for lane in self.lanes:
            for request in [r for r in lane if r.deadline <= self.now]:
                self.drop_waiting(request)
                self.answer(request, DEADLINE_EXCEEDED, None, "expired")
        for request in [r for batch in self.running.values() for r in batch]:
            if not request.answered and request.deadline <= self.now:
                self.answer(request, DEADLINE_EXCEEDED, "the deadline passed while the model ran", "expired")

    def batch(self) -> list[Request]:
        """The next batch; empty if none can be formed now."""
        ready_at = 0 if self.draining else self.policy.ready_at(*([r.enqueued for r in lane] for lane in self.lanes))
        if not self.draining and not self.lanes[0] and ready_at is not None:
            ready_at = max(ready_at, self.pacer.bulk_ready_at(self.now))
        held = not (self.let_go or self.draining)
        if held or self.closed or ready_at is None or ready_at > self.now or not self.waiting():
            return []
        self.expire()
        if not self.waiting():
            return []
        interactive = bool(self.lanes[0])
        may_run_bulk = not interactive or self.draining or self.pacer.bulk_ready_at(self.now) <= self.now
        lane_number = self.policy.choose_lane(interactive, bool(self.lanes[1]) and may_run_bulk)
        if lane_number == 1:
            self.pacer.bulk_started(self.now)
        lane = self.lanes[lane_number]
        chosen = [lane[i] for i in self.policy.fill([request.tokens for request in lane], lane_number)]
        self.lanes[lane_number] = [request for request in lane if request not in chosen]
        padded = len(chosen) * max(request.tokens for request in chosen)
        self.policy.charge(lane_number, padded)
        self.counters["batches"] += 1
        self.counters["batched_tokens"] += padded
        return chosen

    def end(self, batch: list[Request]) -> None:
        """A worker is free again."""
        if batch[0].lane == 1:
            self.pacer.bulk_finished(self.now)
        else:
            self.pacer.interactive_finished(self.now, len(batch))

    def close(self) -> None:
        self.draining = self.closed = True
        for request in self.waiting():
            self.answer(request, UNAVAILABLE, "the model was unloaded before this request ran", "failed")
        self.lanes = [[], []]
        for request in [r for batch in self.running.values() for r in batch]:
            if not request.answered:
                self.answer(request, UNAVAILABLE, "the model was unloaded while this request ran", "failed")


def compare_outcome(tag: object, status: int, value: Any, expected: Outcome) -> None:
    assert tag is expected.tag(), "an outcome with the tag of another request"
    assert status == expected.status
    if isinstance(expected.value, weakref.ref):
        assert value is expected.value()
    elif expected.value is not None:
        assert value == expected.value
    else:
        assert value.startswith("the deadline passed after ")


class QueueMachine(RuleBasedStateMachine):
    """Calls in any order; after each the queue must agree with the model."""

    def __init__(self) -> None:
        super().__init__()
        self.clock = ManualClock()
        self.known: list[Request] = []

    @initialize(
        limits=st.fixed_dictionaries(
            {
                "batch_items": st.integers(1, 4),
                "bulk_items": st.integers(1, 4),
                "batch_tokens": st.integers(1, 16),
                "look_ahead": st.integers(1, 6),
                "max_delay_ms": st.sampled_from([0, 3]),
                "bulk_share": st.sampled_from([0.25, 0.5]),
                "max_padding": st.sampled_from([0, 0.5]),
                "free_padding": st.sampled_from([0, 100]),
                "equal_lengths": st.booleans(),
            }
        ),
        capacity=st.sampled_from([1, 2, 5]),
        hold=st.sampled_from([0, 0, 3]),
    )
    def make(self, limits: dict[str, Any], capacity: int, hold: int) -> None:
        self.model = Model(BatchPolicy(**limits), BulkPacer(capacity, limits["bulk_share"]), hold)
        limits |= {"queue_items": QUEUE_ITEMS, "queue_tokens": QUEUE_TOKENS, "max_tokens": MAX_TOKENS, "hold": hold}
        self.queue = Queue(self.clock, capacity=capacity, **limits)

    @rule(requests=st.lists(requests, min_size=1, max_size=4))
    def submit(self, requests: list[tuple[int, int, int | None]]) -> None:
        for tokens, lane, timeout_ms in requests:
            self.submit_one(tokens, lane, timeout_ms)

    def submit_one(self, tokens: int, lane: int, timeout_ms: int | None) -> None:
        tag, payload = Thing(), Thing()
        now = self.model.now
        deadline = NEVER if timeout_ms is None else now + timeout_ms * 1_000_000
        request = Request(max(1, tokens), lane, now, deadline, weakref.ref(tag), weakref.ref(payload))
        refusal = self.model.admission(request)
        admitted = self.queue.submit(payload, tokens, lane, deadline, tag)
        if refusal:
            assert admitted == refusal
            del tag, payload
            assert request.tag() is None, "the tag of a refused request leaked"
            assert request.payload() is None, "the payload of a refused request leaked"
        else:
            assert admitted == self.model.counters["accepted"], "ids count accepted requests from 1"
            request.id = admitted
            self.known.append(request)

    @rule(ms=st.integers(0, 4))
    def advance(self, ms: int) -> None:
        self.clock.advance(ms)
        self.model.now += ms * 1_000_000
        assert self.clock.now_ns == self.model.now

    @rule()
    def take(self) -> None:
        expected = self.model.batch()
        taken = self.queue.try_take()
        if taken is None:
            assert not expected
        else:
            batch_id, payloads = taken
            assert payloads == [request.payload() for request in expected]
            self.model.running[batch_id] = expected

    @precondition(lambda self: self.model.running)
    @rule(which=st.integers(0), statuses=st.lists(st.sampled_from([OK, INVALID_ARGUMENT, INTERNAL]), min_size=4))
    def finish(self, which: int, statuses: list[int]) -> None:
        batch_id = list(self.model.running)[which % len(self.model.running)]
        batch = self.model.running.pop(batch_id)
        self.model.end(batch)
        results: list[object] = []
        for request, status in zip(batch, statuses, strict=False):
            results.append({OK: Thing(), INVALID_ARGUMENT: ValueError("wrong"), INTERNAL: OSError("fault")}[status])
            if request.answered:
                continue
            if request.deadline <= self.model.now:
                late = "the deadline passed while the model ran"
                self.model.answer(request, DEADLINE_EXCEEDED, late, "expired")
            elif status == OK:
                self.model.answer(request, OK, weakref.ref(results[-1]), "completed")
            else:
                self.model.answer(request, status, str(results[-1]), "failed")
        self.queue.finish(batch_id, results)

    @precondition(lambda self: self.known)
    @rule(which=st.integers(0))
    def cancel(self, which: int) -> None:
        request = self.known[which % len(self.known)]
        assert self.queue.cancel(request.id) == (not request.answered)
        if request.answered:
            return
        request.answered = True
        self.model.counters["cancelled"] += 1
        assert request.tag() is None, "the tag of a cancelled request leaked"
        if request in self.model.lanes[request.lane]:
            self.model.drop_waiting(request)
            assert request.payload() is None, "the payload of a cancelled request leaked"

    @rule()
    def cancel_unknown(self) -> None:
        assert not self.queue.cancel(0)
        assert not self.queue.cancel(self.model.counters["accepted"] + 1)

    @rule()
    def sweep(self) -> None:
        self.model.expire()
        self.queue.sweep()

    @rule()
    def fetch(self) -> None:
        self.compare(self.queue.results())

    @rule(really=rarely)
    def drain(self, really: bool) -> None:
        if really:  # more often, and hardly anything would happen in the other rules
            self.model.draining = True
            self.queue.drain()

    @rule(really=rarely)
    def close(self, really: bool) -> None:
        if really:
            self.model.close()
            self.compare(self.queue.close())

    def compare(self, outcomes: Any) -> None:
        assert len(outcomes) == len(self.model.outcomes)
        for outcome, expected in zip(outcomes, self.model.outcomes, strict=True):
            compare_outcome(*outcome, expected)
        tags = [expected.tag for expected in self.model.outcomes]
        self.model.outcomes = []
        outcome = None
        outcomes.clear()
        assert not any(tag() for tag in tags), "the tag of a fetched outcome leaked"

    @invariant()
    def agrees(self) -> None:
        if not hasattr(self, "model"):
            return
        model = self.model
        model.let_go &= bool(model.waiting())  # an empty queue holds again
        state = {
            "waiting": len(model.waiting()),
            "waiting_tokens": model.waiting_tokens(),
            "waiting_bytes": 0,
            "running": sum(map(len, model.running.values())),
        }
        assert self.queue.stats() == state | model.counters
        assert state["waiting"] <= QUEUE_ITEMS
        assert state["waiting_tokens"] <= QUEUE_TOKENS
        readable, _, _ = select.select([self.queue.fd], [], [], 0)
        assert bool(readable) == bool(model.outcomes)
        unfinished = [r for r in self.known if not r.answered]
        assert all(r.tag() is not None and r.payload() is not None for r in unfinished)

    def teardown(self) -> None:
        if hasattr(self, "queue"):
            del self.queue
        for request in self.known:
            assert request.tag() is None, "a tag outlived the queue"
            assert request.payload() is None, "a payload outlived the queue"


TestQueueModel = QueueMachine.TestCase
TestQueueModel.settings = settings(max_examples=200, stateful_step_count=60)
