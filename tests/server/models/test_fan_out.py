"""Many requests for one call: windows, order, errors, and nothing left behind."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from server.calls import Pending, drive
from server.clients import WINDOW, Client
from server.errors import ErrorCode, PredictionError, deadline_exceeded, internal, overloaded
from server.models import fan_out as many
from server.models.fan_out import answer_all


@pytest.fixture(autouse=True)
def _no_slices(monkeypatch: pytest.MonkeyPatch) -> None:
    """Most tests have no event loop to give way to, and must not depend on how quick this machine is."""
    monkeypatch.setattr(many, "_SLICE_NS", 10**18)


class SmallQueue:
    """Takes at most `room` requests at a time; the test answers them."""

    def __init__(self, room: int = 10**6) -> None:
        self.room = room
        self.waiting: dict[str, Pending[str]] = {}
        self.abandoned: list[str] = []
        self.most = 0
        self.refused = 0

    def submit(self, item: str) -> Pending[str]:
        if len(self.waiting) >= self.room:
            self.refused += 1
            raise overloaded("full", 7)
        pending: Pending[str] = Pending(lambda: self.abandoned.append(item))
        self.waiting[item] = pending
        self.most = max(self.most, len(self.waiting))
        return pending

    def answer(self, item: str) -> None:
        self.waiting.pop(item).resolve(item.upper())

    def fail(self, item: str, error: Exception) -> None:
        self.waiting.pop(item).fail(error)


class Answer:
    """One call of answer_all."""

    def __init__(self, items: list[str], queue: SmallQueue, client: Client | None = None) -> None:
        self.results: Any = None
        self.error: Any = None
        self.call = drive(answer_all(items, queue.submit, "docs", client=client), self._done)

    def _done(self, results: Any, error: BaseException | None) -> None:
        self.results, self.error = results, error


def names(count: int) -> list[str]:
    return [f"d{number}" for number in range(count)]


def test_nothing_to_answer() -> None:
    assert Answer([], SmallQueue()).results == []


def test_results_keep_the_order_of_the_items() -> None:
    queue = SmallQueue()
    answer = Answer(["a", "b", "c"], queue)
    for item in ("c", "a", "b"):
        assert answer.results is None
        queue.answer(item)
    assert answer.results == ["A", "B", "C"]


def test_no_more_than_a_window_waits_at_a_time() -> None:
    queue = SmallQueue()
    items = names(3 * WINDOW + 5)
    answer = Answer(items, queue)
    while queue.waiting:
        queue.answer(next(iter(queue.waiting)))
    assert answer.results == [item.upper() for item in items]
    assert queue.most == WINDOW


def test_with_a_full_queue_it_waits_for_its_own_requests() -> None:
    queue = SmallQueue(room=3)
    answer = Answer(names(10), queue)
    while queue.waiting:
        queue.answer(next(iter(queue.waiting)))
    assert answer.results == [item.upper() for item in names(10)]
    assert queue.refused > 0
    assert queue.most == 3


def test_a_queue_full_of_others_is_an_error() -> None:
    answer = Answer(["a"], SmallQueue(room=0))
    assert isinstance(answer.error, PredictionError)
    assert (answer.error.code, answer.error.retry_after_ms) == (ErrorCode.OVERLOADED, 7)
    assert answer.error.message == "docs[0]: full"


def test_the_first_failing_item_fails_the_call_and_frees_the_others() -> None:
    queue = SmallQueue()
    answer = Answer(["a", "b", "c", "d"], queue)
    queue.answer("a")
    queue.answer("d")
    queue.fail("b", internal("the model failed", "id-1"))
    assert answer.error.message == "docs[1]: the model failed"
    assert (answer.error.code, answer.error.request_id) == (ErrorCode.INTERNAL, "id-1")
    assert queue.abandoned == ["c"]


def test_a_refusal_names_the_item_that_was_refused() -> None:
    queue = SmallQueue()

    def submit(item: str) -> Pending[str]:
        if item == "bad":
            raise deadline_exceeded("too late")
        return queue.submit(item)

    reports: list[BaseException | None] = []
    drive(answer_all(["a", "b", "bad", "c"], submit, "texts"), lambda _, error: reports.append(error))
    (error,) = reports
    assert isinstance(error, PredictionError)
    assert error.message == "texts[2]: too late"
    assert sorted(queue.abandoned) == ["a", "b"]


def test_a_cancelled_call_frees_everything() -> None:
    queue = SmallQueue()
    answer = Answer(["a", "b", "c"], queue)
    queue.answer("a")
    answer.call.cancel()
    assert sorted(queue.abandoned) == ["b", "c"]
    assert answer.results is None


def test_what_is_no_prediction_error_passes_as_it_is() -> None:
    queue = SmallQueue()
    answer = Answer(["a"], queue)
    fault = ZeroDivisionError("a fault of ours")
    queue.fail("a", fault)
    assert answer.error is fault
    with pytest.raises(ZeroDivisionError):
        raise answer.error


async def test_others_have_their_turn_while_much_is_submitted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(many, "_SLICE_NS", -1)  # over at once
    queue = SmallQueue()
    answer = Answer(names(5), queue)
    assert list(queue.waiting) == ["d0"]
    for _ in range(5):  # the last turn is the answer's own
        await asyncio.sleep(0.001)
    assert list(queue.waiting) == names(5)
    for name in names(5):
        queue.answer(name)
    assert answer.results == ["D0", "D1", "D2", "D3", "D4"]


def lists(count: int, size: int) -> list[list[str]]:
    return [[f"{letter}{number}" for number in range(size)] for letter in "abcdefgh"[:count]]


def test_all_lists_of_one_client_share_a_window_and_are_answered_in_turn() -> None:
    queue, client = SmallQueue(), Client()
    asked = lists(4, WINDOW)
    answers = [Answer(items, queue, client) for items in asked]
    assert set(queue.waiting) == set(asked[0])
    ended = []
    while queue.waiting:
        queue.answer(next(iter(queue.waiting)))
        ended += [index for index, answer in enumerate(answers) if answer.results is not None and index not in ended]
    assert ended == [0, 1, 2, 3]
    assert [answer.results for answer in answers] == [[item.upper() for item in items] for items in asked]
    assert queue.most == WINDOW


def test_lists_of_others_have_windows_of_their_own() -> None:
    queue = SmallQueue()
    for items in lists(3, WINDOW):
        Answer(items, queue, Client())
    assert len(queue.waiting) == 3 * WINDOW


def test_a_list_that_fails_or_is_cancelled_lets_the_next_one_in() -> None:
    queue, client = SmallQueue(), Client()
    first, second, third = (Answer(items, queue, client) for items in lists(3, WINDOW))
    queue.fail("a0", internal("broken"))
    assert first.error is not None
    assert "b0" in queue.waiting
    second.call.cancel()
    assert "c0" in queue.waiting
    for item in [item for item in queue.waiting if item[0] == "c"]:
        queue.answer(item)
    assert len(third.results) == WINDOW


def test_a_list_waits_for_its_clients_others_where_the_queue_has_no_room() -> None:
    queue, client = SmallQueue(room=2), Client()
    first, second = (Answer(items, queue, client) for items in lists(2, 4))
    while queue.waiting:
        queue.answer(next(iter(queue.waiting)))
    assert (first.results, second.results) == (["A0", "A1", "A2", "A3"], ["B0", "B1", "B2", "B3"])


def test_nothing_goes_on_of_a_client_that_is_gone() -> None:
    queue, client = SmallQueue(), Client()
    first, second = (Answer(items, queue, client) for items in lists(2, WINDOW))
    for call in (first.call, second.call):  # as a connection that is lost does
        client.leave_for_good()
        call.cancel()
    assert not [item for item in queue.waiting if item[0] == "b"]
