"""Files that change: what changed is seen within a second, however it was put there."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest
from structlog.testing import capture_logs

from process.security import watch
from process.security.watch import FileWatch

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from pathlib import Path


@pytest.fixture
async def watching(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[FileWatch]:
    monkeypatch.setattr(watch, "_PERIOD_S", 0.005)
    made = FileWatch()
    yield made
    made.stop()


def test_it_looks_several_times_a_second() -> None:
    assert watch._PERIOD_S <= 0.3


def replaced(path: Path) -> None:
    """Another file is put in its place, as editors do."""
    beside = path.with_suffix(".new")
    beside.write_text("two")
    beside.replace(path)


def written(path: Path) -> None:
    path.write_text("twice")


def of_another_folder(path: Path) -> None:
    """The folder's link leads elsewhere, as Kubernetes swaps a secret."""
    link = path.parent
    other = link.with_name("other")
    other.mkdir()
    (other / path.name).write_text("one")
    beside = link.with_name("link.new")
    beside.symlink_to(other)
    beside.replace(link)


@pytest.mark.parametrize("change", [replaced, written, of_another_folder])
async def test_a_change_is_seen(watching: FileWatch, tmp_path: Path, change: Callable[[Path], None]) -> None:
    (tmp_path / "first").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "first")
    path, seen = tmp_path / "link" / "file", asyncio.Event()
    path.write_text("one")
    watching.add([path], seen.set)
    watching.start()
    await asyncio.sleep(0.03)
    assert not seen.is_set()
    change(path)
    await asyncio.wait_for(seen.wait(), 60)


async def test_a_file_that_is_gone_for_a_while(watching: FileWatch, tmp_path: Path) -> None:
    path, seen = tmp_path / "file", asyncio.Event()
    path.write_text("one")
    watching.add([path], seen.set)
    watching.start()
    path.unlink()
    await asyncio.sleep(0.03)
    assert not seen.is_set()
    path.write_text("two")
    await asyncio.wait_for(seen.wait(), 60)


async def test_trouble_with_one_file_does_not_keep_the_others(watching: FileWatch, tmp_path: Path) -> None:
    one, other, seen = tmp_path / "one", tmp_path / "other", asyncio.Event()
    for path in (one, other):
        path.write_text("a")
    watching.add([one], lambda: 1 / 0)
    watching.add([other], seen.set)
    watching.start()
    with capture_logs() as logs:
        for path in (one, other):
            path.write_text("bc")
        await asyncio.wait_for(seen.wait(), 60)
    assert [entry["event"] for entry in logs] == ["a file that changed could not be read again"]
