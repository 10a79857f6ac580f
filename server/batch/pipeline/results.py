"""Instances' results to lines."""

from __future__ import annotations

from typing import TYPE_CHECKING

import orjson
from predictor.ttypes import ErrorCode

from server.batch.state.errors import RowError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from server.batch.pipeline.method import Result
    from server.batch.pipeline.rows import Rows


ERROR_FIELD = "error"
BARE_FIELD = "prediction"
"""What a bare result is called where a key stands beside it."""

_ERROR_START, _BARE_START = (f'"{name}":'.encode() for name in (ERROR_FIELD, BARE_FIELD))


class ResultWriter:
    """Writes results, a line each.

    A result is what stands in an object's braces, as `"scores":{...}`, for a key may come before it; `bare` ones are
    values, and stand alone where there is no key: then they are lines as they are.
    """

    def __init__(self, *, bare: bool) -> None:
        self._bare = bare

    def lines(self, rows: Rows, results: Sequence[Result]) -> bytes:
        """One line for each of `rows`; `results` are those of its instances."""
        if rows.errors or rows.keys is not None or any(map(_is_error, results)):
            return b"".join(self._each(rows, results))
        if self._bare:
            return b"\n".join(results) + b"\n"  # type: ignore[arg-type] # none is an error
        return b"{" + b"}\n{".join(results) + b"}\n"  # type: ignore[arg-type]

    def _each(self, rows: Rows, results: Sequence[Result]) -> Iterator[bytes]:
        answers = iter(results)
        for place, number in enumerate(rows.numbers):
            key = rows.keys[place] if rows.keys is not None else None
            result = rows.errors[place] if place in rows.errors else next(answers)
            if isinstance(result, RowError):
                result = _error(result, number)
            elif self._bare and key is None:
                yield result + b"\n"
                continue
            elif self._bare:
                result = _BARE_START + result
            yield b"{%b}\n" % (result if key is None else key + b"," + result)


def errors_of(rows: Rows, results: Sequence[Result]) -> list[tuple[int, RowError]]:
    """(line number, error) in the order of the lines."""
    if not rows.errors and not any(map(_is_error, results)):
        return []
    answers = iter(results)
    found = ((number, rows.errors.get(place) or next(answers)) for place, number in enumerate(rows.numbers))
    return [(number, result) for number, result in found if isinstance(result, RowError)]


def _is_error(result: Result) -> bool:
    return type(result) is not bytes


def _error(error: RowError, number: int) -> bytes:
    code = ErrorCode._VALUES_TO_NAMES.get(error.code, "INTERNAL")
    return _ERROR_START + orjson.dumps({"code": code, "message": error.message, "line": number})
