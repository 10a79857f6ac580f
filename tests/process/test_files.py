"""Files that appear whole or not at all, and the limit of open files."""

from __future__ import annotations

import contextlib
import resource
from typing import TYPE_CHECKING

import pytest
from structlog.testing import capture_logs

from process.files import AtomicFile, raise_open_files_limit, replacing, resolved, write_atomically

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


class BlockError(Exception):
    """What goes wrong in a test."""


def fail(path: Path) -> None:
    path.mkdir()
    raise BlockError


def test_a_file_appears_with_its_end(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"old")
    file = AtomicFile(path)
    file.write(b"ne")
    file.write(b"w")
    assert path.read_bytes() == b"old"
    file.commit()
    assert path.read_bytes() == b"new"
    assert list(tmp_path.iterdir()) == [path]


def test_a_file_that_is_discarded_leaves_nothing(tmp_path: Path) -> None:
    file = AtomicFile(tmp_path / "file", prefix=".mine-")
    file.write(b"new")
    (temporary,) = tmp_path.iterdir()
    assert temporary.name.startswith(".mine-")
    file.discard()
    assert list(tmp_path.iterdir()) == []


def test_a_name_as_long_as_names_can_be(tmp_path: Path) -> None:
    path = tmp_path / ("n" * 255)
    write_atomically(path, b"content")
    assert path.read_bytes() == b"content"


def test_content_that_cannot_be_written_leaves_what_was_there(tmp_path: Path) -> None:
    path = tmp_path / "file"
    write_atomically(path, b"old")
    with pytest.raises(TypeError):
        write_atomically(path, "no bytes")  # type: ignore[arg-type]
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def make_file(path: Path) -> None:
    path.write_bytes(b"new")


def make_folder(path: Path) -> None:
    (path / "deep").mkdir(parents=True)
    (path / "deep" / "file").write_bytes(b"new")


@pytest.mark.parametrize("make", [make_file, make_folder])
@pytest.mark.parametrize("before", [None, make_file, make_folder])
def test_what_a_block_makes_takes_the_place(
    tmp_path: Path, make: Callable[[Path], None], before: Callable[[Path], None] | None
) -> None:
    """A folder is not to be replaced by a file: that is a mistake of the caller's."""
    target = tmp_path / "room" / "made"
    if before is not None:
        target.parent.mkdir()
        before(target)
        (target / "old" if target.is_dir() else target).write_bytes(b"old")
    if (before, make) == (make_folder, make_file):
        with pytest.raises(IsADirectoryError), replacing(target) as path:
            make(path)
        assert (target / "old").exists()
        return
    with replacing(target) as path:
        assert not path.exists()
        make(path)
    assert list(target.parent.iterdir()) == [target]
    if make is make_file:
        assert target.read_bytes() == b"new"
    else:
        assert [path.relative_to(target).as_posix() for path in sorted(target.rglob("*"))] == ["deep", "deep/file"]


def test_a_block_that_fails_changes_nothing(tmp_path: Path) -> None:
    target = tmp_path / "made"
    make_folder(target)
    with pytest.raises(BlockError), replacing(target) as path:
        fail(path)
    assert (target / "deep" / "file").read_bytes() == b"new"
    assert list(tmp_path.iterdir()) == [target]


@pytest.mark.parametrize(
    ("before", "needed", "after"),
    [
        ((256, 1000), 500, (500, 1000)),
        ((256, 1000), 200, (256, 1000)),
        ((256, 1000), 2000, (1000, 1000)),
        ((256, resource.RLIM_INFINITY), 500, (500, resource.RLIM_INFINITY)),
        ((resource.RLIM_INFINITY, resource.RLIM_INFINITY), 500, (resource.RLIM_INFINITY, resource.RLIM_INFINITY)),
    ],
)
def test_the_limit_of_open_files(
    before: tuple[int, int], needed: int, after: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    limits = [before]
    monkeypatch.setattr(resource, "getrlimit", lambda _: limits[-1])
    monkeypatch.setattr(resource, "setrlimit", lambda _, new: limits.append(new))
    with capture_logs() as entries:
        raise_open_files_limit(needed, "connections")
    assert limits[-1] == after
    warned = [(entry["allowed"], entry["needed"], entry["settings"]) for entry in entries]
    assert warned == ([(1000, needed, "connections")] if needed > 1000 else [])


def test_paths_without_links(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "link").symlink_to("folder")
    (tmp_path / "circle").symlink_to("circle")
    folder = (tmp_path / "folder").resolve()
    assert resolved(tmp_path / "link" / ".." / "link" / "new") == folder / "new"
    for wrong in ("circle", "circle/new"):
        with pytest.raises(OSError, match="Too many levels of symbolic links"):
            resolved(tmp_path / wrong)
    with pytest.raises(ValueError, match="null"):
        resolved(tmp_path / "a\0b")


def test_links_after_a_circle_do_not_stay(tmp_path: Path) -> None:
    """Python 3.11 and 3.12 leave them as they are, later ones do not: no version may call the outside inside."""
    (tmp_path / "root").mkdir()
    (tmp_path / "root" / "out").symlink_to(tmp_path)
    (tmp_path / "root" / "circle").symlink_to("circle")
    with contextlib.suppress(OSError):
        assert resolved(tmp_path / "root" / "circle" / ".." / "out" / "secret") == tmp_path.resolve() / "secret"
