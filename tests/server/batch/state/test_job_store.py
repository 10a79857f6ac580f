"""Jobs in their file."""

from __future__ import annotations

import contextlib
import itertools
import json
import sqlite3
import subprocess
import sys
from dataclasses import asdict, replace
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING

import pytest
from predictor.ttypes import BatchStage, BatchState, OnError
from structlog.testing import capture_logs

from server.batch.state.errors import JobError
from server.batch.state.job import FileState, JobRequest, Progress
from server.batch.state.job_store import JobStore, StoreError
from server.batch.storage.locations import InputFile
from tests.support.service import ROOT

if TYPE_CHECKING:
    from collections.abc import Iterator

REQUEST = JobRequest("predict", "a model", "/in/", "s3://out/é", OnError.RECORD, 3, "id")
WHY = JobError(BatchStage.MODEL, "it is gone")
FILES = [InputFile("/in/a", "a", 100), InputFile("/in/b/c", "b/c", None), InputFile("/in/d", "d", 300)]


@pytest.fixture
def store(tmp_path: Path) -> Iterator[JobStore]:
    made = JobStore(tmp_path / "folder" / "jobs.db")
    yield made
    made.close()


def test_job_comes_back_as_it_was_accepted(store: JobStore) -> None:
    job = store.add(REQUEST)
    assert store.job(job.id) == job
    assert job.request == REQUEST
    assert (job.state, job.finished_at, job.error, job.files_total) == (BatchState.QUEUED, None, None, 0)


def test_unknown_job(store: JobStore) -> None:
    with pytest.raises(KeyError):
        store.job("x")
    with pytest.raises(KeyError):
        store.set_files("x", FILES)


def test_files_add_up(store: JobStore) -> None:
    job = store.add(REQUEST)
    other = store.add(REQUEST)
    for one in (job, other):
        store.set_files(one.id, FILES)
    first, second, _ = store.files(job.id)
    assert first.input == FILES[0]
    store.set_file(job.id, replace(first, state=FileState.DONE, rows_done=7, rows_failed=2, replaces=True))
    store.set_file(job.id, replace(second, state=FileState.COMMITTING, rows_done=1))
    assert [file.state for file in store.files(job.id)] == [FileState.DONE, FileState.COMMITTING, FileState.WAITING]
    job = store.job(job.id)
    assert (job.files_total, job.bytes_total) == (3, 400)
    assert job.progress == Progress(rows_done=7, rows_failed=2, files_done=1, bytes_done=100)
    assert store.job(other.id).progress == Progress()


def test_state_changes_only_from_where_it_is_expected(store: JobStore) -> None:
    job = store.add(REQUEST)
    assert not store.change_state(job.id, (BatchState.RUNNING,), BatchState.FAILED, WHY)
    assert store.change_state(job.id, (BatchState.QUEUED,), BatchState.RUNNING)
    assert store.job(job.id).finished_at is None
    assert store.change_state(job.id, (BatchState.RUNNING,), BatchState.FAILED, WHY)
    ended = store.job(job.id)
    assert (ended.state, ended.error) == (BatchState.FAILED, str(WHY))
    assert ended.failed_stage == ended.to_contract().failed_stage == BatchStage.MODEL
    assert ended.finished_at is not None


def test_newest_come_first_and_queued_oldest_first(store: JobStore) -> None:
    ids = [store.add(REQUEST).id for _ in range(5)]
    store.change_state(ids[1], (BatchState.QUEUED,), BatchState.CANCELLED)
    store.change_state(ids[2], (BatchState.QUEUED,), BatchState.RUNNING)
    assert [job.id for job in store.newest(3)] == ids[:1:-1]
    assert list(store.queued()) == [(ids[0], REQUEST), (ids[3], REQUEST), (ids[4], REQUEST)]
    assert store.count_queued() == 3
    store.requeue()
    assert [job_id for job_id, _ in store.queued()] == [ids[0], *ids[2:]]


def test_only_jobs_that_ended_are_forgotten(store: JobStore) -> None:
    ids = [store.add(REQUEST).id for _ in range(6)]
    for ended in ids[:4]:
        store.set_files(ended, FILES)
        store.change_state(ended, (BatchState.QUEUED,), BatchState.COMPLETED)
    store.prune(1)
    assert [job.id for job in store.newest(10)] == ids[:2:-1]
    assert store.files(ids[0]) == []


def test_job_that_ended_last_is_forgotten_last(store: JobStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whenever it was accepted, and whatever the clock says."""
    ids = [store.add(REQUEST).id for _ in range(4)]
    backwards = itertools.count(2e9, -1e6)
    monkeypatch.setattr("server.batch.state.job_store.time", SimpleNamespace(time=lambda: next(backwards)))
    for ended in reversed(ids):
        store.change_state(ended, (BatchState.QUEUED,), BatchState.COMPLETED)
    store.prune(1)
    assert [job.id for job in store.newest(10)] == ids[:1]


OLD_TABLES = {
    1: "id TEXT NOT NULL UNIQUE, request TEXT NOT NULL, state INTEGER NOT NULL, created_at REAL NOT NULL, "
    "finished_at REAL, error TEXT",
    2: "id TEXT NOT NULL UNIQUE, request TEXT NOT NULL, state INTEGER NOT NULL, created_at REAL NOT NULL, "
    "finished_at REAL, error TEXT, ended INTEGER",
}


@pytest.mark.parametrize("version", OLD_TABLES)
def test_file_of_an_older_version_is_migrated(tmp_path: Path, version: int) -> None:
    """Its statements are those of the versions that wrote it: 2 is that of release 0.1.0."""
    path = tmp_path / "jobs.db"
    with contextlib.closing(sqlite3.connect(path)) as database:
        database.executescript(
            f"PRAGMA journal_mode = WAL; PRAGMA user_version = {version};"
            f"CREATE TABLE jobs (number INTEGER PRIMARY KEY AUTOINCREMENT, {OLD_TABLES[version]});"
            "CREATE TABLE files (job INTEGER NOT NULL REFERENCES jobs ON DELETE CASCADE, number INTEGER NOT NULL,"
            "location TEXT NOT NULL, relative TEXT NOT NULL, size INTEGER, state INTEGER NOT NULL DEFAULT 0,"
            "rows_done INTEGER NOT NULL DEFAULT 0, rows_failed INTEGER NOT NULL DEFAULT 0,"
            "replaces INTEGER NOT NULL DEFAULT 0, PRIMARY KEY (job, number)) WITHOUT ROWID;"
        )
        new = "INSERT INTO jobs (id, request, state, created_at, finished_at, error) VALUES (?, ?, ?, ?, ?, ?)"
        request = json.dumps(asdict(REQUEST))
        database.execute(new, ("waiting", request, BatchState.QUEUED, 1.5, None, None))
        database.execute(new, ("failed", request, BatchState.FAILED, 2.5, 3.5, "cannot make predictions: why"))
        file = (
            "INSERT INTO files (job, number, location, relative, size, state, rows_done) VALUES (1, 0, ?, ?, ?, ?, ?)"
        )
        database.execute(file, ("/in/a", "a", 100, FileState.DONE, 7))
        database.commit()
    for _ in range(2):
        with contextlib.closing(JobStore(path)) as store:
            failed, waiting = store.newest(10)
            assert (failed.id, failed.finished_at, failed.error) == ("failed", 3.5, "cannot make predictions: why")
            assert failed.failed_stage is None
            assert (waiting.id, waiting.request, waiting.created_at) == ("waiting", REQUEST, 1.5)
            assert waiting.progress == Progress(rows_done=7, files_done=1, bytes_done=100)
    with contextlib.closing(JobStore(path)) as store:
        assert store.change_state("waiting", (BatchState.QUEUED,), BatchState.FAILED, WHY)
        assert store.job("waiting").failed_stage == BatchStage.MODEL
        store.prune(1)
        assert [job.id for job in store.newest(10)] == ["waiting"]


def test_second_process_is_refused(store: JobStore, tmp_path: Path) -> None:
    path = tmp_path / "folder" / "jobs.db"
    program = (
        f"from pathlib import Path; from server.batch.state.job_store import JobStore; JobStore(Path({str(path)!r}))"
    )
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert "is in use by another process" in done.stderr


def test_file_that_is_none_of_ours(tmp_path: Path) -> None:
    path = tmp_path / "jobs.db"
    path.write_bytes(b"no database " * 100)
    with pytest.raises(StoreError, match="not a database"):
        JobStore(path)
    path.unlink()
    with sqlite3.connect(path) as database:
        database.execute("PRAGMA user_version = 9")
    database.close()
    with pytest.raises(StoreError, match="schema 9"):
        JobStore(path)


@pytest.mark.parametrize("damage", ["another file", "a page", "its end"])
def test_damaged_file_is_set_aside(tmp_path: Path, damage: str) -> None:
    path = tmp_path / "jobs.db"
    with contextlib.closing(JobStore(path)) as store:
        job = store.add(REQUEST)
        store.set_files(job.id, FILES * 1000)
    content = path.read_bytes()
    pages = {"another file": b'{"scores": {}}\n' * 1000, "a page": _garbled(content), "its end": content[:20_000]}
    path.write_bytes(pages[damage])
    with capture_logs() as logs, contextlib.closing(JobStore(path)) as store:
        assert store.newest(10) == []
        store.add(REQUEST)
    (line,) = (line for line in logs if line["log_level"] == "error")
    assert "is damaged" in line["event"]
    assert Path(line["moved"]).read_bytes() == pages[damage]
    with contextlib.closing(JobStore(path)) as store:
        assert len(store.newest(10)) == 1


def _garbled(content: bytes) -> bytes:
    return content[:8192] + b"\xff" * 8192 + content[16384:]


def test_file_that_was_named_by_mistake_stays_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "model.pt"
    path.write_bytes(b"no database " * 100)
    for _ in range(2):
        with pytest.raises(StoreError, match="not a database"):
            JobStore(path)
    assert [file.name for file in tmp_path.iterdir()] == ["model.pt"]


def test_names_that_are_no_utf_8_are_kept(store: JobStore) -> None:
    job = store.add(REQUEST)
    files = [InputFile(f"/in/{name}", name, 1) for name in ("\udcff", "a\nb", "é", "a%2Fb")]
    store.set_files(job.id, files)
    assert [file.input for file in store.files(job.id)] == files


def test_upload_is_kept_with_its_file(store: JobStore) -> None:
    job = store.add(REQUEST)
    store.set_files(job.id, FILES)
    store.set_upload(job.id, 1, "an id")
    store.set_file(job.id, replace(store.files(job.id)[1], state=FileState.COMMITTING))
    assert [file.upload for file in store.files(job.id)] == [None, "an id", None]


def test_folder_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StoreError, match="file"):
        JobStore(tmp_path / "file" / "jobs.db")
