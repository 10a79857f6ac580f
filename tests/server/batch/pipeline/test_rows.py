"""Lines to instances, results to lines."""

from __future__ import annotations

import json
import sys
import tracemalloc
from typing import Any

import pytest
from predictor.ttypes import ErrorCode

from server.batch.methods.text_methods import TEXT_METHODS
from server.batch.pipeline.lines import Chunk, LineLimit
from server.batch.pipeline.results import ResultWriter, errors_of
from server.batch.pipeline.rows import RowReader
from server.batch.state.errors import RowError

LIMIT = LineLimit(100, "a_setting")
BIG = 2**53 + 1
HUGE = 12345678901234567890123


def lines_of(*texts: bytes | None) -> Chunk:
    return Chunk(list(range(1, len(texts) + 1)), list(texts), 0)


def anything(value: Any) -> Any:
    if value == "refused":
        raise RowError(ErrorCode.INVALID_ARGUMENT, "refused")
    return value


def test_values_are_read() -> None:
    rows = RowReader(anything, None, LIMIT).read(lines_of(b'"a"', b' {"b": [1.5, null]}\r', b"3"))
    assert rows.instances == ["a", {"b": [1.5, None]}, 3]
    assert rows.errors == {}


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (b'{"a": 1', "not JSON: "),
        (b"nonsense", "not JSON: "),
        (b'"a" "b"', "not JSON: "),
        (b'{"x": NaN}', "not JSON: .* at character 7 of the line; JSON has no NaN and no Infinity"),
        (b"-Infinity", "no NaN and no Infinity"),
        (b'"caf\xe9"', "not UTF-8: byte 0xe9 at byte 5 of the line"),
        (b'"\\ud800"', "not JSON: "),
        (b"[" * 5000 + b"]" * 5000, "not JSON: "),
        (b"1e999", "not JSON: "),
        (b'"refused"', "refused"),
        (None, r"more than 100 bytes \(setting a_setting\)"),
    ],
)
@pytest.mark.parametrize("exact", [False, True])
def test_line_that_cannot_be_read_fails_alone(text: bytes | None, reason: str, exact: bool) -> None:
    rows = RowReader(anything, None, LIMIT, exact=exact).read(lines_of(b"1", text, b"3"))
    assert rows.instances == [1, 3]
    assert list(rows.errors) == [1]
    with pytest.raises(RowError, match=reason):
        raise rows.errors[1]
    assert rows.errors[1].code == (ErrorCode.TOO_LARGE if text is None else ErrorCode.INVALID_ARGUMENT)


# From Python 3.12 on json reads and writes whatever orjson reads.
_SHALLOW = sys.version_info < (3, 12)
DEEP_LINE = "cannot be read: maximum recursion depth" if _SHALLOW else "the line is no object"
DEEP_KEY = "the key cannot be written: maximum recursion depth" if _SHALLOW else "expected a string"


def nested(depth: int, inner: bytes = b"") -> bytes:
    return b"[" * depth + inner + b"]" * depth


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (nested(1000, b"%d" % HUGE), DEEP_LINE),
        (nested(1000), "the line is no object"),
        (b'{"id": %b}' % nested(1020), DEEP_KEY),
        (b'{"id": %d, "doc": {"a": %b}}' % (HUGE, nested(300)), "expected a string"),
        (b'{"id": %d}' % HUGE, "expected a string"),
        (b'{"id": 1, "doc": %d}' % HUGE, "expected a string"),
    ],
    ids=["deep with a long number", "deep", "deep key", "deep text", "long key, no text", "number as text"],
)
def test_what_orjson_does_not_write_and_json_does_not_read_fails_alone(text: bytes, reason: str) -> None:
    reader = RowReader(TEXT_METHODS["predict"].instance, "id", LIMIT)
    rows = reader.read(lines_of(b'{"id": 1, "doc": "a"}', text))
    assert rows.instances == ["a"]
    assert rows.errors[1].message.startswith(reason)


@pytest.mark.parametrize("exact", [False, True])
def test_values_of_lines_with_errors_are_not_kept(exact: bool) -> None:
    line = b"[" + b"[]," * 10_000 + b"[]]"
    reader = RowReader(TEXT_METHODS["predict"].instance, None, LIMIT, exact=exact)
    tracemalloc.start()
    rows = reader.read(lines_of(*[line] * 20))
    kept, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert len(rows.errors) == 20
    assert kept < 100_000
    assert peak < 2_000_000, "one value at a time"


def test_lines_that_are_json_only_together_are_none() -> None:
    rows = RowReader(anything, None, LIMIT).read(lines_of(b"[1", b"2]", b"3,4"))
    assert sorted(rows.errors) == [0, 1, 2]


@pytest.mark.parametrize("number", [BIG, 2**64, -(2**63) - 1, HUGE])
def test_integers_of_any_size_keep_their_digits(number: int) -> None:
    text = json.dumps({"id": number, "x": number}).encode()
    assert RowReader(anything, None, LIMIT, exact=True).read(lines_of(text)).instances[0]["x"] == number
    rows = RowReader(anything, "id", LIMIT).read(lines_of(text))
    (line,) = ResultWriter(bare=False).lines(rows, [b'"scores":{}']).splitlines()
    assert line == b'{"id":%d,"scores":{}}' % number


@pytest.mark.parametrize("key", ['é\n"\\', "", 1.5, None, [1, {"a": 2}], True])
def test_keys_are_carried_through(key: Any) -> None:
    rows = RowReader(lambda value: value["doc"], "a key", LIMIT).read(
        lines_of(json.dumps({"a key": key, "doc": "text"}).encode())
    )
    assert rows.instances == ["text"]
    assert json.loads(ResultWriter(bare=False).lines(rows, [b'"n":1'])) == {"a key": key, "n": 1}


def test_key_of_a_bare_result_is_no_part_of_the_instance() -> None:
    rows = RowReader(anything, "id", LIMIT, takes_key_out=True).read(lines_of(b'{"id": 1, "x": 2}'))
    assert rows.instances == [{"x": 2}]
    assert json.loads(ResultWriter(bare=True).lines(rows, [b"3.0"])) == {"id": 1, "prediction": 3.0}


@pytest.mark.parametrize("text", [b'"a"', b"[1]", b'{"key": 1}'])
def test_line_without_its_key_is_an_error(text: bytes) -> None:
    rows = RowReader(anything, "id", LIMIT).read(lines_of(text))
    assert "'id' (key_field)" in rows.errors[0].message


def test_results_keep_their_places_among_errors() -> None:
    rows = RowReader(anything, "id", LIMIT).read(
        lines_of(b'{"id":1}', b"broken", b'{"id":3}', b'{"id":4}', b'{"no":5}')
    )
    results = [b'"n":1', RowError(ErrorCode.TOO_LARGE, "too long"), b'"n":4']
    written = [json.loads(line) for line in ResultWriter(bare=False).lines(rows, results).splitlines()]
    assert [line.get("id") for line in written] == [1, None, 3, 4, None]
    assert [line.get("n") for line in written] == [1, None, None, 4, None]
    assert written[2]["error"] == {"code": "TOO_LARGE", "message": "too long", "line": 3}
    assert [number for number, _ in errors_of(rows, results)] == [2, 3, 5]


def test_bare_results_stand_alone() -> None:
    rows = RowReader(anything, None, LIMIT).read(lines_of(b"1", b"2"))
    assert ResultWriter(bare=True).lines(rows, [b"2.5", b"[3]"]) == b"2.5\n[3]\n"
    bad = RowReader(anything, None, LIMIT).read(lines_of(b"1", b"x"))
    first, second = ResultWriter(bare=True).lines(bad, [b"2.5"]).splitlines()
    assert first == b"2.5"
    assert json.loads(second)["error"]["line"] == 2


def test_nothing_but_errors() -> None:
    rows = RowReader(anything, None, LIMIT).read(lines_of(b"x", b"y"))
    assert len(ResultWriter(bare=False).lines(rows, []).splitlines()) == 2
