"""Forms in parts are read as aiohttp, and the clients of several languages, write them."""

from __future__ import annotations

import asyncio
import base64
import quopri
import time
from typing import TYPE_CHECKING

import pytest
from aiohttp import FormData, MultipartWriter
from hypothesis import given
from hypothesis import strategies as st

from rest_proxy.http.bodies.forms import FormError, TooManyFieldsError
from rest_proxy.http.bodies.parts import part_fields
from rest_proxy.http.errors import HttpError

if TYPE_CHECKING:
    from collections.abc import Sequence

DOC = b'Content-Disposition: form-data; name="doc"'


def written_by_aiohttp(pairs: Sequence[tuple[str, str]], boundary: str) -> bytes:
    """The body of a form."""

    class Kept:
        def __init__(self) -> None:
            self.written = b""

        async def write(self, data: bytes) -> None:
            self.written += data

    async def write() -> bytes:
        form, kept = FormData(list(pairs), default_to_multipart=True), Kept()
        form._writer = MultipartWriter("form-data", boundary=boundary)
        await form().write(kept)  # type: ignore[arg-type]
        return kept.written

    return asyncio.run(write())


def parts(*each: bytes, before: bytes = b"", end: bytes = b"--x--\r\n") -> bytes:
    """Of a head and a value each."""
    return before + b"".join(b"--x\r\n" + part + b"\r\n" for part in each) + end


def one(head: bytes, value: bytes = b"text") -> bytes:
    return head + b"\r\n\r\n" + value


TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)


@given(
    pairs=st.lists(
        st.tuples(st.sampled_from(["doc", "docs", "top k"]), TEXTS | st.sampled_from(["--x", "\r\n--", "\r\n"]))
    ),
    boundary=st.sampled_from(["b", "----WebKitFormBoundary7MA4YWxkTrZu0gW", "a'()+_,-./:=?b"]),
)
def test_what_aiohttp_writes(pairs: list[tuple[str, str]], boundary: str) -> None:
    if pairs and all(f"\r\n--{boundary}" not in value for _, value in pairs):
        assert part_fields(written_by_aiohttp(pairs, boundary), boundary, 1000) == pairs


@pytest.mark.parametrize(
    "part",
    [
        one(DOC),
        one(b"content-disposition:form-data;name=doc"),
        one(b'Content-Disposition: form-data ; name = "doc" '),
        one(b'Content-Type: text/plain; charset="UTF-8"\r\n' + DOC),
        one(DOC + b"\r\nContent-Type: text/plain;charset=us-ascii\r\nContent-Length: 4"),
        one(DOC + b"\r\nContent-Transfer-Encoding: 8bit"),
        one(DOC + b"\r\nContent-Transfer-Encoding: base64", base64.encodebytes(b"text")),
        one(
            DOC + b"\r\nContent-Transfer-Encoding: quoted-printable",
            quopri.encodestring(b"te=xt").replace(b"=3Dx", b"=78"),
        ),
        one(DOC + b'; filename=""'),
        one(b"Content-Disposition: form-data; name*=UTF-8''d%6Fc"),
    ],
)
def test_ways_to_say_the_same(part: bytes) -> None:
    assert part_fields(parts(part), "x", 1) == [("doc", "text")]
    assert part_fields(parts(part, before=b"for old readers\r\n"), "x", 1) == [("doc", "text")]
    assert part_fields(parts(part, end=b"--x-- \r\nbehind it"), "x", 1) == [("doc", "text")]


def test_names_and_values_of_any_characters() -> None:
    head = 'Content-Disposition: form-data; name="ä; \\"b\\" = c"'.encode()
    assert part_fields(parts(one(head, b"")), "x", 1) == [('ä; "b" = c', "")]
    assert part_fields(parts(one(DOC, b"\r\n--y\r\n")), "x", 1) == [("doc", "\r\n--y\r\n")]


def test_a_field_may_say_the_charset_of_others() -> None:
    charset = one(b'Content-Disposition: form-data; name="_charset_"', b"UTF-8")
    assert part_fields(parts(charset, one(DOC)), "x", 2) == [("doc", "text")]


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b"", "no line with its boundary"),
        (b"--y\r\n", "no line with its boundary"),
        (b"--x\r\n\r\n", "ends too early"),
        (b"--x\r\n--x--", "no head"),
        (parts(one(DOC), end=b""), "ends too early"),
        (parts(one(DOC), end=b"--xy\r\n--x--"), "a line only begins as its boundary does"),
        (parts(b"\r\ntext"), "a part has no name"),
        (parts(one(b'Content-Disposition: form-data; filename="a"')), "a part has no name"),
        (parts(one(b"Content-Disposition: form-data; name*=none'en'secret%ff")), "not in UTF-8"),
        (parts(one(b"Content-Disposition: form-data; name*0*=punycode''a")), "not in UTF-8"),
        (parts(one(DOC + b"\r\nContent-Type: text/plain; charset=punycode")), "the charset 'punycode'; use UTF-8"),
        (parts(one(b'Content-Disposition: form-data; name="_charset_"', b"utf-7")), "the charset 'utf-7'; use UTF-8"),
        (parts(one(DOC + b"\r\nContent-Transfer-Encoding: none")), "the content transfer encoding 'none'"),
        (parts(one(DOC + b"\r\nA: b" * 16)), "over 16 headers"),
        (parts(one(DOC + b"\r\nA: b" + b";" * 17)), "over 16 parameters"),
        (parts(one(DOC + b"\r\nA: " + b"b" * 9000)), "no head of at most 8192 bytes"),
    ],
)
def test_what_is_wrong_is_told(body: bytes, message: str) -> None:
    with pytest.raises(FormError, match=message):
        part_fields(body, "x", 10)


@pytest.mark.parametrize("boundary", [None, "", "b" * 71])
def test_a_boundary_is_there_and_short(boundary: str | None) -> None:
    with pytest.raises(FormError, match="must have a boundary of 1 to 70 characters"):
        part_fields(parts(one(DOC)), boundary, 1)


@pytest.mark.parametrize("head", [DOC + b'; filename="a.txt"', DOC + b"\r\nContent-Type: application/octet-stream"])
def test_a_file_is_no_text(head: bytes) -> None:
    with pytest.raises(HttpError, match="doc: this is a file or binary; send it as text"):
        part_fields(parts(one(head)), "x", 1)


def test_bytes_that_are_no_utf_8() -> None:
    with pytest.raises(UnicodeDecodeError):
        part_fields(parts(one(DOC, b"\xff")), "x", 1)


def test_parts_beyond_the_limit_cost_nothing() -> None:
    body = parts(*[one(DOC)] * 100_000)
    started = time.process_time()
    with pytest.raises(TooManyFieldsError):
        part_fields(body, "x", 50)
    assert time.process_time() - started < 0.05


@pytest.mark.parametrize("value", [b"\r\n--" * 1_000_000, b"\r\n" * 2_000_000, b"-" * 4_000_000])
def test_values_that_look_like_boundaries_cost_their_length(value: bytes) -> None:
    started = time.process_time()
    assert part_fields(parts(one(DOC, value)), "x", 1) == [("doc", value.decode())]
    assert time.process_time() - started < 0.5
