"""How far a download is, in the log."""

from __future__ import annotations

from typing import TYPE_CHECKING

from structlog.testing import capture_logs

from server.hub import progress

if TYPE_CHECKING:
    import pytest


def test_lines_of_the_log_are_sparse() -> None:
    with capture_logs() as lines:
        shown = progress.logged("owner/name")
        shown.expect(100)
        for _ in range(100):
            shown.add(1)
    assert lines == []
    assert (shown.done, shown.total) == (100, 100)


def test_what_a_line_says(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress, "LOG_EVERY_S", 0)
    with capture_logs() as lines:
        shown = progress.logged("owner/name")
        shown.expect(200)
        shown.add(50)
    (line,) = lines
    assert line.pop("bytes_per_s") > 0
    assert line == {
        "event": "downloading a model",
        "log_level": "info",
        "model": "owner/name",
        "bytes": 50,
        "of": 200,
        "percent": 25,
    }
