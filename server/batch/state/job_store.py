"""The jobs in a file of SQLite."""

from __future__ import annotations

import fcntl
import json
import os
import sqlite3
import threading
import time
import uuid
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import structlog
from predictor.ttypes import BatchState

from server.batch.state.job import ACTIVE, FileState, Job, JobFile, JobRequest, Progress
from server.batch.state.schema import is_damage, open_database, set_aside
from server.batch.storage.locations import InputFile

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from server.batch.state.errors import JobError

log = structlog.get_logger()

_DONE = f"files.state = {FileState.DONE:d}"
_JOBS = f"""
SELECT jobs.id, request, jobs.state, created_at, finished_at, error, failed_stage,
    COUNT(files.number), COALESCE(SUM(size), 0),
    COALESCE(SUM(rows_done) FILTER (WHERE {_DONE}), 0), COALESCE(SUM(rows_failed) FILTER (WHERE {_DONE}), 0),
    COUNT(files.number) FILTER (WHERE {_DONE}), COALESCE(SUM(size) FILTER (WHERE {_DONE}), 0)
FROM jobs LEFT JOIN files ON files.job = jobs.number
"""


class StoreError(Exception):
    """The file cannot be used; the message says why."""


class JobStore:
    """Any thread may call anything; a call returns when what it changed is on the disk, set_file excepted: what that
    notes survives the death of the process, but not always the machine's, after which a file may be predicted again.

    One process at a time: a second one is refused.
    """

    def __init__(self, path: Path) -> None:
        """Opens or makes the file, and folders above it. Raises StoreError.

        One that has been a store before and is damaged is set aside, with an error in the log, and a new one made.
        """
        self._mutex = threading.Lock()
        lock = Path(f"{path}.lock")
        has_been_ours = lock.exists()  # else it may be anything, named by mistake
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._lock = lock.open("wb")
        except OSError as error:
            raise StoreError(f"{path}: {error.strerror or error}") from None
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            self._database = _opened(path, has_been_ours)
        except BlockingIOError:
            self._lock.close()
            raise StoreError(f"{path} is in use by another process") from None
        except (sqlite3.Error, OSError) as error:
            self._lock.close()
            if not has_been_ours:
                lock.unlink()
            raise StoreError(f"{path}: {error}") from None

    def close(self) -> None:
        """Nothing may be called after this."""
        with self._mutex:
            self._database.close()
            self._lock.close()

    def add(self, request: JobRequest) -> Job:
        """A new job, queued."""
        job_id = uuid.uuid4().hex
        with self._change() as database:
            database.execute(
                "INSERT INTO jobs (id, request, state, created_at) VALUES (?, ?, ?, ?)",
                (job_id, json.dumps(asdict(request)), BatchState.QUEUED, time.time()),
            )
        return self.job(job_id)

    def job(self, job_id: str) -> Job:
        """Raises KeyError."""
        jobs = self._jobs("WHERE jobs.id = ? GROUP BY jobs.number", job_id)
        if not jobs:
            raise KeyError(job_id)
        return jobs[0]

    def newest(self, limit: int) -> list[Job]:
        """The newest jobs first."""
        chosen = "WHERE jobs.number IN (SELECT number FROM jobs ORDER BY number DESC LIMIT ?)"
        return self._jobs(f"{chosen} GROUP BY jobs.number ORDER BY jobs.number DESC", limit)

    def queued(self) -> Iterator[tuple[str, JobRequest]]:
        """Ids and requests of the jobs that wait for their turn, the oldest first."""
        rows = self._rows("SELECT id, request FROM jobs WHERE state = ? ORDER BY number", BatchState.QUEUED)
        return ((job_id, JobRequest(**json.loads(request))) for job_id, request in rows)

    def count_queued(self) -> int:
        """Jobs that wait for their turn."""
        ((count,),) = self._rows("SELECT COUNT(*) FROM jobs WHERE state = ?", BatchState.QUEUED)
        return int(count)

    def change_state(self, job_id: str, before: Sequence[int], after: int, failure: JobError | None = None) -> bool:
        """Whether the job was in one of the states `before`, and is in the state `after` now.

        `failure` is kept with it.
        """
        finished_at = None if after in ACTIVE else time.time()
        error, stage = (None, None) if failure is None else (str(failure), failure.stage)
        states = ", ".join("?" * len(before))
        ended = "NULL" if after in ACTIVE else "(SELECT COALESCE(MAX(ended), 0) + 1 FROM jobs)"
        with self._change() as database:
            changed = database.execute(
                f"UPDATE jobs SET state = ?, finished_at = ?, error = ?, failed_stage = ?, ended = {ended} "
                f"WHERE id = ? AND state IN ({states})",
                (after, finished_at, error, stage, job_id, *before),
            ).rowcount
        return changed == 1

    def requeue(self) -> None:
        """Let the jobs wait again that ran when the last process ended. Raises StoreError."""
        try:
            with self._change() as database:
                database.execute("UPDATE jobs SET state = ? WHERE state = ?", (BatchState.QUEUED, BatchState.RUNNING))
        except sqlite3.Error as error:
            raise StoreError(f"the job database cannot be used: {error}") from None

    def prune(self, kept: int) -> None:
        """Forget the jobs that ended first, but for so many: counted, as clocks may be set."""
        with self._change() as database:
            database.execute(
                "DELETE FROM jobs WHERE number IN (SELECT number FROM jobs "
                "WHERE state NOT IN (?, ?) ORDER BY ended DESC, number DESC LIMIT -1 OFFSET ?)",
                (*ACTIVE, kept),
            )

    def set_files(self, job_id: str, files: Sequence[InputFile]) -> None:
        """The job's input."""
        with self._change() as database:
            number = self._number(job_id)
            database.execute("DELETE FROM files WHERE job = ?", (number,))
            database.executemany(
                "INSERT INTO files (job, number, location, relative, size) VALUES (?, ?, ?, ?, ?)",
                (
                    (number, place, _stored(file.location), _stored(file.relative), file.size)
                    for place, file in enumerate(files)
                ),
            )

    def files(self, job_id: str) -> list[JobFile]:
        """The job's input; empty before set_files."""
        rows = self._rows(
            "SELECT files.number, location, relative, size, files.state, rows_done, rows_failed, replaces, upload "
            "FROM files JOIN jobs ON files.job = jobs.number WHERE jobs.id = ? ORDER BY files.number",
            job_id,
        )
        return [
            JobFile(
                number,
                InputFile(os.fsdecode(location), os.fsdecode(relative), size),
                FileState(state),
                done,
                failed,
                bool(replaces),
                upload,
            )
            for number, location, relative, size, state, done, failed, replaces, upload in rows
        ]

    def set_file(self, job_id: str, file: JobFile) -> None:
        """How far the file has come."""
        with self._change(synchronous="NORMAL") as database:
            database.execute(
                "UPDATE files SET state = ?, rows_done = ?, rows_failed = ?, replaces = ? WHERE job = ? AND number = ?",
                (file.state, file.rows_done, file.rows_failed, file.replaces, self._number(job_id), file.number),
            )

    def set_upload(self, job_id: str, number: int, upload: str) -> None:
        """The upload of this file's output has begun."""
        with self._change() as database:
            database.execute(
                "UPDATE files SET upload = ? WHERE job = ? AND number = ?", (upload, self._number(job_id), number)
            )

    def _jobs(self, condition: str, *parameters: Any) -> list[Job]:
        return [_job(row) for row in self._rows(_JOBS + condition, *parameters)]

    def _rows(self, query: str, *parameters: Any) -> list[Any]:
        with self._mutex:
            return self._database.execute(query, parameters).fetchall()

    def _number(self, job_id: str) -> int:
        """Raises KeyError. The caller holds the mutex."""
        row = self._database.execute("SELECT number FROM jobs WHERE id = ?", (job_id,)).fetchone()
        if row is None:
            raise KeyError(job_id)
        return int(row[0])

    @contextmanager
    def _change(self, synchronous: str = "FULL") -> Iterator[sqlite3.Connection]:
        """A transaction; `synchronous` is SQLite's pragma of that name."""
        with self._mutex:
            self._database.execute(f"PRAGMA synchronous = {synchronous}")
            with self._database:
                yield self._database


def _opened(path: Path, has_been_ours: bool) -> sqlite3.Connection:
    """Raises sqlite3.Error, OSError."""
    try:
        return open_database(path)
    except sqlite3.Error as error:
        if not (has_been_ours and is_damage(error)):
            raise
        aside = set_aside(path)
        log.error(
            "the job database is damaged: it is set aside, its jobs are forgotten", moved=str(aside), why=str(error)
        )
    return open_database(path)


def _stored(name: str) -> str | bytes:
    """As SQLite can keep it: a file's name need not be UTF-8."""
    try:
        name.encode()
    except UnicodeEncodeError:
        return os.fsencode(name)
    return name


def _job(row: Any) -> Job:
    job_id, request, state, created_at, finished_at, error, failed_stage, files_total, bytes_total, *done = row
    return Job(
        job_id,
        JobRequest(**json.loads(request)),
        state,
        created_at,
        finished_at,
        error,
        failed_stage,
        Progress(*done),
        files_total,
        bytes_total,
    )
