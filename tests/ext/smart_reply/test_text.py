"""The text rules against their plain model, on text of every kind."""

from __future__ import annotations

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from ext import _smart_reply
from tests.support import plain_smart_reply as plain

PIECES = [
    *("'t", "'nt", "n't", "'d", "'ll", "'s", "'m", "'ve", "'re", "i'm", "I'M", "'", "''", '"', "-", "&", "*", "(", ")"),
    *("?", "!", ".", ",", ":", ";", "/", "?!", "!!", "...", " ", "  ", "\t", "\n", "\v", "\f", "\r", "\0"),
    *("a", "Don", "can", "you", "<S>", "<E>", "é", "\U0001f600", "x" * 299),
]
spoken = st.lists(st.sampled_from(PIECES), max_size=24).map(lambda pieces: "".join(pieces).encode())
texts = st.one_of(spoken, st.binary(max_size=64), st.text(max_size=64).map(str.encode))


@settings(max_examples=2000)
@given(texts)
@example(b"")
@example(b"do n't 've x")
@example(b"?!?!a?!?b!!")
@example(b"x,\v")
def test_normalized_is_what_the_patterns_give(text: bytes) -> None:
    assert _smart_reply.normalized(text) == plain.normalized(text)


@settings(max_examples=2000)
@given(texts)
@example(b"a. .b")
@example(b"\t\t. a\t")
def test_segments_are_what_the_patterns_give(text: bytes) -> None:
    assert _smart_reply.segments(text) == plain.segments(text)


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        (b"Hello", b"<S> hello <E>"),
        (b"", b"<S>  <E>"),
        (b"\"'.,;:-&!?", b"<S> ! ? <E>"),
        (b"I'm sure you 'll do n't. They've (not) don't", b"<S> i am sure you will do not they have not do not <E>"),
        (b"What??!!", b"<S> what ? ! <E>"),
        (b"a\xff\xfe\0b", b"<S> a\xff\xfe\0b <E>"),
        ("\U0001f600 É".encode(), "<S> \U0001f600 É <E>".encode()),
        (b"x" * 300, b"<S> " + b"x" * 300 + b" <E>"),
        (b"x" * 301, b"<S> " + b"x" * 300),
        (b"x " * 50_000, b"<S> " + b"x " * 150),
    ],
)
def test_normalized_of_one_text_of_each_kind(text: bytes, wanted: bytes) -> None:
    assert _smart_reply.normalized(text) == wanted


@pytest.mark.parametrize(
    ("message", "wanted"),
    [
        (b"", [b""]),
        (b"Hello", [b"Hello"]),
        (b"Hi. How are you?? Fine!", [b"Hi .", b"How are you ?", b"Fine !"]),
        (b"3.5 and 1,000", [b"3 .5 and 1 ,000"]),
        (b"wait...what", [b"wait .what"]),
        (b"one\ttwo  three", [b"one", b"two three"]),
        (b"?!.", [b" ."]),
    ],
)
def test_segments_of_one_message_of_each_kind(message: bytes, wanted: list[bytes]) -> None:
    assert _smart_reply.segments(message) == wanted


@settings(max_examples=1000)
@given(texts, st.integers(1, 5), st.integers(0, 10))
@example(b"a b c d e f g h", 3, 2)
def test_skip_grams_are_what_their_description_says(text: bytes, size: int, skip: int) -> None:
    text = plain.normalized(text[:40])  # white space at the beginning: test_against_runtime.py
    options = _smart_reply.SkipGramOptions(size, skip)
    assert _smart_reply.skip_grams(text, options) == plain.ngrams(text, size, skip)
    ids, weights = _smart_reply.features(text, options)
    assert (ids, weights) == plain.features(plain.ngrams(text, size, skip))


@pytest.mark.parametrize("options", [(0, 2), (6, 2), (3, -1), (3, 11)])
def test_skip_gram_options_out_of_range_are_refused(options: tuple[int, int]) -> None:
    for call in (_smart_reply.skip_grams, _smart_reply.features):
        with pytest.raises(ValueError, match="of 1 to 5 words and skip 0 to 10"):
            call(b"a b c", _smart_reply.SkipGramOptions(*options))


@pytest.mark.parametrize(
    "message", [b"i'm" * 34_000, b"don't " * 17_000, b"? " * 50_000, b"'" * 100_000, b" " * 100_000]
)
def test_100_kb_take_the_time_of_100_kb(message: bytes) -> None:
    """Rules that look back over the text would take minutes here."""
    assert b"".join(_smart_reply.segments(message)).count(b"?") == message.count(b"?")
    assert _smart_reply.normalized(message).startswith(b"<S> ")
