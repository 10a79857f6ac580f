"""Jobs of one process, without a model: what they read, and where they write."""

from __future__ import annotations

import contextlib
import gzip
import shutil
from http.server import BaseHTTPRequestHandler
from typing import TYPE_CHECKING, Any

import orjson
import pytest
from predictor.ttypes import BatchState

from server.batch.pipeline.lines import LineLimit
from server.batch.pipeline.local_executor import LocalExecutor
from server.batch.runner import Runner
from server.batch.state.control import Control
from server.batch.state.job import JobRequest
from server.batch.state.job_store import JobStore
from server.batch.storage.access import Storage
from tests.server.batch.jobs import write_lines
from tests.support.stores import read_tree
from tests.support.web import web_server

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from server.batch.state.job import Job

    Run = Callable[[str, str], Job]


class Lengths:
    """A method whose results are known at once: a text's length."""

    rows, rows_ahead, result_bytes, bare, exact = 2, 4, 0, True, False

    def instance(self, value: Any) -> Any:
        return value

    def submit(self, instances: list[Any]) -> Results:
        return Results(instances)


class Results:
    def __init__(self, instances: list[Any]) -> None:
        self._instances = instances

    def wait(self, _control: Control) -> list[bytes]:
        return [orjson.dumps(len(text)) for text in self._instances]

    def cancel(self) -> None:
        """Nothing waits."""


@contextlib.contextmanager
def open_executor(_request: JobRequest, _control: Control) -> Iterator[LocalExecutor]:
    yield LocalExecutor(Lengths(), None, LineLimit(100, "a_setting"))


@pytest.fixture
def run(tmp_path: Path) -> Iterator[Run]:
    """Runs a job to its end, by its input and output."""
    with contextlib.closing(JobStore(tmp_path / "jobs.db")) as store:
        runner = Runner(store, Storage([tmp_path], ["http"], any_address=True), open_executor)

        def run(source: str, output: str) -> Job:
            job_id = store.add(JobRequest("predict", None, source, output)).id
            runner.run(job_id, Control())
            return store.job(job_id)

        yield run


class Handler(BaseHTTPRequestHandler):
    """Any path is a packed file."""

    def do_GET(self) -> None:
        self.send_response(200)
        self.end_headers()
        self.wfile.write(gzip.compress(b'"hello"\n'))

    def log_message(self, *_arguments: object) -> None:
        """Nothing."""


@pytest.fixture
def url() -> Iterator[str]:
    with web_server(Handler) as address:
        yield address


@pytest.mark.parametrize("query", ["", "?sig=1", "?name=b.txt"])
def test_packed_file_of_a_signed_url(run: Run, url: str, tmp_path: Path, query: str) -> None:
    job = run(f"{url}/a.jsonl.gz{query}", f"{tmp_path}/out")
    assert (job.state, job.error) == (BatchState.COMPLETED, None)
    assert gzip.decompress((tmp_path / "out" / "a.jsonl.gz").read_bytes()) == b"5\n"


@pytest.mark.parametrize(
    ("source", "output", "links"),
    [
        ("in/", "", {}),
        ("in/", "out", {"out/in": "in/in"}),
        ("in/", "out", {"in/b": "out/in/a"}),
        ("in/c/d", "in", {"in/d": "in/c/d"}),
    ],
    ids=["a folder in the input of its name", "linked folder", "linked input", "linked output"],
)
def test_results_never_take_the_place_of_input(
    run: Run, tmp_path: Path, source: str, output: str, links: dict[str, str]
) -> None:
    for name in ("in/a", "in/in/a", "in/c/d", "out/in/a"):
        write_lines(tmp_path / name, [name])
    for name, target in links.items():
        if (tmp_path / name).is_dir():
            shutil.rmtree(tmp_path / name)
        (tmp_path / name).symlink_to(tmp_path / target)
    before = read_tree(tmp_path / "in")
    job = run(f"{tmp_path}/{source}", f"{tmp_path}/{output}")
    assert job.state == BatchState.FAILED
    assert str(job.error).endswith(f"lies within input '{tmp_path}/{source}'; results need a place of their own")
    assert read_tree(tmp_path / "in") == before
