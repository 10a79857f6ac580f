"""Whose turn it is where several clients wait, and how much of a queue one may fill."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from ext._batching import Admission
from tests.ext.queue.harness import BULK, INTERACTIVE, Harness

if TYPE_CHECKING:
    from collections.abc import Iterator

GREEDY, POLITE, OTHER = 1, 2, 3
OWNER = 1 << 32


def names(letter: str, count: int) -> list[str]:
    return [f"{letter}{number}" for number in range(count)]


def submit_all(queue: Harness, requests: list[str], flow: int, tokens: int = 1) -> None:
    for name in requests:
        assert queue.submit(name, tokens, flow=flow) > 0


def drained(queue: Harness) -> Iterator[object]:
    while batch := queue.run():
        yield from batch


def test_one_request_comes_before_the_hundreds_of_another_flow() -> None:
    queue = Harness(batch_items=1)
    submit_all(queue, names("g", 300), GREEDY)
    assert queue.run() == ["g0"]
    queue.submit("polite", flow=POLITE)
    assert queue.run() == ["polite"]
    assert list(drained(queue)) == names("g", 300)[1:]


def test_two_that_have_many_waiting_each_get_half_by_tokens() -> None:
    queue = Harness(batch_items=1)
    submit_all(queue, names("a", 100), GREEDY, tokens=3)
    submit_all(queue, names("b", 300), POLITE, tokens=1)
    first = [str(next(each)) for each in [drained(queue)] * 100]
    tokens = {letter: sum(cost for name in first if name[0] == letter) for letter, cost in (("a", 3), ("b", 1))}
    assert abs(tokens["a"] - tokens["b"]) <= 4, tokens
    assert [name for name in first if name[0] == "a"] == names("a", sum(name[0] == "a" for name in first))


def test_requests_of_one_flow_keep_their_order_and_so_do_those_of_none() -> None:
    for flow in (0, GREEDY):
        queue = Harness(batch_items=1)
        submit_all(queue, names("r", 50), flow, tokens=2)
        assert list(drained(queue)) == names("r", 50)


def test_what_a_flow_did_while_nobody_else_asked_is_not_held_against_it() -> None:
    queue = Harness(batch_items=1)
    submit_all(queue, names("g", 2000), GREEDY)
    for _ in range(1900):
        queue.run()
    submit_all(queue, names("p", 100), POLITE)
    first = [str(next(each)) for each in [drained(queue)] * 40]
    assert 15 <= sum(name[0] == "g" for name in first) <= 25


def test_flows_that_are_always_new_keep_nobody_back() -> None:
    """As requests over HTTP are: each is a flow of its own."""
    queue = Harness(batch_items=1)
    submit_all(queue, names("old", 3), GREEDY, tokens=10)
    taken = []
    for number in range(400):
        queue.submit(f"new{number}", 10, flow=100 + 2 * number)
        queue.submit(f"newer{number}", 10, flow=101 + 2 * number)
        taken += queue.run()
        queue.clock.advance(5)
    assert set(names("old", 3)) <= set(taken)


def test_lanes_have_turns_of_their_own() -> None:
    queue = Harness(batch_items=1, capacity=4)
    for name in names("g", 10):
        queue.submit(name, lane=BULK, flow=GREEDY)
    queue.submit("now", lane=INTERACTIVE, flow=GREEDY)
    assert queue.run() == ["now"]


def test_a_batch_has_room_for_those_who_may_ask_again() -> None:
    """Alone a flow may fill a batch; beside others that asked just now it gets a part, an eighth at least."""
    queue = Harness(batch_items=64, batch_tokens=64, pads=False)
    submit_all(queue, names("g", 300), GREEDY)
    assert len(queue.run()) == 64
    for flow in range(2, 18):
        queue.submit(f"p{flow}", flow=flow)
    batch = [str(name) for name in queue.run()]
    assert sum(name[0] == "p" for name in batch) == 16
    assert sum(name[0] == "g" for name in batch) == 8
    queue.clock.advance(10)
    assert len(queue.run()) == 8, "the others have their answers, and may ask again"
    queue.clock.advance(60)
    assert len(queue.run()) == 64, "nobody else has asked for a while"


def test_a_batch_has_room_for_those_whose_requests_run_however_long() -> None:
    """They are answered while it runs, and ask again: where batches take longer than clients think, as on most."""
    queue = Harness(batch_items=64, batch_tokens=64, pads=False, capacity=2)
    submit_all(queue, names("g", 300), GREEDY)
    for flow in range(2, 18):
        queue.submit(f"p{flow}", flow=flow)
    batch_id, batch = queue.queue.try_take() or (0, [])
    assert sum(str(name)[0] == "p" for name in batch) == 16
    queue.clock.advance(500)
    assert len(queue.run()) == 8, "the others' requests still run"
    queue.queue.finish(batch_id, batch)
    queue.clock.advance(10)
    assert len(queue.run()) == 8, "the others have their answers, and may ask again"
    queue.clock.advance(60)
    assert len(queue.run()) == 64, "nobody else has asked for a while"


FIXED = 20
"""Tokens whose time a batch takes beside that of its own: a token takes a millisecond."""


def queue_that_knows_its_batches(**settings: Any) -> Harness:
    queue = Harness(batch_items=256, batch_tokens=4096, pads=False, **settings)
    for number in range(40):
        tokens = 2 + number % 5
        queue.submit("learned from", tokens, flow=1000 + number)
        timed(queue, tokens)
        queue.clock.advance(100)
    return queue


def timed(queue: Harness, tokens: int) -> list[str]:
    """The next batch, which takes as long as one of so many tokens does."""
    batch_id, batch = queue.queue.try_take() or (0, [])
    queue.clock.advance(FIXED + tokens)
    queue.queue.finish(batch_id, batch)
    return [str(name) for name in batch]


def test_who_asks_for_much_makes_batches_of_others_half_as_long_again() -> None:
    queue = queue_that_knows_its_batches()
    submit_all(queue, names("g", 100), GREEDY, tokens=4)
    for flow in range(2, 18):
        queue.submit(f"p{flow}", flow=flow)
    batch = timed(queue, 16 + 4 * 4)
    assert sum(name[0] == "p" for name in batch) == 16
    assert sum(name[0] == "g" for name in batch) == 4, f"of 4 tokens each, beside {FIXED} and 16"
    assert len(timed(queue, 8)) == 2, "the others have their answers, and may ask again"
    queue.clock.advance(60)
    assert len(queue.run()) == 94, "nobody else has asked for a while"


def test_what_takes_no_longer_for_more_is_filled() -> None:
    """As batches on a card are: until they are large, one more costs nothing."""
    queue = Harness(batch_items=64, batch_tokens=64, pads=False)
    for number in range(40):
        queue.submit("learned from", 2 + number % 5, flow=1000 + number)
        timed(queue, 0)
        queue.clock.advance(100)
    submit_all(queue, names("g", 300), GREEDY)
    queue.submit("p", flow=POLITE)
    assert len(queue.run()) == 1 + 32


def test_two_who_ask_for_much_fill_batches_with_each_other() -> None:
    queue = queue_that_knows_its_batches()
    submit_all(queue, names("a", 300), GREEDY)
    submit_all(queue, names("b", 300), POLITE)
    batch = timed(queue, 256)
    assert {letter: sum(name[0] == letter for name in batch) for letter in "ab"} == {"a": 128, "b": 128}
    queue.submit("other", flow=OTHER)
    batch = timed(queue, 21)  # half of the time is for both
    assert {letter: sum(name[0] == letter for name in batch) for letter in "abo"} == {"a": 10, "b": 10, "o": 1}


def test_a_few_requests_at_a_time_are_not_much() -> None:
    queue = queue_that_knows_its_batches()
    submit_all(queue, names("f", 4), GREEDY, tokens=30)
    submit_all(queue, names("p", 1), POLITE)
    assert len(timed(queue, 121)) == 5
    submit_all(queue, names("f", 5), GREEDY, tokens=30)
    submit_all(queue, names("p", 1), POLITE)
    assert len(queue.run()) == 2, "the first of one who asks for much goes whatever it costs"


def test_who_was_answered_and_asks_again_counts_once() -> None:
    queue = Harness(batch_items=64, batch_tokens=64, pads=False)
    for _ in range(20):
        queue.submit("p", flow=POLITE)
        assert queue.run() == ["p"]
        queue.clock.advance(3)
    submit_all(queue, names("g", 300), GREEDY)
    assert len(queue.run()) == 32, "of two"


def test_a_request_over_a_part_goes_all_the_same() -> None:
    queue = Harness(batch_items=64, batch_tokens=64, pads=False)
    submit_all(queue, ["long"], GREEDY, tokens=60)
    submit_all(queue, ["short"], POLITE, tokens=2)
    assert queue.run() == ["long", "short"]


def test_one_flow_fills_a_share_of_the_queue() -> None:
    queue = Harness(queue_items=8, client_share=0.5)
    submit_all(queue, names("g", 4), GREEDY)
    assert queue.submit("over", flow=GREEDY) == -Admission.SHARE_FULL
    submit_all(queue, names("p", 4), POLITE)
    assert queue.submit("over", flow=OTHER) == -Admission.QUEUE_FULL
    assert queue.counter("overloaded") == 2
    assert len(list(drained(queue))) == 8
    submit_all(queue, names("g", 4), GREEDY)


def test_the_share_is_one_of_tokens_too() -> None:
    queue = Harness(queue_tokens=100, max_tokens=60, client_share=0.5)
    assert queue.submit("first", 60, flow=GREEDY) > 0, "one may always wait"
    assert queue.submit("over", 1, flow=GREEDY) == -Admission.SHARE_FULL
    assert queue.submit("other", 40, flow=POLITE) > 0


def test_flows_of_one_owner_have_one_share() -> None:
    queue = Harness(queue_items=8, client_share=0.5)
    for flow in range(4):
        assert queue.submit(f"g{flow}", flow=OWNER + flow) > 0
    assert queue.submit("over", flow=OWNER + 9) == -Admission.SHARE_FULL
    assert queue.submit("other", flow=2 * OWNER + 9) > 0


def test_what_is_nobodys_has_no_share() -> None:
    queue = Harness(queue_items=8, client_share=0.1)
    submit_all(queue, names("job", 8), 0)


@pytest.mark.parametrize("end", ["run", "cancel", "expire", "close"])
def test_whatever_ends_a_request_gives_its_place_back(end: str) -> None:
    queue = Harness(queue_items=4, client_share=0.5, queue_bytes=100)
    ids = [queue.submit(name, 1, INTERACTIVE, 5, GREEDY, 40) for name in ("a", "b")]
    assert queue.submit("over", flow=GREEDY) == -Admission.SHARE_FULL
    assert queue.counter("waiting_bytes") == 80
    if end == "run":
        assert len(queue.run()) == 2
    elif end == "cancel":
        assert [queue.queue.cancel(each) for each in reversed(ids)] == [True, True]
    elif end == "expire":
        queue.clock.advance(6)
        queue.queue.sweep()
    else:
        assert len(queue.queue.close()) == 2
        assert queue.counter("waiting_bytes") == 0
        return
    assert (queue.counter("waiting"), queue.counter("waiting_bytes")) == (0, 0)
    submit_all(queue, ["c", "d"], GREEDY)


def test_bytes_are_bounded_and_one_request_alone_is_not() -> None:
    queue = Harness(queue_bytes=100)
    assert queue.submit("large", size=1000) > 0
    assert queue.submit("small", size=1) == -Admission.QUEUE_BYTES_FULL
    assert queue.run() == ["large"]
    assert queue.submit("small", size=1) > 0


def test_a_request_in_the_midst_of_others_can_be_cancelled() -> None:
    queue = Harness(batch_items=1)
    ids = {}
    for number in range(20):
        for flow in (GREEDY, POLITE, OTHER):
            name = f"{flow}-{number}"
            ids[name] = queue.submit(name, flow + number % 3, flow=flow)
    left = set(ids)
    for name in [name for index, name in enumerate(ids) if index % 2]:
        assert queue.queue.cancel(ids[name])
        assert not queue.queue.cancel(ids[name])
        left.discard(name)
    assert sorted(map(str, drained(queue))) == sorted(left)


def test_company_is_waited_for_no_longer_than_the_oldest_has_time() -> None:
    queue = Harness(max_delay_ms=10, batch_items=8)
    queue.submit("a", 5, flow=GREEDY)
    queue.submit("b", 5, flow=GREEDY)
    queue.clock.advance(9)
    queue.submit("first in turn", flow=POLITE)
    assert queue.take() == []
    queue.clock.advance(1)
    assert len(queue.take()) == 3


@pytest.mark.parametrize(
    ("settings", "message"),
    [({"client_share": 0.0}, "client_share must be over 0"), ({"queue_bytes": 0}, "queue_bytes must be at least 1")],
)
def test_settings_out_of_range(settings: dict[str, float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Harness(**settings)
