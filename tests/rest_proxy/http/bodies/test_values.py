"""JSON is counted before it is parsed."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rest_proxy.http.bodies.values import JsonCount

TEXTS = st.text(alphabet='ab\\",:[{}]1ä', max_size=8)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(0, 99) | TEXTS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXTS, inner, max_size=4),
    max_leaves=20,
)


def counted(body: bytes, step: int) -> JsonCount:
    count = JsonCount()
    for start in range(0, len(body), step):
        count.add(body[start : start + step])
    return count


def most_values(content: Any) -> int:
    """Each value, and each list or object once more: the first of its items has no comma."""
    if isinstance(content, dict):
        return 1 + sum(map(most_values, content.values())) + (not content)
    if isinstance(content, list):
        return 1 + sum(map(most_values, content)) + (not content)
    return 1


def fields_of(content: Any) -> int:
    if isinstance(content, dict):
        return len(content) + sum(map(fields_of, content.values()))
    return sum(map(fields_of, content)) if isinstance(content, list) else 0


@given(content=JSON, step=st.sampled_from((1, 2, 3, 7, 1 << 16)), spaced=st.booleans())
def test_values_and_fields_are_counted_whatever_texts_say(content: Any, step: int, spaced: bool) -> None:
    body = json.dumps(content, indent=1 if spaced else None, ensure_ascii=False).encode()
    count = counted(body, step)
    assert (count.values, count.fields) == (most_values(content), fields_of(content))


@given(body=st.lists(st.sampled_from([b"\\", b'"', b",", b"a"]), max_size=40).map(b"".join))
def test_slices_make_no_difference(body: bytes) -> None:
    assert [counted(body, step).values for step in (1, 2, 3, 5)] == [counted(body, 100).values] * 4


@pytest.mark.parametrize(("digits", "longest"), [(400, 400), (401, 401), (5000, 5000)])
@pytest.mark.parametrize("before", [b"", b'{"a":"' + b"7" * 999 + b'","b":', b"[" * 399])
def test_long_numbers(digits: int, longest: int, before: bytes) -> None:
    found = counted(before + b"9" * digits + b",1]", 1 << 16).longest_number
    assert found == longest or (digits <= 400 and found <= 400)


@pytest.mark.parametrize("part", [b"\\", b'\\"', b"\\\\", b'"', b" ", b"1", b"1 ", b",", b"\xff", b'"\\\\"'])
def test_no_character_costs_much(part: bytes) -> None:
    body = part * (8_000_000 // len(part))
    started = time.process_time()
    counted(body, 1 << 16)
    assert time.process_time() - started < 0.5
