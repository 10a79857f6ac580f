"""Jobs from their acceptance to their end, with a method that answers when it is told to."""

from __future__ import annotations

import asyncio
import contextlib
import os
import sqlite3
import sys
import threading
import time
from typing import TYPE_CHECKING, Any

import pytest
from predictor.ttypes import BatchRequest, BatchStage, BatchState, ErrorCode, PredictionError

from server.batch.jobs import Jobs
from server.batch.pipeline.lines import LineLimit
from server.batch.pipeline.local_executor import LocalExecutor
from server.batch.state.errors import RowError
from server.batch.state.job_store import JobStore
from server.batch.storage.access import Storage
from server.config import Settings
from server.models.registry import Registry
from tests.server.batch.jobs import files_below, write_lines

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator
    from pathlib import Path

    from server.batch.state.control import Control
    from server.batch.state.errors import JobError
    from server.batch.state.job import JobRequest


class Gate:
    """A method's answers wait for `open`. `outputs` are those of the jobs that have started, in their order."""

    rows, rows_ahead, result_bytes, bare, exact = 1, 1, 0, False, False

    def __init__(self) -> None:
        self.open = threading.Event()
        self.deaf = False
        self.waited_for = threading.Event()
        self.outputs: list[str] = []

    @contextlib.contextmanager
    def open_executor(self, request: JobRequest, _control: Control) -> Iterator[LocalExecutor]:
        """As LocalExecutors.open."""
        self.outputs.append(request.output)
        yield LocalExecutor(self, request.key_field, LineLimit(1000, "a_setting"))

    def instance(self, value: Any) -> Any:
        if type(value) is not str:
            raise RowError(ErrorCode.INVALID_ARGUMENT, "no text")
        return value

    def submit(self, instances: list[Any]) -> Gate:
        self.count = len(instances)
        return self

    def wait(self, control: Control) -> list[bytes]:
        self.waited_for.set()
        while not self.open.wait(0.01):
            if not self.deaf:
                control.check()
        return [b'"scores":{}'] * self.count

    def cancel(self) -> None:
        pass


@pytest.fixture
def gate(monkeypatch: pytest.MonkeyPatch) -> Gate:
    new = Gate()
    monkeypatch.setattr(
        "server.batch.methods.local_executors.LocalExecutors.open", lambda _, *arguments: new.open_executor(*arguments)
    )
    return new


@pytest.fixture
async def new_jobs(tmp_path: Path, gate: Gate, classifier: Path) -> AsyncIterator[Callable[..., Jobs]]:
    """Jobs that may use the test's folder, and run FOLDER/in; not started."""
    write_lines(tmp_path / "in" / "a", ["one", "two"])
    made: list[Jobs] = []

    def new(**settings: Any) -> Jobs:
        given = Settings(jobs_db=tmp_path / "jobs.db", batch_roots=(tmp_path,), **settings)
        registry = Registry(given)
        registry.announce("m", classifier)
        made.append(Jobs(given, registry))
        return made[-1]

    yield new
    gate.open.set()
    for jobs in made:
        await jobs.stop()
        jobs.close()


def request_of(folder: Path, output: str = "out", read: str = "in/") -> BatchRequest:
    return BatchRequest("predict", "m", f"{folder}/{read}", f"{folder}/{output}")


async def reached(jobs: Jobs, job_id: str, state: int) -> None:
    """Wait until the job is in the state."""
    async with asyncio.timeout(60):
        while (await jobs.job(job_id)).state != state:  # noqa: ASYNC110 - another thread's doing
            await asyncio.sleep(0.005)


async def started(gate: Gate, count: int) -> None:
    """Wait until so many jobs have started."""
    async with asyncio.timeout(60):
        while len(gate.outputs) < count:  # noqa: ASYNC110
            await asyncio.sleep(0.005)


async def test_job_accepted_while_models_load_waits_and_runs_once(
    new_jobs: Callable[..., Jobs], gate: Gate, tmp_path: Path
) -> None:
    jobs = new_jobs(batch_jobs=2)
    job = await jobs.submit(request_of(tmp_path))
    await asyncio.sleep(0.1)
    assert (await jobs.job(job.id)).state == BatchState.QUEUED
    jobs.start()
    await started(gate, 1)
    gate.open.set()
    await reached(jobs, job.id, BatchState.COMPLETED)
    assert len(gate.outputs) == 1


async def test_job_of_a_killed_server_can_be_cancelled_while_models_load(
    new_jobs: Callable[..., Jobs], tmp_path: Path, gate: Gate
) -> None:
    jobs = new_jobs()
    job = await jobs.submit(request_of(tmp_path))
    await jobs.stop()
    jobs.close()
    with contextlib.closing(JobStore(tmp_path / "jobs.db")) as store:
        store.change_state(job.id, (BatchState.QUEUED,), BatchState.RUNNING)
    jobs = new_jobs()
    assert (await jobs.job(job.id)).state == BatchState.QUEUED
    assert (await jobs.cancel(job.id)).state == BatchState.CANCELLED
    jobs.start()
    await jobs.submit(request_of(tmp_path, "other"))
    await started(gate, 1)
    assert gate.outputs == [f"{tmp_path}/other"]


async def test_cancelled_jobs_count_among_the_kept(new_jobs: Callable[..., Jobs], tmp_path: Path) -> None:
    jobs = new_jobs(batch_queue=1, batch_kept=2)
    for _ in range(5):
        job = await jobs.submit(request_of(tmp_path))
        with pytest.raises(PredictionError, match="1 jobs are waiting") as full:
            await jobs.submit(request_of(tmp_path))
        assert (full.value.code, full.value.setting) == (ErrorCode.OVERLOADED, "batch_queue")
        await jobs.cancel(job.id)
    assert len(await jobs.newest(1000)) == 2


async def test_jobs_whose_results_meet_run_one_after_the_other(
    new_jobs: Callable[..., Jobs], gate: Gate, tmp_path: Path
) -> None:
    jobs = new_jobs(batch_jobs=3)
    (tmp_path / "link").symlink_to(tmp_path / "out")
    outputs = ["out", "link/deep", "out/", "other"]
    ids = [(await jobs.submit(request_of(tmp_path, output))).id for output in outputs]
    jobs.start()
    await started(gate, 2)
    await asyncio.sleep(0.1)
    assert sorted(gate.outputs) == [f"{tmp_path}/other", f"{tmp_path}/out"]
    gate.open.set()
    for job_id in ids:
        await reached(jobs, job_id, BatchState.COMPLETED)
    order = [output for output in gate.outputs if not output.endswith("other")]
    assert order == [f"{tmp_path}/{output}" for output in outputs[:3]]


async def test_jobs_of_different_files_run_at_the_same_time(
    new_jobs: Callable[..., Jobs], gate: Gate, tmp_path: Path
) -> None:
    jobs = new_jobs(batch_jobs=2)
    write_lines(tmp_path / "in" / "b", ["three"])
    jobs.start()
    for name in ("a", "b"):
        await jobs.submit(request_of(tmp_path, read=f"in/{name}"))
    await started(gate, 2)


async def test_cancelling_a_job_that_does_not_end_is_answered(
    new_jobs: Callable[..., Jobs], gate: Gate, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("server.batch.jobs._CANCEL_S", 0.1)
    gate.deaf = True
    jobs = new_jobs()
    jobs.start()
    job = await jobs.submit(request_of(tmp_path))
    await asyncio.to_thread(gate.waited_for.wait, 60)
    async with asyncio.timeout(30):
        assert (await jobs.cancel(job.id)).state == BatchState.RUNNING
    gate.deaf = False
    await reached(jobs, job.id, BatchState.CANCELLED)
    assert files_below(tmp_path / "out") == []


async def test_jobs_can_be_asked_for_while_the_server_drains(
    new_jobs: Callable[..., Jobs], gate: Gate, tmp_path: Path
) -> None:
    jobs = new_jobs()
    jobs.start()
    job = await jobs.submit(request_of(tmp_path))
    await started(gate, 1)
    await jobs.stop()
    assert (await jobs.job(job.id)).state == BatchState.QUEUED
    assert [listed.id for listed in await jobs.newest(10)] == [job.id]
    with pytest.raises(PredictionError) as caught:
        await jobs.submit(request_of(tmp_path))
    assert caught.value.code == ErrorCode.UNAVAILABLE
    assert (await jobs.cancel(job.id)).state == BatchState.CANCELLED


async def test_job_that_was_stored_is_answered_for_when_the_server_stops(
    new_jobs: Callable[..., Jobs], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    jobs = new_jobs()
    jobs.start()
    count = JobStore.count_queued
    monkeypatch.setattr(JobStore, "count_queued", lambda store: time.sleep(0.2) or count(store))
    submitting = asyncio.create_task(jobs.submit(request_of(tmp_path)))
    await asyncio.sleep(0.1)
    await jobs.stop()
    assert (await submitting).state == BatchState.QUEUED


@pytest.mark.parametrize("end", [BatchState.CANCELLED, BatchState.FAILED])
async def test_half_files_of_a_killed_server_go_with_their_job(
    new_jobs: Callable[..., Jobs], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, end: int
) -> None:
    jobs = new_jobs()
    job = await jobs.submit(request_of(tmp_path))
    await jobs.stop()
    jobs.close()
    storage = Storage([tmp_path])
    with contextlib.closing(JobStore(tmp_path / "jobs.db")) as store:
        store.set_files(job.id, storage.list_inputs(f"{tmp_path}/in/"))
        store.change_state(job.id, (BatchState.QUEUED,), BatchState.RUNNING)
    with storage.create(f"{tmp_path}/out/a", job.id):
        (name,) = files_below(tmp_path / "out")
    (tmp_path / "out" / name).write_text("half")
    monkeypatch.setattr("server.batch.methods.local_executors.LocalExecutors.open", lambda *_: sys.exit("no reason"))
    jobs = new_jobs()
    if end == BatchState.CANCELLED:
        await jobs.cancel(job.id)
    else:
        jobs.start()
    await reached(jobs, job.id, end)
    assert files_below(tmp_path / "out") == []


async def test_failed_job_goes_on_where_it_was(new_jobs: Callable[..., Jobs], gate: Gate, tmp_path: Path) -> None:
    for name, lines in {"b": ["three", 7], "c": ["four"]}.items():
        write_lines(tmp_path / "in" / name, lines)
    gate.open.set()
    jobs = new_jobs()
    jobs.start()
    job = await jobs.submit(request_of(tmp_path))
    await reached(jobs, job.id, BatchState.FAILED)
    before = (tmp_path / "out" / "a").stat()
    write_lines(tmp_path / "in" / "b", ["three", "7"])
    assert (await jobs.resume(job.id)).state in (BatchState.QUEUED, BatchState.RUNNING, BatchState.COMPLETED)
    await reached(jobs, job.id, BatchState.COMPLETED)
    resumed = await jobs.job(job.id)
    assert (resumed.error, resumed.failed_stage, resumed.files_done, resumed.rows_done) == (None, None, 3, 5)
    after = (tmp_path / "out" / "a").stat()
    assert (after.st_ino, after.st_mtime_ns) == (before.st_ino, before.st_mtime_ns), "written twice"
    assert (await jobs.resume(job.id)).state == BatchState.COMPLETED, "it stays as it is"


async def test_cancelled_job_goes_on(new_jobs: Callable[..., Jobs], gate: Gate, tmp_path: Path) -> None:
    jobs = new_jobs()
    jobs.start()
    job = await jobs.submit(request_of(tmp_path))
    await started(gate, 1)
    assert (await jobs.resume(job.id)).state == BatchState.RUNNING, "it stays as it is"
    assert (await jobs.cancel(job.id)).state == BatchState.CANCELLED
    gate.open.set()
    await jobs.resume(job.id)
    await reached(jobs, job.id, BatchState.COMPLETED)
    assert files_below(tmp_path / "out") == ["a"]


async def test_resumed_job_is_looked_at_like_a_new_one(new_jobs: Callable[..., Jobs], tmp_path: Path) -> None:
    jobs = new_jobs(batch_queue=1)
    first = await jobs.submit(request_of(tmp_path))
    await jobs.cancel(first.id)
    second = await jobs.submit(request_of(tmp_path))
    with pytest.raises(PredictionError, match="1 jobs are waiting"):
        await jobs.resume(first.id)
    await jobs.cancel(second.id)
    (tmp_path / "out").symlink_to("/etc")
    with pytest.raises(PredictionError, match="location must start with") as refused:
        await jobs.resume(first.id)
    assert (refused.value.code, refused.value.field) == (ErrorCode.INVALID_ARGUMENT, "request.output")
    with pytest.raises(PredictionError) as unknown:
        await jobs.resume("none")
    assert unknown.value.code == ErrorCode.NOT_FOUND
    await jobs.stop()
    with pytest.raises(PredictionError, match="draining"):
        await jobs.resume(first.id)


async def test_short_job_does_not_wait_for_a_long_one(
    new_jobs: Callable[..., Jobs], gate: Gate, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The long one pauses in the middle of its file, and goes on."""
    wait = Gate.wait

    def told(self: Gate, control: Control) -> list[bytes]:
        if gate.outputs[-1].endswith("long"):
            return wait(self, control)
        return [b'"scores":{}'] * self.count

    monkeypatch.setattr(Gate, "wait", told)
    jobs = new_jobs(batch_jobs=1, batch_turn_s=0.01)
    jobs.start()
    long = await jobs.submit(request_of(tmp_path, "long"))
    await asyncio.to_thread(gate.waited_for.wait, 60)
    short = [await jobs.submit(request_of(tmp_path, f"short{number}")) for number in range(3)]
    for job in short:
        await reached(jobs, job.id, BatchState.COMPLETED)
    assert (await jobs.job(long.id)).state == BatchState.RUNNING
    gate.open.set()
    await reached(jobs, long.id, BatchState.COMPLETED)


async def test_names_of_any_kind_end_no_job(new_jobs: Callable[..., Jobs], gate: Gate, tmp_path: Path) -> None:
    names = ["a", "a%2Fb", "a\nb", os.fsdecode(b"\xff\xfe")]
    for name in names:
        write_lines(tmp_path / "in" / name, ["one"])
    gate.open.set()
    jobs = new_jobs()
    jobs.start()
    job = await jobs.submit(request_of(tmp_path))
    await reached(jobs, job.id, BatchState.COMPLETED)
    assert files_below(tmp_path / "out") == sorted(names)
    write_lines(tmp_path / "in" / names[-1], [7])
    job = await jobs.submit(request_of(tmp_path, "again"))
    await reached(jobs, job.id, BatchState.FAILED)
    assert "in/\\udcff\\udcfe, line 1: " in (await jobs.job(job.id)).error


@pytest.mark.parametrize("name", ["jobs.db", "jobs.db-wal", "jobs.db.lock"])
async def test_no_job_takes_the_place_of_the_jobs_own_files(
    new_jobs: Callable[..., Jobs], gate: Gate, tmp_path: Path, name: str
) -> None:
    gate.open.set()
    jobs = new_jobs()
    jobs.start()
    write_lines(tmp_path / "in" / name, ["one"])
    with pytest.raises(PredictionError, match="is the server's own") as refused:
        await jobs.submit(BatchRequest("predict", "m", f"{tmp_path}/in/{name}", str(tmp_path)))
    assert (refused.value.field, refused.value.setting) == ("request.output", "jobs_db")
    job = await jobs.submit(BatchRequest("predict", "m", f"{tmp_path}/in/", str(tmp_path)))
    await reached(jobs, job.id, BatchState.FAILED)
    assert "is the server's own" in (await jobs.job(job.id)).error
    assert not (tmp_path / "a").exists(), "nothing is written before all places are looked at"


def refuse(monkeypatch: pytest.MonkeyPatch, state: int, times: int) -> list[str]:
    """Let the store fail so many times to write this state; the ids of the jobs that it failed for."""
    change = JobStore.change_state
    refused: list[str] = []

    def full(store: JobStore, job_id: str, before: Any, after: int, failure: JobError | None = None) -> bool:
        if after == state and len(refused) < times:
            refused.append(job_id)
            raise sqlite3.OperationalError("database or disk is full")
        return change(store, job_id, before, after, failure)

    monkeypatch.setattr(JobStore, "change_state", full)
    monkeypatch.setattr("server.batch.runner._RETRY_S", 0.01)
    return refused


async def test_end_that_cannot_be_kept_is_kept_later(
    new_jobs: Callable[..., Jobs], gate: Gate, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    refused = refuse(monkeypatch, BatchState.COMPLETED, times=4)
    jobs = new_jobs()
    jobs.start()
    gate.open.set()
    await reached(jobs, (await jobs.submit(request_of(tmp_path))).id, BatchState.COMPLETED)
    assert len(refused) == 4


async def test_cancelled_job_whose_end_cannot_be_kept_can_be_cancelled_again(
    new_jobs: Callable[..., Jobs], gate: Gate, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    refuse(monkeypatch, BatchState.CANCELLED, times=3)
    jobs = new_jobs()
    jobs.start()
    job = await jobs.submit(request_of(tmp_path))
    await started(gate, 1)
    assert (await jobs.cancel(job.id)).state == BatchState.RUNNING
    assert (await jobs.cancel(job.id)).state == BatchState.CANCELLED


async def test_any_exception_ends_a_job(
    new_jobs: Callable[..., Jobs], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("server.batch.methods.local_executors.LocalExecutors.open", lambda *_: sys.exit("no reason"))
    jobs = new_jobs()
    jobs.start()
    job = await jobs.submit(request_of(tmp_path))
    await reached(jobs, job.id, BatchState.FAILED)
    failed = await jobs.job(job.id)
    assert (failed.error, failed.failed_stage) == (
        "cannot make predictions: SystemExit: no reason",
        BatchStage.PREDICTIONS,
    )
