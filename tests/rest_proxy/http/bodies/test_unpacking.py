"""Compressed bodies are unpacked as zlib and gzip unpack them, in pieces."""

from __future__ import annotations

import gzip
import time
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rest_proxy.http.bodies.unpacking import Unpacking, UnpackingError


def raw(data: bytes) -> bytes:
    """Without zlib's head and sum, as some clients have it."""
    packing = zlib.compressobj(wbits=-15)
    return packing.compress(data) + packing.flush()


def in_members(data: bytes) -> bytes:
    return b"".join(gzip.compress(data[start : start + 7]) for start in range(0, len(data), 7)) or gzip.compress(b"")


def unpacked(encoding: str, data: bytes, step: int) -> bytes:
    """What comes of data of which so many bytes come at a time."""
    unpacking = Unpacking(encoding)
    parts = [part for start in range(0, len(data), step) for part in unpacking.unpacked(data[start : start + step])]
    unpacking.end()
    return b"".join(parts)


PACKED = [
    ("gzip", gzip.compress),
    ("x-gzip", gzip.compress),
    ("gzip", in_members),
    ("deflate", zlib.compress),
    ("deflate", raw),
]


@given(data=st.binary(max_size=60), packed=st.sampled_from(PACKED), step=st.sampled_from((1, 2, 5, 1000)))
def test_what_was_packed_comes_out(data: bytes, packed: tuple[str, object], step: int) -> None:
    encoding, pack = packed
    assert callable(pack)
    assert unpacked(encoding, pack(data), step) == data


@pytest.mark.parametrize(("encoding", "pack"), PACKED[:1] + PACKED[3:])
def test_pieces_are_small_whatever_the_ratio(encoding: str, pack: object) -> None:
    assert callable(pack)
    unpacking = Unpacking(encoding)
    sizes = [len(part) for part in unpacking.unpacked(pack(b" " * 5_000_000))]
    unpacking.end()
    assert sum(sizes) == 5_000_000
    assert max(sizes) <= 1 << 18


def test_what_nobody_takes_is_not_unpacked() -> None:
    unpacking = Unpacking("gzip")
    bomb = gzip.compress(b" " * 200_000_000, 1)
    started = time.process_time()
    assert len(next(unpacking.unpacked(bomb))) == 1 << 18
    assert time.process_time() - started < 0.05


@pytest.mark.parametrize(
    ("encoding", "data", "message"),
    [
        ("gzip", b"xxxx", "incorrect header check"),
        ("deflate", b"xxxx", "incorrect header check"),
        ("gzip", gzip.compress(b"a" * 100, mtime=0)[:-3], "it ends too early"),
        ("deflate", zlib.compress(b"a" * 100)[:-3], "it ends too early"),
        ("deflate", zlib.compress(b"a") + b"a", "there are bytes behind its end"),
        ("gzip", gzip.compress(b"a", mtime=0) + b"a" * 20, "incorrect header check"),
        ("gzip", gzip.compress(b"", mtime=0) * 300, "it has over 256 members"),
    ],
)
def test_what_is_no_such_body(encoding: str, data: bytes, message: str) -> None:
    with pytest.raises(UnpackingError, match=message):
        unpacked(encoding, data, 1000)


def test_nothing_is_nothing() -> None:
    assert unpacked("deflate", b"", 1) == b""
