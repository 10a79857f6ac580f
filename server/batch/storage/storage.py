"""Where jobs read and write: local folders, gs://, s3://, and http(s):// for reading.

All calls block; a Storage may be used by many threads at once. Its errors are LocationError (the location is malformed
or not allowed) and StorageError (reading or writing failed).
"""

from __future__ import annotations

import contextlib
import io
import os
import shutil
import tempfile
import threading
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, Literal

from server.batch.storage.files import READ_BYTES, GuardedFile, InputFile, Output, StorageError, reported
from server.batch.storage.local import LocalFiles
from server.batch.storage.locations import HTTP, SCHEMES, Allowed, Location, LocationError, parse

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from typing import Self

    from server.batch.storage.files import Store, Unfinished

__all__ = ["InputFile", "LocationError", "Output", "Storage", "StorageError"]

_COPY_BYTES = 1 << 20
_COPY_PREFIX = "predictor-model-"


class Storage:
    """The locations that `roots` (local folders), `schemes` and `buckets` ('gs://bucket', 's3://bucket/folder') allow.

    `scratch` is the folder for temporary copies; default: the system's.
    """

    def __init__(
        self,
        roots: Sequence[Path] = (),
        schemes: Sequence[str] = (),
        buckets: Sequence[str] = (),
        scratch: Path | None = None,
    ) -> None:
        self._allowed = Allowed(roots, schemes, buckets)
        self._scratch = scratch
        self._stores: dict[str, Store] = {"": LocalFiles(self._allowed)}
        self._lock = threading.Lock()

    @classmethod
    def of_everything(cls, scratch: Path | None = None) -> Self:
        """For the command line, whose user may use what the user may use."""
        return cls([Path("/")], SCHEMES, (), scratch)

    def check(self, location: str, for_what: Literal["read", "write"]) -> None:
        """Raises LocationError where the location is malformed or not allowed. Only links are looked up."""
        self._allowed.check(parse(location), for_what)

    def check_apart(self, input_location: str, output: str) -> None:
        """Raises LocationError when the results would lie among the input or in its place.

        That is what can be known before the input is listed.
        """
        read, written = parse(input_location), parse(output)
        if (read.scheme, read.bucket) != (written.scheme, written.bucket):
            return
        source, target = _comparable(read), _comparable(written)
        if (
            (target == source or target.startswith(f"{source}/"))
            if read.is_folder
            else f"{target}/{read.name}" == source
        ):
            raise _within(output, input_location)

    def check_outputs_apart(self, input_location: str, files: Sequence[InputFile], output: str) -> None:
        """Raises LocationError when one of the files' results would lie among the input or in its place."""
        read, written = parse(input_location), parse(output)
        if (read.scheme, read.bucket) != (written.scheme, written.bucket):
            return
        folder = f"{_comparable(read)}/" if read.is_folder else None
        sources = {_comparable(parse(file.location)) for file in files}
        for file in files:
            location = self.output_for(output, file)
            target = _comparable(parse(location))
            if target in sources or (folder is not None and target.startswith(folder)):
                raise _within(location, input_location)

    def list_inputs(self, location: str) -> list[InputFile]:
        """The file, or where the location ends in '/', every file below it, sorted by relative path.

        Names that begin with a dot, and what is in folders with such names, are left out.
        """
        return self._list(location, hidden=False)

    def output_for(self, output: str, file: InputFile) -> str:
        """Where the results of a file go: the same relative path below `output`."""
        location = f"{output.rstrip('/')}/{file.relative}"
        parse(location)
        return location

    def open_input(self, location: str, check: Callable[[], None] = lambda: None) -> BinaryIO:
        """The file's bytes, buffered; seekable except for http servers that give no ranges.

        `check` is called before more of it is asked for, and may raise what ends that.
        """
        checked = self._checked(location, "read")
        with reported("read", location):
            file = self._store(checked).open(checked)
        return io.BufferedReader(GuardedFile(file, location, check), READ_BYTES)

    @contextlib.contextmanager
    def create(self, location: str) -> Iterator[Output]:
        """A file that appears when its `commit` is called; else nothing does, whatever happens."""
        checked = self._checked(location, "write")
        if checked.is_folder:
            raise LocationError(f"{location!r} names no file to write")
        with reported("written", location):
            unfinished = self._store(checked).create(checked)
        output = _CheckedOutput(unfinished, location)
        try:
            yield output
        finally:
            if not output.committed:
                unfinished.discard()

    def exists(self, location: str) -> bool:
        """Whether there is a file."""
        try:
            self.size(location)
        except StorageError as error:
            if isinstance(error.__cause__, FileNotFoundError):
                return False
            raise
        return True

    def size(self, location: str) -> int | None:
        """The file's bytes, None when its server does not say."""
        checked = self._checked(location, "read")
        with reported("read", location):
            return self._store(checked).size(checked)

    def delete_leftovers(self, location: str) -> None:
        """Delete what outputs of this location left when their process was killed. Nobody may be writing it."""
        checked = self._checked(location, "write")
        with reported("cleared of leftovers", location):
            self._store(checked).delete_leftovers(checked)

    @contextlib.contextmanager
    def local_copy(self, location: str, check: Callable[[], None] = lambda: None) -> Iterator[Path]:
        """A folder's local path: a local folder itself, else a temporary copy that is deleted at the end.

        `check` is called while it is copied, and may raise what ends that.
        """
        checked = self._checked(f"{location.rstrip('/')}/", "read")
        if not checked.scheme:
            folder = Path(checked.path).resolve()
            if not folder.is_dir():
                raise StorageError(f"{location} is no folder")
            yield folder
            return
        files = self._list(checked.text, hidden=True)
        with self._temporary_folder() as copy:
            self._check_space(location, files, copy)
            for file in files:
                target = copy / file.relative
                target.parent.mkdir(parents=True, exist_ok=True)
                with (
                    reported("copied", location),
                    self.open_input(file.location, check) as source,
                    target.open("wb") as output,
                ):
                    shutil.copyfileobj(source, output, _COPY_BYTES)
            yield copy

    def delete_copies(self) -> None:
        """Delete the temporary copies in the folder `scratch` that killed processes left. Nobody may be using them."""
        if self._scratch is not None:
            for copy in self._scratch.glob(f"{_COPY_PREFIX}*"):
                shutil.rmtree(copy, ignore_errors=True)

    def _list(self, location: str, *, hidden: bool) -> list[InputFile]:
        checked = self._checked(location, "read")
        store = self._store(checked)
        if not checked.is_folder:
            with reported("read", location):
                return [InputFile(location, checked.name, store.size(checked))]
        with reported("listed", location):
            found = sorted(store.below(checked))
        files = []
        for relative, size in found:
            if hidden or "/." not in f"/{relative}":
                parse(f"{location}{relative}")  # names in a bucket may be anything, '../..' too
                files.append(InputFile(f"{location}{relative}", relative, size))
        if not files:
            raise StorageError(f"{location} has no files below it")
        return files

    def _checked(self, text: str, for_what: Literal["read", "write"]) -> Location:
        location = parse(text)
        self._allowed.check(location, for_what)
        return location

    def _store(self, location: Location) -> Store:
        kind = "http" if location.scheme in HTTP else location.scheme
        with self._lock:
            if kind not in self._stores:
                self._stores[kind] = self._new_store(kind)
            return self._stores[kind]

    def _new_store(self, kind: str) -> Store:
        # imported when they are needed: fsspec's libraries take a while, and most servers need none of them
        if kind == "http":
            from server.batch.storage.http import HttpFiles

            return HttpFiles(self._allowed)
        from server.batch.storage.object_stores import ObjectStore

        return ObjectStore(kind)

    @contextlib.contextmanager
    def _temporary_folder(self) -> Iterator[Path]:
        if self._scratch is not None:
            self._scratch.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=_COPY_PREFIX, dir=self._scratch, ignore_cleanup_errors=True) as folder:
            yield Path(folder)

    def _check_space(self, location: str, files: list[InputFile], folder: Path) -> None:
        needed = sum(file.size or 0 for file in files)
        free = shutil.disk_usage(folder).free
        if needed > free:
            raise StorageError(f"{location} has {needed} bytes, and {folder} has space for {free}")


class _CheckedOutput:
    """An Output with StorageErrors, that refuses to commit twice or after a failure."""

    def __init__(self, unfinished: Unfinished, location: str) -> None:
        self._unfinished = unfinished
        self._location = location
        self._failed = False
        self.committed = False

    def write(self, data: bytes) -> None:
        with self._reported():
            self._unfinished.write(data)

    def commit(self) -> None:
        with self._reported():
            self._unfinished.commit()
        self.committed = True

    @contextlib.contextmanager
    def _reported(self) -> Iterator[None]:
        if self._failed or self.committed:
            raise StorageError(f"{self._location} cannot be written any more")
        self._failed = True
        with reported("written", self._location):
            yield
        self._failed = False


def absolute(location: str) -> str:
    """A location as the command line takes it: a local one may be relative to the current folder."""
    if "://" in location or location.startswith("/"):
        return location
    return os.path.normpath(Path.cwd() / location) + ("/" if location.endswith("/") else "")


def _within(output: str, source: str) -> LocationError:
    return LocationError(f"output {output!r} lies within input {source!r}; results need a place of their own")


def results_place(input_location: str, output: str) -> str:
    """Where a job's results go, for results_meet. Raises LocationError."""
    read, written = parse(input_location), parse(output)
    path = written.path if written.scheme else os.path.realpath(written.path)
    folder = f"{written.scheme}://{written.bucket}/{path.strip('/')}".rstrip("/")
    return f"{folder}/" if read.is_folder else f"{folder}/{read.name}"


def results_meet(one: str, other: str) -> bool:
    """Whether results may go to the same files."""
    return any(
        first == second or (first.endswith("/") and second.startswith(first))
        for first, second in ((one, other), (other, one))
    )


def _comparable(location: Location) -> str:
    return (f"/{location.path}" if location.scheme else str(Path(location.path).resolve())).rstrip("/")
