"""Server-sent events, whole and in pieces."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.upstream.errors import AnswerError
from server.upstream.events import MAX_EVENT_BYTES, EventReader

STREAM = (
    b': a ping\r\n\r\ndata: {"a": 1}\r\n\r\nevent: x\nid: 7\ndata:two\ndata: lines\n\n\n\n'
    b'error: {"b": 2}\n\ndata: [DONE]\n\nretry'
)
EVENTS = [b'{"a": 1}', b"two\nlines", b'{"b": 2}', b"[DONE]"]


@given(st.lists(st.integers(0, len(STREAM)), max_size=20))
def test_events_do_not_depend_on_where_they_are_parted(cuts: list[int]) -> None:
    reader = EventReader()
    places = [0, *sorted(cuts), len(STREAM)]
    found = [event for start, end in pairwise(places) for event in reader.feed(STREAM[start:end])]
    assert found + list(reader.end()) == EVENTS


def test_the_last_event_needs_no_empty_line() -> None:
    reader = EventReader()
    assert list(reader.feed(b"data: a")) == []
    assert list(reader.end()) == [b"a"]
    assert list(reader.end()) == []


@pytest.mark.parametrize("part", [b"a" * 65_536, b"data: " + b"a" * 65_530, b"data: " + b"a" * 65_529 + b"\n"])
def test_an_endless_line_or_event_ends(part: bytes) -> None:
    reader = EventReader()
    parts = (list(reader.feed(part)) for _ in range(2 * MAX_EVENT_BYTES // len(part)))
    with pytest.raises(AnswerError, match=f"more than {MAX_EVENT_BYTES} bytes"):
        list(parts)


@given(st.lists(st.binary(max_size=200), max_size=20))
def test_any_bytes_are_read(parts: list[bytes]) -> None:
    reader = EventReader()
    for part in parts:
        assert all(type(event) is bytes for event in reader.feed(part))
    list(reader.end())
