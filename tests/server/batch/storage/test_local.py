"""Local files: what is read, and that what is written appears whole or not at all."""

from __future__ import annotations

import os
import resource
import signal
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from server.batch.state.control import Control
from server.batch.state.errors import StoppedError
from server.batch.storage.access import Storage
from server.batch.storage.errors import StorageError
from server.batch.storage.locations import InputFile, output_of
from tests.support.garbage import uncollected
from tests.support.service import ROOT
from tests.support.stores import read_tree, write_tree

if TYPE_CHECKING:
    from collections.abc import Iterator


NAMES = ["a%2Fb", "a%2e%2e", "a\nb", "\udcff", "a\\..\\b", "a\x7f", " ", "a;b?c#d"]


@pytest.fixture
def storage(tmp_path: Path) -> Storage:
    return Storage([tmp_path])


def test_a_file_that_is_not_there_leaves_nothing_to_the_garbage_collector(storage: Storage, tmp_path: Path) -> None:
    """Each job asks for one, and what the error has would be all of the job."""
    location = str(tmp_path / "none")
    assert not storage.exists(location)
    with uncollected() as collected:
        assert not storage.exists(location)
        assert collected() == []


def test_everything_below_a_folder_is_listed_in_order(storage: Storage, tmp_path: Path) -> None:
    names = ["b.json", "sub/c.json", "a.json", "sub/.git/x", ".hidden", "sub-2/d.json"]
    write_tree(tmp_path / "in", {name: name.encode() for name in names})
    (tmp_path / "in" / "e.json").symlink_to(tmp_path / "in" / "a.json")
    (tmp_path / "in" / ".dangling").symlink_to(tmp_path / "nowhere")
    (tmp_path / "in" / "empty").mkdir()

    found = storage.list_inputs(f"{tmp_path}/in/")

    assert [file.relative for file in found] == ["a.json", "b.json", "e.json", "sub-2/d.json", "sub/c.json"]
    assert found[0] == InputFile(f"{tmp_path}/in/a.json", "a.json", 6)
    assert found[2].size == 6


def test_one_file_is_listed(storage: Storage, tmp_path: Path) -> None:
    (tmp_path / "a.json").write_bytes(b"123")
    assert storage.list_inputs(f"{tmp_path}/a.json") == [InputFile(f"{tmp_path}/a.json", "a.json", 3)]


def test_inputs_that_cannot_be_listed(storage: Storage, tmp_path: Path) -> None:
    write_tree(tmp_path, {"file": b"", "linked/a": b""})
    (tmp_path / "empty").mkdir()
    (tmp_path / "links").mkdir()
    (tmp_path / "links" / "folder").symlink_to(tmp_path / "linked")
    (tmp_path / "pipes").mkdir()
    os.mkfifo(tmp_path / "pipes" / "pipe")
    for location, reason in {
        "missing": "cannot be read: No such file or directory",
        "missing/": "cannot be listed: No such file or directory",
        "empty/": "has no files below it",
        "file/": "cannot be listed: Not a directory",
        "linked": "is no regular file",
        "links/": "links/folder is a link to a folder; such links are not followed",
        "pipes/": "pipes/pipe is no regular file",
        "pipes/pipe": "is no regular file",
    }.items():
        with pytest.raises(StorageError, match=reason):
            storage.list_inputs(f"{tmp_path}/{location}")


def test_reading(storage: Storage, tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"one\ntwo\nthree")
    with storage.open_input(f"{tmp_path}/a") as file:
        assert list(file) == [b"one\n", b"two\n", b"three"]
        file.seek(4)
        assert file.readline() == b"two\n"
    assert storage.size(f"{tmp_path}/a") == 13


def test_reading_that_fails_in_the_middle() -> None:
    # root may read what has no permissions, but nobody may read the page at address 0
    storage = Storage([Path("/proc/self")])
    with storage.open_input(f"/proc/{os.getpid()}/mem") as file:
        with pytest.raises(StorageError, match=r"/mem cannot be read: Input/output error"):
            file.read(10)
        with pytest.raises(StorageError, match="cannot be read"):
            file.readline()


def test_what_is_committed_appears_whole(storage: Storage, tmp_path: Path) -> None:
    location = f"{tmp_path}/out/sub/a.json"
    assert not storage.exists(location)
    with storage.create(location) as output:
        output.write(b"one\n")
        output.write(b"two\n")
        assert [path.name[0] for path in (tmp_path / "out" / "sub").iterdir()] == ["."]
        with pytest.raises(StorageError, match="no files below"):
            storage.list_inputs(f"{tmp_path}/out/")
        output.commit()
        assert storage.exists(location)
    assert read_tree(tmp_path) == {"out/sub/a.json": b"one\ntwo\n"}
    umask = os.umask(0)
    os.umask(umask)
    assert Path(location).stat().st_mode & 0o777 == 0o666 & ~umask


def test_an_old_result_stays_until_the_new_one_is_whole(storage: Storage, tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"old")
    with storage.create(f"{tmp_path}/a") as output:
        output.write(b"new")
    assert read_tree(tmp_path) == {"a": b"old"}
    with storage.create(f"{tmp_path}/a") as output:
        output.write(b"new")
        output.commit()
        with pytest.raises(StorageError, match="cannot be written any more"):
            output.commit()
    assert read_tree(tmp_path) == {"a": b"new"}


def test_names_as_long_as_names_can_be(storage: Storage, tmp_path: Path) -> None:
    name = "ö" * 127
    with storage.create(f"{tmp_path}/{name}") as output:
        output.commit()
    assert read_tree(tmp_path) == {name: b""}


def test_outputs_that_cannot_be_written(storage: Storage, tmp_path: Path) -> None:
    write_tree(tmp_path, {"folder/a": b"", "file": b""})
    before = read_tree(tmp_path)
    for location, reason in {"folder": "Is a directory", "file/a": "Not a directory|File exists"}.items():
        with (
            pytest.raises(StorageError, match=f"{location} cannot be written: ({reason})"),
            storage.create(f"{tmp_path}/{location}") as output,
        ):
            output.commit()
    assert read_tree(tmp_path) == before


@pytest.fixture
def _small_disk() -> Iterator[None]:
    """Files of 1 MiB at most: writing beyond fails as it does on a full disk."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, limits[1]))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    signal.signal(signal.SIGXFSZ, handler)


@pytest.mark.usefixtures("_small_disk")
@pytest.mark.parametrize("size", [1 << 19, 1 << 20, 3 << 20])
def test_a_full_disk(storage: Storage, tmp_path: Path, size: int) -> None:
    (tmp_path / "a").write_bytes(b"old")
    with pytest.raises(StorageError, match="a cannot be written: File too large"):
        _write_too_much(storage, f"{tmp_path}/a", size)
    assert read_tree(tmp_path) == {"a": b"old"}


def _write_too_much(storage: Storage, location: str, size: int) -> None:
    with storage.create(location) as output:
        for _ in range(3):
            output.write(bytes(size))
        output.commit()


def test_reading_can_be_stopped(storage: Storage, tmp_path: Path) -> None:
    write_tree(tmp_path, {"a": b"x" * 3_000_000})
    control = Control()
    with storage.open_input(f"{tmp_path}/a", control.check) as file:
        assert file.read(10) == b"x" * 10
        control.stop()
        with pytest.raises(StoppedError):
            file.read()


def test_writers_of_the_same_file_leave_each_others_half_files(storage: Storage, tmp_path: Path) -> None:
    location = f"{tmp_path}/a"
    with storage.create(location, "one") as one:
        one.write(b"one")
        storage.delete_leftovers(location, "two")
        with storage.create(location, "two") as two:
            two.write(b"two")
            storage.delete_leftovers(location, "three")
            two.commit()
        assert len(read_tree(tmp_path)) == 2
        one.commit()
    assert read_tree(tmp_path) == {"a": b"one"}


@pytest.mark.parametrize("name", NAMES)
def test_any_name_is_read_and_written(storage: Storage, tmp_path: Path, name: str) -> None:
    write_tree(tmp_path / "in", {name: b"content"})
    (found,) = storage.list_inputs(f"{tmp_path}/in/")
    assert found.relative == name
    with storage.open_input(found.location) as file, storage.create(output_of(found, f"{tmp_path}/out")) as output:
        output.write(file.read())
        output.commit()
    assert read_tree(tmp_path / "out") == {name: b"content"}


def test_an_error_names_a_file_on_one_line_of_text(storage: Storage, tmp_path: Path) -> None:
    with pytest.raises(StorageError) as missing:
        storage.open_input(f"{tmp_path}/a\n\udcff")
    assert str(missing.value) == f"{tmp_path}/a\\n\\udcff cannot be read: No such file or directory"


def test_leftovers_of_a_killed_process_are_deleted(storage: Storage, tmp_path: Path) -> None:
    script = f"""
import os, signal
from server.batch.storage.access import Storage
from pathlib import Path
storage = Storage([Path({str(tmp_path)!r})])
with storage.create({f"{tmp_path}/out/a"!r}) as one, storage.create({f"{tmp_path}/out/ab"!r}) as other:
    one.write(b"half")
    os.kill(os.getpid(), signal.SIGKILL)
"""
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, timeout=60)
    assert done.returncode == -signal.SIGKILL
    assert len(read_tree(tmp_path)) == 2

    storage.delete_leftovers(f"{tmp_path}/out/a")
    storage.delete_leftovers(f"{tmp_path}/nowhere/a")

    (left,) = (tmp_path / "out").iterdir()
    storage.delete_leftovers(f"{tmp_path}/out/ab")
    assert not left.exists()


def test_a_local_folder_is_used_where_it_is(storage: Storage, tmp_path: Path) -> None:
    write_tree(tmp_path, {"m/saved_model.pb": b"graph"})
    for location in (f"{tmp_path}/m", f"{tmp_path}/m/"):
        with storage.local_copy(location) as copy:
            assert copy == tmp_path / "m"
    assert (tmp_path / "m").exists()
    with pytest.raises(StorageError, match="x is no folder"), storage.local_copy(f"{tmp_path}/x"):
        pass
