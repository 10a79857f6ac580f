"""Files cut into lines, whatever their lengths."""

from __future__ import annotations

import gzip
import io
import random
import tracemalloc
from dataclasses import dataclass

import pytest

from server.batch.pipeline.lines import LineLimit, LineReader
from server.batch.state.errors import StoppedError
from server.batch.storage.errors import StorageError

LIMIT = 1 << 18
LINE_LIMIT = LineLimit(LIMIT, "a_setting")


@dataclass
class Size:
    """What comes at a time."""

    rows: int
    chunk_bytes: int
    line_limit: LineLimit = LINE_LIMIT


def no_action() -> None:
    """Nothing stops these."""


def read(content: bytes, name: str = "in.jsonl", rows: int = 10, size: int = 1000) -> list[tuple[int, bytes | None]]:
    """(number, text) of all lines."""
    lines = LineReader(Size(rows, size), no_action).read(io.BytesIO(content), name, gzipped=name.endswith(".gz"))
    return [pair for some in lines for pair in zip(some.numbers, some.texts, strict=True)]


@pytest.mark.parametrize("name", ["in.jsonl", "in.jsonl.gz"])
@pytest.mark.parametrize("end", [b"", b"\n"], ids=["no newline at the end", "newline at the end"])
def test_lines_keep_their_order_and_numbers(name: str, end: bytes) -> None:
    chance = random.Random(3)
    texts = [b"x" * chance.choice([1, 2, 30, 1000, 70_000, 200_000]) for _ in range(200)]
    content = b"\n".join(texts) + end
    packed = gzip.compress(content) if name.endswith(".gz") else content
    assert read(packed, name) == list(enumerate(texts, start=1))


def test_blank_lines_are_skipped_but_counted() -> None:
    assert read(b"\n  \n1\n\t\r\n2\r\n\n\n3\n\n") == [(3, b"1"), (5, b"2\r"), (8, b"3")]


@pytest.mark.parametrize("content", [b"", b"\n", b" \n\n"])
def test_file_without_lines(content: bytes) -> None:
    assert read(content) == []
    assert read(gzip.compress(content), "in.gz") == []


def test_byte_order_mark_is_no_part_of_the_first_line() -> None:
    assert read(b"\xef\xbb\xbf1\n2") == [(1, b"1"), (2, b"2")]


@pytest.mark.parametrize("length", [LIMIT + 1, LIMIT + 65536, 3 * LIMIT])
def test_line_over_the_limit_is_known_by_its_place_alone(length: int) -> None:
    assert read(b"1\n" + b"x" * length + b"\n2\n") == [(1, b"1"), (2, None), (3, b"2")]
    assert read(b"x" * length) == [(1, None)]
    assert read(b"x" * LIMIT) == [(1, b"x" * LIMIT)]


def test_line_over_the_limit_is_not_kept_in_memory() -> None:
    packed = gzip.compress(b"x" * (64 << 20), compresslevel=1)
    tracemalloc.start()
    assert read(packed, "in.gz") == [(1, None)]
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 4 * LIMIT


def test_rows_and_bytes_at_a_time_are_bounded() -> None:
    content = b"\n".join([b"1"] * 25 + [b"x" * 600] * 4)
    chunks = LineReader(Size(10, 1000), no_action).read(io.BytesIO(content), "in")
    sizes = [(len(lines.texts), lines.size) for lines in chunks]
    assert sizes == [(10, 10), (10, 10), (7, 1205), (2, 1200)]


@pytest.mark.parametrize("damage", ["cut", "changed", "no gzip"])
def test_file_that_cannot_be_unpacked_is_named(damage: str) -> None:
    packed = gzip.compress(b"\n".join(b"%d" % i for i in range(100_000)))
    damaged = {"cut": packed[:-20], "changed": packed[:1000] + b"\0" * 20 + packed[1020:], "no gzip": b"1\n2\n"}[damage]
    with pytest.raises(StorageError, match=r"in\.gz cannot be unpacked: "):
        read(damaged, "in.gz")


@pytest.mark.parametrize("text", [b"\n", b"x"], ids=["blank lines", "a long line"])
@pytest.mark.parametrize("packed", [False, True])
def test_reading_can_be_stopped_where_no_line_comes(text: bytes, packed: bool) -> None:
    content = text * (32 << 20)
    file = io.BytesIO(gzip.compress(content, compresslevel=1) if packed else content)
    blocks = iter(range(3))

    def on_block() -> None:
        if next(blocks) == 2:
            raise StoppedError

    with pytest.raises(StoppedError):
        list(LineReader(Size(10, 1000), on_block).read(file, "in", gzipped=packed))
    assert file.tell() < len(file.getvalue())
