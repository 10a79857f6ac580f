"""The queue, case by case, in one thread and with a clock that stands still."""

from __future__ import annotations

import select

import pytest

from ext._batching import Admission, Status
from tests.ext.queue.harness import BULK, INTERACTIVE, NEVER, Harness

OK, INVALID_ARGUMENT, _, DEADLINE_EXCEEDED, UNAVAILABLE, INTERNAL = Status
_, QUEUE_FULL, TOO_LONG, DEADLINE_PASSED, DRAINING, _, QUEUE_TOKENS_FULL, _, _ = (-admission for admission in Admission)


# ------------------------------------------------------------------------------------------------------- admission


def test_the_queue_is_bounded_in_items() -> None:
    harness = Harness(queue_items=2)
    assert harness.submit("a") == 1
    assert harness.submit("b", lane=BULK) == 2
    assert harness.submit("c") == QUEUE_FULL
    assert harness.counter("overloaded") == 1
    assert harness.run() == ["a"]
    assert harness.submit("d") == 3, "what runs no longer waits"


def test_the_queue_is_bounded_in_tokens() -> None:
    harness = Harness(queue_tokens=10, max_tokens=10)
    assert harness.submit("a", 6) == 1
    assert harness.submit("b", 5) == QUEUE_TOKENS_FULL
    assert harness.submit("c", 4, lane=BULK) == 2
    assert harness.counter("waiting_tokens") == 10


def test_a_request_may_be_as_long_as_max_tokens() -> None:
    harness = Harness(max_tokens=10)
    assert harness.submit("a", 10) == 1
    assert harness.submit("b", 11) == TOO_LONG
    assert harness.counter("accepted") == 1


def test_a_deadline_that_has_passed_is_refused() -> None:
    harness = Harness()
    assert harness.submit("a", timeout_ms=0) == DEADLINE_PASSED
    assert harness.submit("b", timeout_ms=1) == 1
    assert harness.counter("expired") == 1


def test_a_draining_queue_refuses_but_runs_what_waits() -> None:
    harness = Harness(hold=5, max_delay_ms=100)
    harness.submit("a")
    assert harness.take() == []
    harness.queue.drain()
    assert harness.submit("b") == DRAINING
    assert harness.run() == ["a"]
    assert harness.queue.results() == [("a", OK, "a")]


def test_a_lane_that_does_not_exist_is_refused() -> None:
    harness = Harness()
    with pytest.raises(ValueError, match="lane is 0"):
        harness.submit("a", lane=2)
    assert harness.counter("waiting") == 0


def test_requests_that_cost_nothing_do_not_keep_their_lane_in_front() -> None:
    harness = Harness(batch_items=1, bulk_share=0.25)
    for i in range(16):
        harness.submit(f"i{i}", tokens=0)
        harness.submit(f"b{i}", tokens=0, lane=BULK)
    lanes = [str(payload)[0] for _ in range(16) for payload in harness.run()]
    assert 3 <= lanes.count("b") <= 5


# --------------------------------------------------------------------------------------------------------- batches


def test_batches_keep_the_order_of_arrival() -> None:
    harness = Harness(batch_items=3)
    for name in "abcdefg":
        harness.submit(name)
    assert [harness.run() for _ in range(4)] == [["a", "b", "c"], ["d", "e", "f"], ["g"], []]
    assert [tag for tag, _, _ in harness.queue.results()] == list("abcdefg")


def test_what_a_batch_passes_over_keeps_its_place() -> None:
    harness = Harness(batch_items=2, equal_lengths=True)
    for name, tokens in [("a", 1), ("B", 2), ("C", 2), ("d", 1), ("e", 1)]:
        harness.submit(name, tokens)
    assert [harness.run() for _ in range(3)] == [["a", "d"], ["B", "C"], ["e"]]


def test_a_batch_is_of_one_lane() -> None:
    harness = Harness()
    harness.submit("i")
    harness.submit("b", lane=BULK)
    assert sorted([harness.run(), harness.run()]) == [["b"], ["i"]]


def test_hold_waits_for_so_many_and_then_lets_all_go() -> None:
    harness = Harness(hold=3, batch_items=2)
    for _ in range(2):  # an empty queue holds again
        harness.submit("a")
        harness.submit("b")
        assert harness.take() == []
        harness.submit("c")
        assert harness.run() == ["a", "b"]
        assert harness.run() == ["c"], "what is left over of those that were let go must not be held"


def test_max_delay_counts_from_the_oldest() -> None:
    harness = Harness(max_delay_ms=5, batch_items=4)
    harness.submit("a")
    harness.clock.advance(4)
    harness.submit("b")
    assert harness.take() == []
    harness.clock.advance(1)
    assert harness.run() == ["a", "b"]


def test_a_full_batch_does_not_wait_for_max_delay() -> None:
    harness = Harness(max_delay_ms=5, batch_items=2)
    harness.submit("a")
    harness.submit("b")
    assert harness.run() == ["a", "b"]


def test_batches_are_counted_with_their_padding() -> None:
    harness = Harness()
    harness.submit("a", 3)
    harness.submit("b", 5)
    assert harness.run() == ["a", "b"]
    assert (harness.counter("batches"), harness.counter("batched_tokens")) == (1, 10)


# ------------------------------------------------------------------------------------------ deadlines and cancelling


def test_a_deadline_in_the_queue_is_seen_when_a_batch_is_formed() -> None:
    harness = Harness()
    harness.submit("late", timeout_ms=5)
    harness.submit("fine", timeout_ms=6)
    harness.clock.advance(5)
    assert harness.run() == ["fine"]
    late, fine = harness.queue.results()
    assert late == ("late", DEADLINE_EXCEEDED, "the deadline passed after 5 ms in the queue")
    assert fine == ("fine", OK, "fine")


def test_expired_requests_behind_the_look_ahead_do_not_run() -> None:
    harness = Harness(look_ahead=1)
    for i in range(3):
        harness.submit(f"late {i}", timeout_ms=5)
    harness.submit("fine")
    harness.clock.advance(5)
    assert harness.run() == ["fine"]
    assert [status for _, status, _ in harness.queue.results()] == [DEADLINE_EXCEEDED] * 3 + [OK]


def test_sweep_answers_what_waits_and_what_runs() -> None:
    harness = Harness(batch_items=1)
    harness.submit("runs", timeout_ms=5)
    harness.submit("waits", timeout_ms=5)
    harness.submit("patient", timeout_ms=50)
    taken = harness.queue.try_take()
    assert taken
    harness.queue.sweep()
    assert harness.queue.results() == []
    harness.clock.advance(5)
    harness.queue.sweep()
    assert {(tag, status) for tag, status, _ in harness.queue.results()} == {
        ("runs", DEADLINE_EXCEEDED),
        ("waits", DEADLINE_EXCEEDED),
    }
    assert (harness.counter("waiting"), harness.counter("running"), harness.counter("expired")) == (1, 1, 2)
    harness.queue.finish(taken[0], ["too late"])
    assert harness.queue.results() == [], "a late answer must be dropped"
    harness.clock.advance(45)
    harness.queue.sweep()
    assert [tag for tag, _, _ in harness.queue.results()] == ["patient"], "a later deadline must not be forgotten"


def test_a_late_answer_is_a_deadline_even_if_nobody_swept() -> None:
    harness = Harness()
    harness.submit("a", timeout_ms=5)
    taken = harness.queue.try_take()
    assert taken
    harness.clock.advance(5)
    harness.queue.finish(*taken)
    assert harness.queue.results() == [("a", DEADLINE_EXCEEDED, "the deadline passed while the model ran")]
    assert (harness.counter("completed"), harness.counter("expired")) == (0, 1)


def test_requests_that_keep_their_work_end_by_themselves() -> None:
    harness = Harness(keeps_work=True, batch_items=1)
    for name in ("a", "b", "waits"):
        harness.submit(name, timeout_ms=5)
    first, second = harness.queue.try_take(), harness.queue.try_take()
    harness.clock.advance(6)
    harness.queue.sweep()
    (waited,) = harness.queue.results()
    assert waited == ("waits", DEADLINE_EXCEEDED, "the deadline passed after 6 ms in the queue")
    assert first is not None
    assert second is not None
    harness.queue.finish(first[0], ["what there is"])
    harness.queue.finish(second[0], [TimeoutError("nothing")])
    (kept, late) = harness.queue.results()
    assert kept[2] == "what there is"
    assert late == ("b", DEADLINE_EXCEEDED, "the deadline passed while the model ran")
    assert (harness.counter("completed"), harness.counter("expired")) == (1, 2)


def test_cancelling_what_waits_frees_its_place_at_once() -> None:
    harness = Harness(queue_items=1)
    first = harness.submit("a")
    assert harness.submit("b") == QUEUE_FULL
    assert harness.queue.cancel(first)
    assert harness.submit("c") == 2
    assert not harness.queue.cancel(first), "it is gone"
    assert (harness.counter("cancelled"), harness.counter("waiting")) == (1, 1)
    assert harness.run() == ["c"]


def test_cancelling_in_the_middle_of_a_lane() -> None:
    harness = Harness()
    ids = [harness.submit(name) for name in "abcde"]
    assert harness.queue.cancel(ids[1])
    assert harness.queue.cancel(ids[3])
    assert harness.run() == ["a", "c", "e"]


def test_the_result_of_a_cancelled_request_is_dropped() -> None:
    harness = Harness()
    ids = [harness.submit(name) for name in "ab"]
    taken = harness.queue.try_take()
    assert taken
    assert harness.queue.cancel(ids[0])
    assert not harness.queue.cancel(ids[0])
    assert harness.counter("running") == 2
    harness.queue.finish(*taken)
    assert harness.queue.results() == [("b", OK, "b")]
    assert (harness.counter("running"), harness.counter("cancelled"), harness.counter("completed")) == (0, 1, 1)
    assert not harness.queue.cancel(ids[1]), "it has been answered"


# ---------------------------------------------------------------------------------------------- outcomes and the end


def test_each_result_comes_once_and_with_its_own_tag() -> None:
    harness = Harness()
    harness.submit("a")
    harness.submit("b")
    taken = harness.queue.try_take()
    assert taken
    harness.queue.finish(taken[0], [{"score": 1}, ["a", "list"]])
    assert harness.queue.results() == [("a", OK, {"score": 1}), ("b", OK, ["a", "list"])]
    assert harness.queue.results() == []


class UnprintableError(Exception):
    def __str__(self) -> str:
        raise RuntimeError("no words")


@pytest.mark.parametrize(
    ("result", "status", "message"),
    [
        (ValueError("not a number"), INVALID_ARGUMENT, "not a number"),
        (UnicodeDecodeError("utf-8", b"\xff", 0, 1, "bad"), INVALID_ARGUMENT, "'utf-8' codec can't decode"),
        (RuntimeError("a fault"), INTERNAL, "a fault"),
        (KeyError(), INTERNAL, "KeyError"),
        (ValueError("half a pair: \ud800"), INVALID_ARGUMENT, "half a pair: \\ud800"),
        (UnprintableError(), INTERNAL, "UnprintableError"),
    ],
    ids=["ValueError", "its child", "another", "no message", "surrogate", "unprintable"],
)
def test_an_exception_is_the_error_of_its_request_only(result: Exception, status: int, message: str) -> None:
    harness = Harness()
    harness.submit("bad", timeout_ms=5)
    harness.submit("good")
    taken = harness.queue.try_take()
    assert taken
    harness.queue.finish(taken[0], [result, "fine"])
    harness.clock.advance(10)
    harness.queue.sweep()  # must not meet what has been answered
    (bad_tag, bad_status, bad_message), good = harness.queue.results()
    assert (bad_tag, bad_status) == ("bad", status)
    assert message in str(bad_message)
    assert good == ("good", OK, "fine")
    assert (harness.counter("failed"), harness.counter("completed"), harness.counter("running")) == (1, 1, 0)


@pytest.mark.parametrize("results", [[], ["one"], ["one", "two", "three"]])
def test_the_wrong_number_of_results_is_refused_and_the_batch_stays_out(results: list[str]) -> None:
    harness = Harness()
    harness.submit("a")
    harness.submit("b")
    taken = harness.queue.try_take()
    assert taken
    with pytest.raises(ValueError, match=f"the batch has 2 requests, but {len(results)} results came"):
        harness.queue.finish(taken[0], results)
    harness.queue.finish(taken[0], [RuntimeError("wrong count")] * 2)
    assert [status for _, status, _ in harness.queue.results()] == [INTERNAL, INTERNAL]


def test_a_batch_can_be_finished_only_once() -> None:
    harness = Harness()
    harness.submit("a")
    taken = harness.queue.try_take()
    assert taken
    harness.queue.finish(*taken)
    with pytest.raises(KeyError, match="no batch 1 is out"):
        harness.queue.finish(*taken)


def test_the_descriptor_is_readable_while_there_are_outcomes() -> None:
    harness = Harness(batch_items=1)

    def readable() -> bool:
        return bool(select.select([harness.queue.fd], [], [], 0)[0])

    harness.submit("a")
    harness.submit("b")
    assert not readable()
    harness.run()
    harness.run()
    assert readable()
    assert len(harness.queue.results()) == 2
    assert not readable()


def test_close_answers_what_waits_and_what_runs() -> None:
    harness = Harness(batch_items=1)
    for name in ("runs", "done", "waits"):
        harness.submit(name)
    runs = harness.queue.try_take()
    assert runs
    harness.run()
    outcomes = harness.queue.close()
    assert [(tag, status) for tag, status, _ in outcomes] == [
        ("done", OK),
        ("waits", UNAVAILABLE),
        ("runs", UNAVAILABLE),
    ]
    harness.queue.finish(*runs)
    assert harness.queue.results() == []
    assert harness.queue.close() == []
    assert harness.submit("later") == DRAINING
    assert harness.take() == []
    assert (harness.counter("failed"), harness.counter("running"), harness.counter("waiting")) == (2, 0, 0)


def test_a_payload_that_calls_the_queue_while_it_is_dropped() -> None:
    """Objects must die outside of the queue's lock, or their finalizers could never use the queue."""
    harness = Harness()
    seen: list[int] = []

    class Caller:
        def __del__(self) -> None:
            seen.append(harness.counter("waiting"))

    first = harness.queue.submit(Caller(), 1, INTERACTIVE, NEVER, "a")
    assert harness.queue.submit(Caller(), 5000, INTERACTIVE, NEVER, "b") == TOO_LONG
    assert seen == [1]
    assert harness.queue.cancel(first)
    assert seen == [1, 0]
    harness.queue.submit(Caller(), 1, INTERACTIVE, NEVER, "c")
    harness.queue.close()
    assert seen == [1, 0, 0]
