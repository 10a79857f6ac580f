"""Parts on their way, in order."""

from __future__ import annotations

import pytest

from server.batch.pipeline.lines import LineLimit, Lines
from server.batch.pipeline.parts import Part, in_order
from server.batch.state.control import Control
from server.batch.state.job import StoppedError


class Begun:
    def __init__(self, work: Work, number: int) -> None:
        self._work = work
        self._number = number

    def wait(self, _control: Control) -> Part:
        if self._number == self._work.stops_at:
            raise StoppedError
        return Part(b"%d" % self._number, 1, [])

    def abandon(self) -> None:
        self._work.abandoned.append(self._number)
        if self._number == self._work.not_abandoned:
            raise OSError("cannot be abandoned")


class Work:
    """Three parts are on their way at a time; the wait for one of them is stopped."""

    rows, rows_ahead, chunk_bytes, bytes_ahead = 1, 3, 10, 100
    line_limit = LineLimit(10, "a_setting")

    def __init__(self, stops_at: int, not_abandoned: int | None = None) -> None:
        self.stops_at = stops_at
        self.not_abandoned = not_abandoned
        self.abandoned: list[int] = []

    def start(self, lines: Lines) -> Begun:
        return Begun(self, lines.numbers[0])


def parts(work: Work) -> list[bytes]:
    return [part.output for part in in_order(work, (Lines([n], [b"1"], 1) for n in range(9)), Control())]


def test_all_parts_come_in_order() -> None:
    work = Work(stops_at=9)
    assert parts(work) == [b"%d" % n for n in range(9)]
    assert work.abandoned == []


@pytest.mark.parametrize(("stops_at", "abandoned"), [(0, [0, 1, 2]), (4, [4, 5, 6]), (8, [8])])
def test_what_is_waited_for_is_abandoned_too(stops_at: int, abandoned: list[int]) -> None:
    work = Work(stops_at)
    with pytest.raises(StoppedError):
        parts(work)
    assert sorted(work.abandoned) == abandoned


def test_one_that_cannot_be_abandoned_leaves_out_no_other() -> None:
    work = Work(stops_at=4, not_abandoned=5)
    with pytest.raises(OSError, match="cannot be abandoned"):
        parts(work)
    assert sorted(work.abandoned) == [4, 5, 6]
