"""Jobs that are killed, stopped and cancelled in the middle, and go on."""

from __future__ import annotations

import contextlib
import signal
import sqlite3
import time
from http.server import BaseHTTPRequestHandler
from typing import TYPE_CHECKING, Any

import pytest
from predictor.ttypes import BatchState

from server.batch.state.job import FileState
from tests.server.batch.jobs import completed, ended, failed, files_below, flags, read_lines, request, write_lines
from tests.support.service import Service, eventually
from tests.support.web import web_server

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

pytestmark = pytest.mark.slow

FILES, LINES = 20, 10_000
NAMES = [f"{number:02}.jsonl" for number in range(FILES)]


def write_input(folder: Path, files: int = FILES, lines: int = LINES) -> None:
    for name in NAMES[:files]:
        write_lines(folder / "in" / name, ({"id": n, "doc": f"set an alarm for {name} {n}"} for n in range(lines)))


def assert_every_line_once_and_in_order(folder: Path, files: int = FILES, lines: int = LINES) -> None:
    assert files_below(folder / "out") == NAMES[:files], "no temporary file remains either"
    for name in NAMES[:files]:
        assert [line["id"] for line in read_lines(folder / "out" / name)] == list(range(lines))


def job_in_progress(client: Any, folder: Path, files: int = 1, **fields: Any) -> str:
    """Id of a job that has done so many files and is at work on the next one."""
    job_id = client.submit_batch(request(folder, key_field="id", **fields)).id

    def is_in_the_middle() -> bool:
        job = client.get_batch(job_id)
        assert job.state in (BatchState.QUEUED, BatchState.RUNNING), job
        return bool(job.files_done >= files and job.rows_done % LINES)

    eventually(is_in_the_middle, "the job is in the middle")
    return str(job_id)


def test_job_survives_the_death_of_its_server(tmp_path: Path, classifier: Path) -> None:
    write_input(tmp_path)
    with Service(classifier, *flags(tmp_path)) as service, service.client() as client:
        job_id = job_in_progress(client, tmp_path, files=5)
        service.signal(signal.SIGKILL)
        service.wait()
    written = {name: (tmp_path / "out" / name).stat() for name in files_below(tmp_path / "out") if name in NAMES}
    assert 5 <= len(written) < FILES
    with Service(classifier, *flags(tmp_path)) as service, service.client() as client:
        job = ended(client, job_id)
    assert (job.state, job.rows_done, job.files_done) == (BatchState.COMPLETED, FILES * LINES, FILES), job.error
    assert_every_line_once_and_in_order(tmp_path)
    for name, before in written.items():
        after = (tmp_path / "out" / name).stat()
        assert (after.st_ino, after.st_mtime_ns) == (before.st_ino, before.st_mtime_ns), "written twice"


def test_job_survives_many_deaths(tmp_path: Path, classifier: Path) -> None:
    write_input(tmp_path)
    with Service(classifier, *flags(tmp_path)) as service, service.client() as client:
        job_id = job_in_progress(client, tmp_path, files=0)
        service.signal(signal.SIGKILL)
        service.wait()
    for _ in range(3):
        with Service(classifier, *flags(tmp_path)) as service, service.client() as client:
            done = client.get_batch(job_id).files_done
            eventually(lambda: client.get_batch(job_id).files_done > done + 1, "two files more")  # noqa: B023
            service.signal(signal.SIGKILL)
            service.wait()
    with Service(classifier, *flags(tmp_path)) as service, service.client() as client:
        assert ended(client, job_id).state == BatchState.COMPLETED
    assert_every_line_once_and_in_order(tmp_path)


@pytest.mark.parametrize("appeared", [True, False])
def test_death_while_an_output_appears(tmp_path: Path, classifier: Path, appeared: bool) -> None:
    """Between the note that all lines are predicted and the note that the output is there."""
    write_input(tmp_path, files=2, lines=10)
    with Service(classifier, *flags(tmp_path)) as service:
        job_id = completed(service, request(tmp_path, key_field="id")).id
    database = sqlite3.connect(tmp_path / "jobs.db")
    with database:
        database.execute("UPDATE jobs SET state = ?", (BatchState.RUNNING,))
        database.execute("UPDATE files SET state = ? WHERE number = 1", (FileState.COMMITTING,))
    database.close()
    output = tmp_path / "out" / NAMES[1]
    before = output.stat().st_ino
    if not appeared:
        output.unlink()
    with Service(classifier, *flags(tmp_path)) as service, service.client() as client:
        job = ended(client, job_id)
    assert (job.state, job.rows_done) == (BatchState.COMPLETED, 20)
    assert_every_line_once_and_in_order(tmp_path, files=2, lines=10)
    assert not appeared or output.stat().st_ino == before


def test_orderly_stop_is_quick_and_the_job_goes_on(tmp_path: Path, classifier: Path) -> None:
    write_input(tmp_path)
    with Service(classifier, *flags(tmp_path)) as service, service.client() as client:
        job_id = job_in_progress(client, tmp_path)
        other = client.submit_batch(request(tmp_path, input=f"{tmp_path}/in/{NAMES[0]}", output=f"{tmp_path}/other"))
        service.stop()
    assert len(files_below(tmp_path / "out")) < FILES, "it did not wait for the job"
    assert not [name for name in files_below(tmp_path / "out") if name not in NAMES], "temporary files"
    with Service(classifier, *flags(tmp_path)) as service, service.client() as client:
        assert client.get_batch(other.id).state == BatchState.QUEUED
        assert ended(client, job_id).state == BatchState.COMPLETED
        assert ended(client, other.id).state == BatchState.COMPLETED
    assert_every_line_once_and_in_order(tmp_path)


class EndlessFile(BaseHTTPRequestHandler):
    """Answers for minutes: /slow with a blank line ten times a second, /silent with nothing."""

    def do_GET(self) -> None:
        self.send_response(200)
        self.end_headers()
        with contextlib.suppress(OSError):
            for _ in range(3000):
                self.wfile.write(b"\n" if self.path == "/slow" else b"")
                time.sleep(0.1)

    def log_message(self, *_: object) -> None:
        """Nothing."""


@pytest.fixture
def endless() -> Iterator[str]:
    """Address of a server of endless files."""
    with web_server(EndlessFile) as address:
        yield address


@pytest.mark.parametrize("file", ["slow", "silent"])
def test_storage_that_keeps_a_job_does_not_keep_the_server(
    tmp_path: Path, classifier: Path, endless: str, file: str
) -> None:
    given = (*flags(tmp_path), f"--batch-buckets={endless}", "--drain-timeout-ms=1000")
    with Service(classifier, *given) as service, service.client() as client:
        job = client.submit_batch(request(tmp_path, input=f"{endless}/{file}"))
        eventually(lambda: client.get_batch(job.id).files_total, "the job reads")
        started = time.monotonic()
        service.stop()
        assert time.monotonic() - started < 30
    with Service(classifier, *given) as service, service.client() as client:
        assert client.get_batch(job.id).state in (BatchState.QUEUED, BatchState.RUNNING)
        if file == "slow":
            assert client.cancel_batch(job.id).state == BatchState.CANCELLED
            assert files_below(tmp_path / "out") == []


def test_cancelled_job_ends_at_once_and_leaves_no_half_file(tmp_path: Path, classifier: Path) -> None:
    write_input(tmp_path, files=3, lines=LINES)
    write_lines(tmp_path / "in" / "99", ({"id": n, "doc": "x"} for n in range(20 * LINES)))
    with Service(classifier, *flags(tmp_path)) as service, service.client() as client:
        job_id = job_in_progress(client, tmp_path, files=3)
        waiting = client.submit_batch(request(tmp_path, output=f"{tmp_path}/other"))
        assert client.cancel_batch(waiting.id).state == BatchState.CANCELLED
        job = client.cancel_batch(job_id)
        assert (job.state, job.files_done, job.error) == (BatchState.CANCELLED, 3, None)
        assert job.rows_done == 3 * LINES
        assert client.cancel_batch(job_id).state == BatchState.CANCELLED, "twice is no harm"
        completed(service, request(tmp_path, input=f"{tmp_path}/in/{NAMES[0]}", output=f"{tmp_path}/third"))
    assert files_below(tmp_path / "out") == NAMES[:3]
    assert not (tmp_path / "other").exists()


def test_job_goes_on_with_the_model_that_takes_its_models_place(tmp_path: Path, zoo: Callable[[str], Path]) -> None:
    models = tmp_path / "models"
    models.mkdir()
    (models / "m.pt").write_bytes(zoo("docnn_mask").read_bytes())
    write_input(tmp_path)
    with (
        Service(f"m={models / 'm.pt'}", f"--model-root={models}", *flags(tmp_path)) as service,
        service.client() as client,
    ):
        job_id = job_in_progress(client, tmp_path, model="m")
        for _ in range(3):
            client.load_model("m", "m.pt")
        assert ended(client, job_id).state == BatchState.COMPLETED
        assert_every_line_once_and_in_order(tmp_path)
        job_id = job_in_progress(client, tmp_path, model="m", output=f"{tmp_path}/out2")
        client.unload_model("m")
        job = ended(client, job_id)
    assert job.state == BatchState.FAILED
    assert job.error.startswith("cannot get the model: no model is named 'm'")


def test_job_leaves_room_in_a_small_queue(tmp_path: Path, classifier: Path) -> None:
    write_input(tmp_path, files=4)
    with Service(classifier, "--queue-items=64", *flags(tmp_path)) as service, service.client() as client:
        job_id = job_in_progress(client, tmp_path)
        for number in range(100):
            assert client.predict(f"document {number}", None)
        assert ended(client, job_id).state == BatchState.COMPLETED
        assert service.model_status().overloaded == 0
    assert_every_line_once_and_in_order(tmp_path, files=4)


def test_full_disk_fails_the_job_and_leaves_nothing(tmp_path: Path, classifier: Path) -> None:
    """A limit on the size of a file stands for the disk's end: writing fails in the middle in the same way."""
    write_input(tmp_path, files=1)
    with Service(classifier, *flags(tmp_path)) as service:
        limit_file_size(service.pid, 1 << 20)
        job = failed(service, request(tmp_path))
        assert f"{tmp_path}/out/{NAMES[0]} cannot be written: File too large" in job.error
    assert files_below(tmp_path / "out") == []


def limit_file_size(pid: int, size: int) -> None:
    """RLIMIT_FSIZE of a running process."""
    import resource

    resource.prlimit(pid, resource.RLIMIT_FSIZE, (size, size))
