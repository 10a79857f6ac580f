"""Jobs as tests run them: input files, a service that may use a folder, and what came out."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING, Any

from predictor.ttypes import BatchRequest, BatchState

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from predictor.ttypes import BatchJob

    from tests.support.service import Service

_PATIENCE_S = 300


def flags(folder: Path) -> list[str]:
    """Of a service that keeps its jobs in the folder, and lets them read and write below it."""
    return [f"--jobs-db={folder / 'jobs.db'}", f"--batch-roots={folder}", "--no-rest"]


def write_lines(path: Path, values: Iterable[Any]) -> None:
    """A file of JSON lines, folders above it included."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(value) + "\n" for value in values))


def read_lines(path: Path) -> list[Any]:
    """A file of JSON lines."""
    return [json.loads(line) for line in path.read_text().splitlines()]


def files_below(folder: Path) -> list[str]:
    """Every file, hidden ones too."""
    return sorted(file.relative_to(folder).as_posix() for file in folder.rglob("*") if file.is_file())


def request(folder: Path, method: str = "predict", **fields: Any) -> BatchRequest:
    """Of everything in FOLDER/in, to FOLDER/out."""
    return BatchRequest(method=method, **({"input": f"{folder}/in/", "output": f"{folder}/out"} | fields))


def run(service: Service, job_request: BatchRequest) -> BatchJob:
    """Submit the job and wait until it has ended."""
    with service.client() as client:
        return ended(client, client.submit_batch(job_request).id)


def ended(client: Any, job_id: str) -> BatchJob:
    """The job when it has ended."""
    end = time.monotonic() + _PATIENCE_S
    while time.monotonic() < end:
        job = client.get_batch(job_id)
        if job.state not in (BatchState.QUEUED, BatchState.RUNNING):
            return job
        time.sleep(0.02)
    raise AssertionError(f"not ended in {_PATIENCE_S} s: {job}")


def completed(service: Service, job_request: BatchRequest) -> BatchJob:
    """The same for a job that must succeed."""
    job = run(service, job_request)
    assert job.state == BatchState.COMPLETED, job.error
    return job


def failed(service: Service, job_request: BatchRequest) -> BatchJob:
    """The same for a job that must fail."""
    job = run(service, job_request)
    assert job.state == BatchState.FAILED, job
    return job
