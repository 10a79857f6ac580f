"""Forms are read as urllib reads them, in another time."""

from __future__ import annotations

import time
from urllib.parse import parse_qsl

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rest_proxy.http.bodies import forms
from rest_proxy.http.bodies.forms import FormError, TooManyFieldsError, form_fields

PIECES = [
    b"%",
    b"%4",
    b"%41",
    b"%C3%A4",
    b"a",
    b"=",
    b"&",
    b"+",
    b"_",
    b"\r\n",
    b"%0A",
    b"\n",
    b"%zz",
    b"=\n",
    b"%ff",
    b"%3D",
]


@given(
    pieces=st.lists(st.sampled_from(PIECES) | st.binary(max_size=2), max_size=30),
    length=st.sampled_from((3, 7, 1 << 18)),
)
def test_they_are_read_as_by_urllib(pieces: list[bytes], length: int) -> None:
    body = b"".join(pieces)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(forms, "_FORM_SLICE", length)
        try:
            expected = parse_qsl(body.decode(), keep_blank_values=True, errors="strict")
        except UnicodeDecodeError:
            with pytest.raises(UnicodeDecodeError):
                form_fields(body, 100)
        else:
            assert form_fields(body, 100) == expected


@pytest.mark.parametrize("escapes", [b"%41", b"a%41", b"%C3%A4"])
def test_escapes_cost_little(escapes: bytes) -> None:
    count = 8_000_000 // len(escapes)
    started = time.process_time()
    ((name, value),) = form_fields(b"doc=" + escapes * count, 1)
    assert (
        time.process_time() - started < 1
    )  # a reader that makes an object of each takes this long for a mebibyte or two
    assert (name, len(value)) == ("doc", count * (2 if escapes == b"a%41" else 1))


def test_a_percent_sign_stands_for_itself_but_not_many_thousands() -> None:
    assert form_fields(b"doc=100%&text=%%41", 2) == [("doc", "100%"), ("text", "%A")]
    with pytest.raises(FormError, match="a % that begins no escape"):
        form_fields(b"doc=" + b"%z" * 70_000, 1)


def test_fields_are_counted_before_they_are_read() -> None:
    with pytest.raises(TooManyFieldsError):
        form_fields(b"&" * 100, 100)
