"""Jobs with SavedModels by their location: TensorFlow is started for a job, watched, and ended with it."""

from __future__ import annotations

import os
import signal
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from predictor.ttypes import BatchStage, BatchState, OnError

from tests.server.batch.jobs import completed, ended, failed, files_below, flags, read_lines, request, write_lines
from tests.server.tensorflow.model_server import ModelServer
from tests.support.service import Service, child_pids, eventually, is_running

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.slow

FILES, LINES = 4, 50_000


@pytest.fixture(scope="module")
def service(classifier: Path, saved_models: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """A server whose jobs may read and write below the folder of all tests, and use TensorFlow servers."""
    roots = (*flags(tmp_path_factory.getbasetemp()), f"--batch-roots={saved_models}")
    state = tmp_path_factory.mktemp("jobs")
    with Service(classifier, *roots, f"--jobs-db={state / 'jobs.db'}", "--batch-schemes=tfserving") as running:
        yield running


@pytest.fixture(scope="module")
def half_plus_two(saved_models: Path) -> Iterator[str]:
    """The URL of a TensorFlow server's model, for jobs that need no process of their own."""
    with ModelServer(saved_models / "half_plus_two") as server:
        yield server.url


@pytest.fixture(autouse=True)
def _nothing_remains(service: Service) -> Iterator[None]:
    temporary = Path(tempfile.gettempdir())
    before = {path for path in temporary.iterdir() if path.name.startswith("predictor-tensorflow-")}
    yield
    eventually(lambda: not tensorflow_of(service), "no TensorFlow process remains")
    assert {path for path in temporary.iterdir() if path.name.startswith("predictor-tensorflow-")} <= before


def tensorflow_of(service: Service) -> list[int]:
    """Process ids of its TensorFlow processes."""
    return [pid for pid in child_pids(service.pid) if b"server.tensorflow." in command_line(pid)]


def command_line(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except (FileNotFoundError, ProcessLookupError):
        return b""


def test_half_plus_two_gives_the_same_tree(service: Service, saved_models: Path, tmp_path: Path) -> None:
    write_lines(tmp_path / "in" / "a.jsonl", [1.0, 2, 5])
    write_lines(tmp_path / "in" / "sub" / "b.jsonl", [{"x": -4}, 0.2])
    job = completed(service, request(tmp_path, model=str(saved_models / "half_plus_two")))
    assert (job.rows_done, job.rows_failed, job.files_done) == (5, 0, 2)
    assert files_below(tmp_path / "out") == ["a.jsonl", "sub/b.jsonl"]
    assert (tmp_path / "out" / "a.jsonl").read_text() == "2.5\n3.0\n4.5\n"
    assert (tmp_path / "out" / "sub" / "b.jsonl").read_text() == "0.0\n2.1\n"


def test_a_killed_process_loses_and_doubles_no_line(service: Service, saved_models: Path, tmp_path: Path) -> None:
    for number in range(FILES):
        write_lines(tmp_path / "in" / f"{number}.jsonl", (number * LINES + line for line in range(LINES)))
    with service.client() as client:
        job_id = client.submit_batch(request(tmp_path, model=str(saved_models / "half_plus_two"))).id

        def in_the_middle() -> bool:
            job = client.get_batch(job_id)
            assert job.state in (BatchState.QUEUED, BatchState.RUNNING), job
            return bool(job.rows_done > LINES / 2)

        eventually(in_the_middle, "the job is in the middle", timeout_s=120)
        (first,) = tensorflow_of(service)
        os.kill(first, signal.SIGKILL)
        eventually(lambda: [pid for pid in tensorflow_of(service) if pid != first], "it is started again")
        job = ended(client, job_id)
    assert (job.state, job.rows_done, job.files_done) == (BatchState.COMPLETED, FILES * LINES, FILES), job.error
    assert files_below(tmp_path / "out") == [f"{number}.jsonl" for number in range(FILES)]
    for number in range(FILES):
        expected = [(number * LINES + line) / 2 + 2 for line in range(LINES)]
        assert read_lines(tmp_path / "out" / f"{number}.jsonl") == expected


def test_a_cancelled_job_ends_its_process(service: Service, saved_models: Path, tmp_path: Path) -> None:
    write_lines(tmp_path / "in" / "a.jsonl", range(1_000_000))
    with service.client() as client:
        job_id = client.submit_batch(request(tmp_path, model=str(saved_models / "half_plus_two"))).id
        (child,) = eventually(lambda: tensorflow_of(service), "TensorFlow is started")
        client.cancel_batch(job_id)
        assert ended(client, job_id).state == BatchState.CANCELLED
    eventually(lambda: not is_running(child), "it has ended")
    assert files_below(tmp_path / "out") == []


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ('"text"', "input 'x': expected a number, got \"text\""),
        ('{"y": 1}', "input 'x' is missing"),
        ("9007199254740993", "9007199254740993 is not exact as float"),
        ("NaN", "JSON has no NaN"),
        ("1e39", "is out of the range of float"),
    ],
)
def test_a_line_that_does_not_fit_fails_the_job(
    service: Service, half_plus_two: str, tmp_path: Path, line: str, message: str
) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.jsonl").write_text(f"1\n\n{line}\n2\n")
    job = failed(service, request(tmp_path, model=half_plus_two))
    assert job.failed_stage == BatchStage.PREDICTIONS
    assert "a.jsonl" in job.error
    assert "line 3" in job.error
    assert message in job.error
    assert files_below(tmp_path / "out") == []


def test_lines_that_do_not_fit_are_recorded(service: Service, half_plus_two: str, tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.jsonl").write_text('1\n"text"\n9007199254740993\nNaN\n[1]\n2\n')
    job = completed(service, request(tmp_path, model=half_plus_two, on_error=OnError.RECORD))
    results: list[Any] = read_lines(tmp_path / "out" / "a.jsonl")
    assert [results[0], results[5]] == [2.5, 3]
    assert all("error" in result for result in results[1:5])
    assert (job.rows_done, job.rows_failed) == (2, 4)


def test_a_constant_is_no_row_of_each_line(service: Service, saved_models: Path, tmp_path: Path) -> None:
    """Also where there are as many lines as it has rows."""
    write_lines(tmp_path / "in" / "a.jsonl", [1, 2, 3])
    job = failed(service, request(tmp_path, model=str(saved_models / "names")))
    assert "output 'names' has shape [3] for 1 instance, not a row for each" in job.error
    assert files_below(tmp_path / "out") == []


def test_large_results_of_short_lines_need_little_memory(service: Service, saved_models: Path, tmp_path: Path) -> None:
    """24 lines of a few bytes: 130 MB of results, and 1 GB as lists of numbers."""
    write_lines(tmp_path / "in" / "a.jsonl", [0.5] * 24)
    before = peak_mib(service.pid)
    job = completed(service, request(tmp_path, model=str(saved_models / "masks")))
    assert job.rows_done == 24
    line = (256 * ("[" + ",".join(["[" + ",".join(["0.5"] * 21) + "]"] * 256) + "],")).removesuffix(",")
    with (tmp_path / "out" / "a.jsonl").open() as results:
        assert results.readline() == f"[{line}]\n"
    assert peak_mib(service.pid) - before < 600


def peak_mib(pid: int) -> int:
    """The most memory that a process has had."""
    (line,) = (line for line in Path(f"/proc/{pid}/status").read_text().splitlines() if line.startswith("VmHWM:"))
    return int(line.split()[1]) >> 10


def test_a_server_of_others_that_restarts_is_waited_for(service: Service, saved_models: Path, tmp_path: Path) -> None:
    write_lines(tmp_path / "in" / "a.jsonl", range(LINES))
    folder = saved_models / "half_plus_two"
    with ModelServer(folder) as server, service.client() as client:
        job_id = client.submit_batch(request(tmp_path, model=server.url)).id
        eventually(lambda: client.get_batch(job_id).rows_done > 1000, "the job is in the middle")
        server.signal(signal.SIGKILL)
        server.wait()
        time.sleep(2.5)  # longer than calls of no job are tried
        assert client.get_batch(job_id).state == BatchState.RUNNING
        with ModelServer(folder, port=server.port):
            job = ended(client, job_id)
    assert (job.state, job.rows_done) == (BatchState.COMPLETED, LINES), job.error
    assert read_lines(tmp_path / "out" / "a.jsonl") == [line / 2 + 2 for line in range(LINES)]


@pytest.mark.parametrize(
    ("model", "stage", "message"),
    [("none", BatchStage.MODEL, "none"), (".", BatchStage.TENSORFLOW, "saved_model.pb")],
)
def test_models_that_are_none(
    service: Service, saved_models: Path, tmp_path: Path, model: str, stage: int, message: str
) -> None:
    write_lines(tmp_path / "in" / "a.jsonl", [1])
    job = failed(service, request(tmp_path, model=str(saved_models / model)))
    assert message in job.error
    assert job.failed_stage == stage
    assert files_below(tmp_path / "out") == []
