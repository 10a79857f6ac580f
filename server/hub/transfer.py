"""Files of a model into the cache: a few at a time, resumed where an earlier try ended, and checked."""

from __future__ import annotations

import concurrent.futures
import errno
import hashlib
import os
from typing import TYPE_CHECKING

import structlog

from server.hub import client
from server.hub.errors import HashError, HubError

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path
    from typing import BinaryIO

    from server.hub.client import Hub
    from server.hub.files import HubFile
    from server.hub.location import HubModel
    from server.hub.progress import Progress
    from server.hub.stop import Stop
    from server.hub.store import ModelStore

log = structlog.get_logger()

AT_A_TIME = 4
_PIECE = 1 << 20


class Transfer:
    """Fetches files of a model at one commit."""

    def __init__(
        self, hub: Hub, model: HubModel, commit: str, store: ModelStore, stop: Stop, progress: Progress
    ) -> None:
        self._hub = hub
        self._model = model
        self._commit = commit
        self._store = store
        self._stop = stop
        self._progress = progress

    def fetch(self, files: Iterable[HubFile]) -> None:
        """Until the contents of all are there, each whole and checked. Raises HubError, OSError."""
        missing = {file.digest: file for file in files if self._store.content(self._commit, file) is None}
        self._progress.expect(self._store.missing_bytes(self._commit, missing.values()))
        with concurrent.futures.ThreadPoolExecutor(AT_A_TIME, thread_name_prefix="download") as pool:
            running = [pool.submit(self._fetch, file) for file in missing.values()]
            try:
                for done in concurrent.futures.as_completed(running):
                    done.result()
            except BaseException:  # the first of several; a thread that runs ends soon, one that waits never begins
                self._stop.set("another file could not be fetched")
                pool.shutdown(cancel_futures=True)
                raise

    def _fetch(self, file: HubFile) -> None:
        try:
            with self._store.locked(file, self._stop):
                if self._store.content(self._commit, file) is None:  # another process may have fetched it
                    self._fetch_locked(file)
        except OSError as error:
            if error.errno != errno.ENOSPC:
                raise
            raise HubError(
                f"{file.name}: the disk of {self._store.cache} is full; the next try goes on from here"
                " (setting hub_cache)"
            ) from None

    def _fetch_locked(self, file: HubFile) -> None:
        partial = self._store.partial(file)
        was_resumed = partial.exists()
        try:
            self._complete(file, partial)
        except HashError:
            partial.unlink()
            if not was_resumed:
                raise
            log.warning("a resumed file is not what it should be: it is fetched again", file=file.name)
            self._progress.expect(file.size)
            try:
                self._complete(file, partial)
            except HashError:
                partial.unlink()
                raise
        partial.replace(self._store.blob(file))

    def _complete(self, file: HubFile, partial: Path) -> None:
        """Append what is missing, in as many tries as bring something. Raises HashError, HubError, OSError."""
        with partial.open("ab") as opened:
            if opened.tell() > file.size:
                opened.truncate(0)
            waits = iter(client.WAITS_S)
            while (begin := opened.seek(0, os.SEEK_END)) < file.size:
                try:
                    self._append(file, opened, begin)
                except client.PassingError as error:
                    if opened.seek(0, os.SEEK_END) > begin:
                        waits = iter(client.WAITS_S)
                    if (wait := next(waits, None)) is None:
                        raise
                    log.warning("a download is resumed", file=file.name, bytes=opened.tell(), error=str(error))
                    self._stop.wait(max(wait, error.wait_s))
            opened.flush()
            os.fsync(opened.fileno())
        self._check(file, partial)

    def _append(self, file: HubFile, opened: BinaryIO, begin: int) -> None:
        """One answer of the hub. Raises HubError; PassingError where the file ends too early."""
        with self._hub.opened(self._model, self._commit, file, begin) as (first, pieces):
            if first != begin:
                opened.truncate(first)
                self._progress.add(first - begin)
            count = first
            for piece in pieces:
                self._stop.check()
                count += len(piece)
                if count > file.size:
                    raise HashError(f"{file.name} is longer than the {file.size} bytes that the hub lists")
                opened.write(piece)
                self._progress.add(len(piece))
        opened.flush()
        if count < file.size:
            raise client.PassingError(f"{file.name} ended after {count} of {file.size} bytes")

    def _check(self, file: HubFile, path: Path) -> None:
        digest = hashlib.sha256() if file.is_sha256 else hashlib.sha1(b"blob %d\0" % file.size, usedforsecurity=False)
        with path.open("rb") as opened:
            while piece := opened.read(_PIECE):
                self._stop.check()
                digest.update(piece)
        if digest.hexdigest() != file.digest:
            kind = "SHA-256" if file.is_sha256 else "git's checksum"
            raise HashError(
                f"{file.name}: what came is not what the hub lists ({kind} {digest.hexdigest()}, expected"
                f" {file.digest}); it was thrown away"
            )
