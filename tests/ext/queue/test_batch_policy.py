"""Which of the waiting requests form the next batch: the pure policy, through its binding, without clock or threads."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ext._batching import BatchPolicy, Lane, Queue

INTERACTIVE, BULK = Lane
UNLIMITED: dict[str, Any] = {"batch_items": 1000, "batch_tokens": 1 << 24, "look_ahead": 1000, "free_padding": 1 << 24}

lengths = st.lists(st.integers(1, 40), min_size=1, max_size=60)
settings = st.fixed_dictionaries(
    {
        "batch_items": st.integers(1, 20),
        "batch_tokens": st.integers(1, 300),
        "look_ahead": st.integers(1, 60),
        "max_padding": st.floats(0, 0.9),
        "free_padding": st.integers(0, 60),
        "equal_lengths": st.booleans(),
    }
)


def padding(tokens: list[int]) -> int:
    return len(tokens) * max(tokens) - sum(tokens)


# --------------------------------------------------------------------------------------------------------- a batch


@given(lengths, settings)
def test_a_batch_keeps_every_limit(tokens: list[int], limits: dict[str, Any]) -> None:
    batch = BatchPolicy(**limits).fill(tokens)
    chosen = [tokens[i] for i in batch]
    assert batch[0] == 0, "the oldest request must be in the batch, or it could starve"
    assert batch == sorted(set(batch))
    assert batch[-1] < min(len(tokens), limits["look_ahead"])
    assert len(batch) <= limits["batch_items"]
    if len(batch) > 1:
        padded = len(batch) * max(chosen)
        assert padded <= limits["batch_tokens"]
        assert padding(chosen) <= max(limits["free_padding"], limits["max_padding"] * padded)
    if limits["equal_lengths"]:
        assert len(set(chosen)) == 1


@given(lengths, st.integers(1, 20))
def test_the_nearest_in_length_join_and_of_equals_the_oldest(tokens: list[int], items: int) -> None:
    batch = BatchPolicy(**UNLIMITED | {"batch_items": items}).fill(tokens)
    others = sorted(range(1, len(tokens)), key=lambda i: (abs(tokens[i] - tokens[0]), i))
    assert batch == sorted([0, *others[: items - 1]])


@given(lengths, st.integers(1, 20), st.integers(1, 300))
def test_equal_lengths_take_the_oldest_of_the_anchor_s_length(tokens: list[int], items: int, budget: int) -> None:
    policy = BatchPolicy(batch_items=items, batch_tokens=budget, max_padding=0, free_padding=0, equal_lengths=True)
    same = [i for i, count in enumerate(tokens) if count == tokens[0]]
    assert policy.fill(tokens) == same[: max(1, min(items, budget // tokens[0]))]


@given(lengths, settings, lengths)
def test_what_lies_behind_the_look_ahead_changes_nothing(
    tokens: list[int], limits: dict[str, Any], later: list[int]
) -> None:
    limits["look_ahead"] = len(tokens)
    policy = BatchPolicy(**limits)
    assert policy.fill(tokens + later) == policy.fill(tokens)


@pytest.mark.parametrize(
    ("tokens", "limits", "batch"),
    [
        pytest.param([], {}, [], id="nothing waits"),
        pytest.param([5], {"batch_tokens": 1}, [0], id="a request over the budget runs alone"),
        pytest.param([9, 1, 1], {"batch_tokens": 8}, [0], id="a long anchor is not joined over the budget"),
        pytest.param([3, 3, 3, 3], {"batch_items": 3}, [0, 1, 2], id="items"),
        pytest.param([4, 4, 4, 4], {"batch_tokens": 12}, [0, 1, 2], id="tokens"),
        pytest.param([2, 9, 2, 3], {"batch_tokens": 9}, [0, 2, 3], id="what does not fit is passed over"),
        pytest.param([5, 6, 4, 5], {"batch_items": 2}, [0, 3], id="equal goes before near"),
        pytest.param([5, 6, 4], {"batch_items": 2}, [0, 1], id="of equally near ones the older goes first"),
        pytest.param([5, 5, 5, 5], {"look_ahead": 2}, [0, 1], id="look-ahead"),
        pytest.param([1, 10, 1], {"max_padding": 0.25, "free_padding": 0}, [0, 2], id="too much padding"),
        pytest.param([3, 4], {"max_padding": 0.125, "free_padding": 0}, [0, 1], id="padding exactly at its limit"),
        pytest.param([3, 4], {"max_padding": 0.124, "free_padding": 0}, [0], id="padding just over its limit"),
        pytest.param([1, 10], {"max_padding": 0, "free_padding": 9}, [0, 1], id="padding that is free"),
        pytest.param([1, 10], {"max_padding": 0, "free_padding": 8}, [0], id="padding that is not"),
        pytest.param([3, 4, 3, 3], {"equal_lengths": True}, [0, 2, 3], id="equal lengths"),
        pytest.param([1, 90, 2], {"pads": False, "batch_tokens": 93}, [0, 1, 2], id="no padding, the sum fits"),
        pytest.param([1, 90, 2], {"pads": False, "batch_tokens": 92}, [0, 2], id="no padding, the sum does not fit"),
    ],
)
def test_cases(tokens: list[int], limits: dict[str, Any], batch: list[int]) -> None:
    assert BatchPolicy(**UNLIMITED | limits).fill(tokens) == batch


# ------------------------------------------------------------------------------------------------------------ when

MS = 1_000_000


@pytest.mark.parametrize(
    ("limits", "interactive", "bulk", "ready_at"),
    [
        pytest.param({}, [], [], None, id="nothing waits"),
        pytest.param({}, [7], [], 7, id="no timer: at once"),
        pytest.param({"max_delay_ms": 2}, [7, 9], [], 7 + 2 * MS, id="the oldest has waited long enough"),
        pytest.param({"max_delay_ms": 2}, [9], [7], 7 + 2 * MS, id="the oldest of both lanes counts"),
        pytest.param({"max_delay_ms": 2, "batch_items": 3}, [7, 8, 9], [], 7, id="a full batch waits for nothing"),
        pytest.param({"max_delay_ms": 2, "batch_items": 3}, [7, 8], [9], 7, id="full, over both lanes"),
    ],
)
def test_ready_at(limits: dict[str, Any], interactive: list[int], bulk: list[int], ready_at: int | None) -> None:
    assert BatchPolicy(**limits).ready_at(interactive, bulk) == ready_at


# ----------------------------------------------------------------------------------------------------------- lanes

shares = st.sampled_from([0.05, 0.25, 0.5, 0.9])
costs = st.lists(st.integers(1, 1000), min_size=1, max_size=400)


@given(costs, shares)
def test_bulk_gets_its_share_to_within_a_batch_while_both_wait(costs: list[int], share: float) -> None:
    policy = BatchPolicy(bulk_share=share)
    run = [0, 0]
    for cost in costs:
        lane = policy.choose_lane(True, True)
        policy.charge(lane, cost)
        run[lane] += cost
        assert abs(run[BULK] - share * sum(run)) <= max(costs)


@given(st.lists(st.tuples(st.booleans(), st.booleans(), st.integers(1, 1000)), max_size=400), shares)
def test_shares_hold_in_every_stretch_in_which_both_wait(stretches: list[tuple[bool, bool, int]], share: float) -> None:
    policy = BatchPolicy(bulk_share=share)
    most = max((cost for _, _, cost in stretches), default=0)
    run = [0, 0]
    for interactive, bulk, cost in stretches:
        if not (interactive or bulk):
            continue
        lane = policy.choose_lane(interactive, bulk)
        assert (interactive, bulk)[lane], "an empty lane was chosen"
        policy.charge(lane, cost)
        if interactive and bulk:
            run[lane] += cost
            # One batch beyond the share, and one of debt from the time before. Nothing that was saved up.
            assert abs(run[BULK] - share * sum(run)) <= 2 * most
        else:
            run = [0, 0]


@pytest.mark.parametrize("absent", [INTERACTIVE, BULK])
def test_a_lane_that_was_empty_has_saved_nothing_up(absent: int) -> None:
    policy = BatchPolicy(bulk_share=0.25)
    for _ in range(1000):
        lane = policy.choose_lane(absent != INTERACTIVE, absent != BULK)
        assert lane != absent
        policy.charge(lane, 100)
    chosen = []
    for _ in range(16):
        chosen.append(policy.choose_lane(True, True))
        policy.charge(chosen[-1], 100)
    assert 3 <= chosen.count(BULK) <= 5


# -------------------------------------------------------------------------------------------------------- settings

WRONG = [
    ("batch_items", 0),
    ("batch_items", -1),
    ("batch_items", 65_537),
    ("batch_items", "many"),
    ("batch_items", 1.5),
    ("batch_tokens", 0),
    ("batch_tokens", (1 << 24) + 1),
    ("look_ahead", 0),
    ("look_ahead", 65_537),
    ("max_delay_ms", -0.001),
    ("max_delay_ms", 60_001),
    ("max_delay_ms", float("nan")),
    ("max_delay_ms", float("inf")),
    ("max_delay_ms", 1e300),
    ("bulk_share", 0),
    ("bulk_share", 1),
    ("bulk_share", float("nan")),
    ("max_padding", -0.1),
    ("max_padding", 1),
    ("max_padding", float("nan")),
    ("free_padding", -1),
    ("free_padding", 1 << 32),
    ("equal_lengths", "always"),
]


@pytest.mark.parametrize("maker", [BatchPolicy, lambda **given: Queue(None, **given)], ids=["policy", "queue"])
@pytest.mark.parametrize(("name", "value"), WRONG, ids=[f"{name}={value}" for name, value in WRONG])
def test_a_setting_out_of_range_is_refused_by_its_name(maker: Any, name: str, value: object) -> None:
    with pytest.raises(ValueError, match=f"^{name} "):
        maker(**{name: value})


@pytest.mark.parametrize("maker", [BatchPolicy, lambda **given: Queue(None, **given)], ids=["policy", "queue"])
def test_an_unknown_setting_is_refused_by_its_name(maker: Any) -> None:
    with pytest.raises(TypeError, match="unknown setting 'batch_itmes'"):
        maker(batch_itmes=3)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"queue_items": 0}, "queue_items must be at least 1"),
        ({"max_tokens": 0}, "max_tokens must be 1 to 16777216"),
        ({"max_tokens": (1 << 24) + 1}, "max_tokens must be 1 to 16777216"),
        ({"max_tokens": 10, "queue_tokens": 9}, "queue_tokens must be at least max_tokens"),
        ({"queue_items": 4, "hold": 5}, "hold must be at most queue_items"),
        ({"hold": -1}, "hold is out of range or of the wrong type"),
        ({"capacity": 0}, "capacity must be at least 1"),
    ],
)
def test_limits_that_no_queue_can_work_with(given: dict[str, int], message: str) -> None:
    with pytest.raises(ValueError, match=f"^{message}$"):
        Queue(None, **given)
