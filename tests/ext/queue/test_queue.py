"""The queue, case by case, in one thread and with a clock that stands still."""

from __future__ import annotations

import select

import pytest

from tests.ext.queue.desk import BULK, INTERACTIVE, NEVER, Desk

OK, INVALID_ARGUMENT, DEADLINE_EXCEEDED, UNAVAILABLE, INTERNAL = 0, 1, 5, 6, 8
QUEUE_FULL, TOO_LONG, DEADLINE_PASSED, DRAINING = -1, -2, -3, -4


# ------------------------------------------------------------------------------------------------------- admission


def test_the_queue_is_bounded_in_items() -> None:
    desk = Desk(queue_items=2)
    assert desk.submit("a") == 1
    assert desk.submit("b", lane=BULK) == 2
    assert desk.submit("c") == QUEUE_FULL
    assert desk.counter("overloaded") == 1
    assert desk.run() == ["a"]
    assert desk.submit("d") == 3, "what runs no longer waits"


def test_the_queue_is_bounded_in_tokens() -> None:
    desk = Desk(queue_tokens=10, max_tokens=10)
    assert desk.submit("a", 6) == 1
    assert desk.submit("b", 5) == QUEUE_FULL
    assert desk.submit("c", 4, lane=BULK) == 2
    assert desk.counter("waiting_tokens") == 10


def test_a_request_may_be_as_long_as_max_tokens() -> None:
    desk = Desk(max_tokens=10)
    assert desk.submit("a", 10) == 1
    assert desk.submit("b", 11) == TOO_LONG
    assert desk.counter("accepted") == 1


def test_a_deadline_that_has_passed_is_refused() -> None:
    desk = Desk()
    assert desk.submit("a", timeout_ms=0) == DEADLINE_PASSED
    assert desk.submit("b", timeout_ms=1) == 1
    assert desk.counter("expired") == 1


def test_a_draining_queue_refuses_but_runs_what_waits() -> None:
    desk = Desk(hold=5, max_delay_ms=100)
    desk.submit("a")
    assert desk.take() == []
    desk.queue.drain()
    assert desk.submit("b") == DRAINING
    assert desk.run() == ["a"]
    assert desk.queue.results() == [("a", OK, "a")]


def test_a_lane_that_does_not_exist_is_refused() -> None:
    desk = Desk()
    with pytest.raises(ValueError, match="lane is 0"):
        desk.submit("a", lane=2)
    assert desk.counter("waiting") == 0


def test_requests_that_cost_nothing_do_not_keep_their_lane_in_front() -> None:
    desk = Desk(batch_items=1, bulk_share=0.25)
    for i in range(16):
        desk.submit(f"i{i}", tokens=0)
        desk.submit(f"b{i}", tokens=0, lane=BULK)
    lanes = [str(payload)[0] for _ in range(16) for payload in desk.run()]
    assert 3 <= lanes.count("b") <= 5


# --------------------------------------------------------------------------------------------------------- batches


def test_batches_keep_the_order_of_arrival() -> None:
    desk = Desk(batch_items=3)
    for name in "abcdefg":
        desk.submit(name)
    assert [desk.run() for _ in range(4)] == [["a", "b", "c"], ["d", "e", "f"], ["g"], []]
    assert [tag for tag, _, _ in desk.queue.results()] == list("abcdefg")


def test_what_a_batch_passes_over_keeps_its_place() -> None:
    desk = Desk(batch_items=2, equal_lengths=True)
    for name, tokens in [("a", 1), ("B", 2), ("C", 2), ("d", 1), ("e", 1)]:
        desk.submit(name, tokens)
    assert [desk.run() for _ in range(3)] == [["a", "d"], ["B", "C"], ["e"]]


def test_a_batch_is_of_one_lane() -> None:
    desk = Desk()
    desk.submit("i")
    desk.submit("b", lane=BULK)
    assert sorted([desk.run(), desk.run()]) == [["b"], ["i"]]


def test_hold_waits_for_so_many_and_then_lets_all_go() -> None:
    desk = Desk(hold=3, batch_items=2)
    for _ in range(2):  # an empty queue holds again
        desk.submit("a")
        desk.submit("b")
        assert desk.take() == []
        desk.submit("c")
        assert desk.run() == ["a", "b"]
        assert desk.run() == ["c"], "what is left over of those that were let go must not be held"


def test_max_delay_counts_from_the_oldest() -> None:
    desk = Desk(max_delay_ms=5, batch_items=4)
    desk.submit("a")
    desk.clock.advance(4)
    desk.submit("b")
    assert desk.take() == []
    desk.clock.advance(1)
    assert desk.run() == ["a", "b"]


def test_a_full_batch_does_not_wait_for_max_delay() -> None:
    desk = Desk(max_delay_ms=5, batch_items=2)
    desk.submit("a")
    desk.submit("b")
    assert desk.run() == ["a", "b"]


def test_batches_are_counted_with_their_padding() -> None:
    desk = Desk()
    desk.submit("a", 3)
    desk.submit("b", 5)
    assert desk.run() == ["a", "b"]
    assert (desk.counter("batches"), desk.counter("batched_tokens")) == (1, 10)


# ------------------------------------------------------------------------------------------ deadlines and cancelling


def test_a_deadline_in_the_queue_is_seen_when_a_batch_is_formed() -> None:
    desk = Desk()
    desk.submit("late", timeout_ms=5)
    desk.submit("fine", timeout_ms=6)
    desk.clock.advance(5)
    assert desk.run() == ["fine"]
    late, fine = desk.queue.results()
    assert late == ("late", DEADLINE_EXCEEDED, "the deadline passed after 5 ms in the queue")
    assert fine == ("fine", OK, "fine")


def test_expired_requests_behind_the_look_ahead_do_not_run() -> None:
    desk = Desk(look_ahead=1)
    for i in range(3):
        desk.submit(f"late {i}", timeout_ms=5)
    desk.submit("fine")
    desk.clock.advance(5)
    assert desk.run() == ["fine"]
    assert [status for _, status, _ in desk.queue.results()] == [DEADLINE_EXCEEDED] * 3 + [OK]


def test_sweep_answers_what_waits_and_what_runs() -> None:
    desk = Desk(batch_items=1)
    desk.submit("runs", timeout_ms=5)
    desk.submit("waits", timeout_ms=5)
    desk.submit("patient", timeout_ms=50)
    taken = desk.queue.try_take()
    assert taken
    desk.queue.sweep()
    assert desk.queue.results() == []
    desk.clock.advance(5)
    desk.queue.sweep()
    assert {(tag, status) for tag, status, _ in desk.queue.results()} == {
        ("runs", DEADLINE_EXCEEDED),
        ("waits", DEADLINE_EXCEEDED),
    }
    assert (desk.counter("waiting"), desk.counter("running"), desk.counter("expired")) == (1, 1, 2)
    desk.queue.finish(taken[0], ["too late"])
    assert desk.queue.results() == [], "a late answer must be dropped"
    desk.clock.advance(45)
    desk.queue.sweep()
    assert [tag for tag, _, _ in desk.queue.results()] == ["patient"], "a later deadline must not be forgotten"


def test_a_late_answer_is_a_deadline_even_if_nobody_swept() -> None:
    desk = Desk()
    desk.submit("a", timeout_ms=5)
    taken = desk.queue.try_take()
    assert taken
    desk.clock.advance(5)
    desk.queue.finish(*taken)
    assert desk.queue.results() == [("a", DEADLINE_EXCEEDED, "the deadline passed while the model ran")]
    assert (desk.counter("completed"), desk.counter("expired")) == (0, 1)


def test_cancelling_what_waits_frees_its_place_at_once() -> None:
    desk = Desk(queue_items=1)
    first = desk.submit("a")
    assert desk.submit("b") == QUEUE_FULL
    assert desk.queue.cancel(first)
    assert desk.submit("c") == 2
    assert not desk.queue.cancel(first), "it is gone"
    assert (desk.counter("cancelled"), desk.counter("waiting")) == (1, 1)
    assert desk.run() == ["c"]


def test_cancelling_in_the_middle_of_a_lane() -> None:
    desk = Desk()
    ids = [desk.submit(name) for name in "abcde"]
    assert desk.queue.cancel(ids[1])
    assert desk.queue.cancel(ids[3])
    assert desk.run() == ["a", "c", "e"]


def test_the_result_of_a_cancelled_request_is_dropped() -> None:
    desk = Desk()
    ids = [desk.submit(name) for name in "ab"]
    taken = desk.queue.try_take()
    assert taken
    assert desk.queue.cancel(ids[0])
    assert not desk.queue.cancel(ids[0])
    assert desk.counter("running") == 2
    desk.queue.finish(*taken)
    assert desk.queue.results() == [("b", OK, "b")]
    assert (desk.counter("running"), desk.counter("cancelled"), desk.counter("completed")) == (0, 1, 1)
    assert not desk.queue.cancel(ids[1]), "it has been answered"


# ---------------------------------------------------------------------------------------------- outcomes and the end


def test_each_result_comes_once_and_with_its_own_tag() -> None:
    desk = Desk()
    desk.submit("a")
    desk.submit("b")
    taken = desk.queue.try_take()
    assert taken
    desk.queue.finish(taken[0], [{"score": 1}, ["a", "list"]])
    assert desk.queue.results() == [("a", OK, {"score": 1}), ("b", OK, ["a", "list"])]
    assert desk.queue.results() == []


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
    desk = Desk()
    desk.submit("bad", timeout_ms=5)
    desk.submit("good")
    taken = desk.queue.try_take()
    assert taken
    desk.queue.finish(taken[0], [result, "fine"])
    desk.clock.advance(10)
    desk.queue.sweep()  # must not meet what has been answered
    (bad_tag, bad_status, bad_message), good = desk.queue.results()
    assert (bad_tag, bad_status) == ("bad", status)
    assert message in str(bad_message)
    assert good == ("good", OK, "fine")
    assert (desk.counter("failed"), desk.counter("completed"), desk.counter("running")) == (1, 1, 0)


@pytest.mark.parametrize("results", [[], ["one"], ["one", "two", "three"]])
def test_the_wrong_number_of_results_is_refused_and_the_batch_stays_out(results: list[str]) -> None:
    desk = Desk()
    desk.submit("a")
    desk.submit("b")
    taken = desk.queue.try_take()
    assert taken
    with pytest.raises(ValueError, match=f"the batch has 2 requests, but {len(results)} results came"):
        desk.queue.finish(taken[0], results)
    desk.queue.finish(taken[0], [RuntimeError("wrong count")] * 2)
    assert [status for _, status, _ in desk.queue.results()] == [INTERNAL, INTERNAL]


def test_a_batch_can_be_finished_only_once() -> None:
    desk = Desk()
    desk.submit("a")
    taken = desk.queue.try_take()
    assert taken
    desk.queue.finish(*taken)
    with pytest.raises(KeyError, match="no batch 1 is out"):
        desk.queue.finish(*taken)


def test_the_descriptor_is_readable_while_there_are_outcomes() -> None:
    desk = Desk(batch_items=1)

    def readable() -> bool:
        return bool(select.select([desk.queue.fd], [], [], 0)[0])

    desk.submit("a")
    desk.submit("b")
    assert not readable()
    desk.run()
    desk.run()
    assert readable()
    assert len(desk.queue.results()) == 2
    assert not readable()


def test_close_answers_what_waits_and_what_runs() -> None:
    desk = Desk(batch_items=1)
    for name in ("runs", "done", "waits"):
        desk.submit(name)
    runs = desk.queue.try_take()
    assert runs
    desk.run()
    outcomes = desk.queue.close()
    assert [(tag, status) for tag, status, _ in outcomes] == [
        ("done", OK),
        ("waits", UNAVAILABLE),
        ("runs", UNAVAILABLE),
    ]
    desk.queue.finish(*runs)
    assert desk.queue.results() == []
    assert desk.queue.close() == []
    assert desk.submit("later") == DRAINING
    assert desk.take() == []
    assert (desk.counter("failed"), desk.counter("running"), desk.counter("waiting")) == (2, 0, 0)


def test_a_payload_that_calls_the_queue_while_it_is_dropped() -> None:
    """Objects must die outside of the queue's lock, or their finalizers could never use the queue."""
    desk = Desk()
    seen: list[int] = []

    class Caller:
        def __del__(self) -> None:
            seen.append(desk.counter("waiting"))

    first = desk.queue.submit(Caller(), 1, INTERACTIVE, NEVER, "a")
    assert desk.queue.submit(Caller(), 5000, INTERACTIVE, NEVER, "b") == TOO_LONG
    assert seen == [1]
    assert desk.queue.cancel(first)
    assert seen == [1, 0]
    desk.queue.submit(Caller(), 1, INTERACTIVE, NEVER, "c")
    desk.queue.close()
    assert seen == [1, 0, 0]
