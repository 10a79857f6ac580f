"""When bulk batches may begin: cases as a table, and bulk's share of the time whatever its batches take."""

from __future__ import annotations

from math import ceil

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ext._batching import BulkPacer

MS = 1_000_000
NOW = 1000

BEGAN, ENDED, CAME, LEFT = "bulk_started", "bulk_finished", "interactive_submitted", "interactive_finished"


@pytest.mark.parametrize(
    ("capacity", "share", "events", "bulk_ready_at"),
    [
        pytest.param(1, 0.25, [], NOW, id="nobody was ever there"),
        pytest.param(1, 0.25, [(900, BEGAN), (990, ENDED)], NOW, id="alone it owes nothing"),
        pytest.param(1, 0.25, [(990, CAME), (991, LEFT)], NOW, id="the first begins at once"),
        pytest.param(1, 0.25, [(970, CAME), (980, LEFT), (980, BEGAN)], NOW, id="silent for 20 ms"),
        pytest.param(1, 0.25, [(970, CAME), (981, LEFT), (981, BEGAN)], 1001, id="silent for 19 ms"),
        pytest.param(1, 0.25, [(990, CAME), (996, BEGAN), (999, ENDED)], 1008, id="3 ms of 12"),
        pytest.param(1, 0.25, [(900, CAME), (910, BEGAN), (990, ENDED)], 1020, id="ask again, though it is far off"),
        pytest.param(1, 0.25, [(900, BEGAN), (996, CAME), (999, ENDED)], 1008, id="counted from the first who came"),
        pytest.param(1, 0.25, [(900, CAME), (950, BEGAN), (960, ENDED), (961, LEFT)], NOW, id="silence wipes it out"),
        pytest.param(1, 0.25, [(1, CAME), (2, CAME), (3, LEFT), (999, BEGAN)], 1020, id="one of two has left"),
        pytest.param(2, 0.25, [(990, CAME), (999, BEGAN)], 1020, id="half a place: one at a time"),
        pytest.param(2, 0.25, [(900, CAME), (990, BEGAN), (996, ENDED)], 1002, id="half a place: half the time"),
        pytest.param(16, 0.25, [(900, CAME), *[(910, BEGAN)] * 3], NOW, id="three of four places"),
        pytest.param(16, 0.25, [(900, CAME), *[(910, BEGAN)] * 4], 1020, id="four of four places"),
        pytest.param(16, 0.25, [(900, CAME), *[(910, BEGAN)] * 4, (NOW, ENDED)], NOW, id="one of four places ended"),
        pytest.param(
            16, 0.25, [*[(900, BEGAN)] * 16, (910, CAME), *[(NOW, ENDED)] * 13], NOW, id="what ran before owes nothing"
        ),
        pytest.param(6, 0.25, [(900, CAME), *[(990, BEGAN)] * 2, (NOW, ENDED)], 1010, id="a place and half of one"),
        pytest.param(6, 0.25, [(900, CAME), *[(990, BEGAN)] * 2, *[(NOW, ENDED)] * 2], NOW, id="a place is always its"),
        pytest.param(1, 1e-12, [(900, CAME), (910, BEGAN), (911, ENDED)], 1020, id="hardly any share"),
        pytest.param(1, 0.25, [(999, CAME), (998, BEGAN), (997, ENDED)], NOW, id="clocks of several threads"),
    ],
)
def test_cases(capacity: int, share: float, events: list[tuple[int, str]], bulk_ready_at: int) -> None:
    """Times in ms; asked at NOW."""
    pacer = BulkPacer(capacity, share)
    for ms, event in events:
        getattr(pacer, event)(ms * MS)
    assert pacer.bulk_ready_at(NOW * MS) == bulk_ready_at * MS


@given(
    st.integers(1, 20),
    st.sampled_from([0.05, 0.25, 0.3, 0.5, 0.9]),
    st.lists(st.integers(1, 400 * MS), min_size=1, max_size=20),
    st.integers(0, 20),
)
def test_bulk_has_its_share_of_the_time_to_within_a_batch(
    capacity: int, share: float, lengths: list[int], already: int
) -> None:
    """While somebody else is there, and another bulk batch always waits. `already`: batches that began before."""
    pacer = BulkPacer(capacity, share)
    places = share * capacity
    ends: list[int] = []
    held, now = 0, 0
    for _ in range(already):
        pacer.bulk_started(0)
        ends.append(lengths[0])
    pacer.interactive_submitted(0)
    for length in lengths * 10:
        while (begin := pacer.bulk_ready_at(now)) > now:
            event = min([begin, *ends])
            held += min(len(ends), ceil(places)) * (event - now)
            now = event
            while now in ends:
                ends.remove(now)
                pacer.bulk_finished(now)
            assert abs(held - places * now) <= max(lengths) + MS
        pacer.bulk_started(now)
        ends.append(now + length)


def test_there_must_be_a_place() -> None:
    with pytest.raises(ValueError, match=r"^capacity must be at least 1$"):
        BulkPacer(0, 0.25)
