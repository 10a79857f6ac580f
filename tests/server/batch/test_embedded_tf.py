"""embedded-tf's classic, end to end: fetch a SavedModel, start TensorFlow, predict all lines of all files, clean up."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlencode

import pytest

from tests.support.service import ROOT, Service
from tests.support.smart_reply_models import google_model
from tests.support.stores import Bucket, GcsBucket, S3Bucket, read_tree, write_tree

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from tests.support.service import Answer

pytestmark = pytest.mark.slow

INPUT = {
    "in/a.json": b"1.0\n2.0\n-5\n",
    "in/b.json": b'{"x": 100}\n\n  \n{"x": 0.5}',
    "in/sub/a.json": b"7\n",
    "in-other/c.json": b"1\n",
}
PREDICTED = {"a.json": b"2.5\n3.0\n-0.5\n", "b.json": b"52.0\n2.25\n", "sub/a.json": b"5.5\n"}


class Folder:
    """A local folder, with what tests want of a Bucket."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.location = f"{path}/"

    def put(self, path: str, content: bytes) -> str:
        write_tree(self._path, {path: content})
        return f"{self.location}{path}"

    def contents(self) -> dict[str, bytes]:
        return read_tree(self._path)


@pytest.fixture(scope="module")
def half_plus_two(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """The model's files."""
    folder = tmp_path_factory.mktemp("models")
    command = [sys.executable, "scripts/make_saved_models.py", str(folder), "half_plus_two"]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True, timeout=120)
    return read_tree(folder / "half_plus_two")


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("root")


@pytest.fixture(scope="module")
def s3_bucket(s3_port: int) -> S3Bucket:
    return S3Bucket(s3_port)


@pytest.fixture(scope="module")
def gcs_bucket(gcs_port: int) -> GcsBucket:
    return GcsBucket(gcs_port)


@pytest.fixture(scope="module")
def service(root: Path, s3_bucket: S3Bucket, gcs_bucket: GcsBucket) -> Iterator[Service]:
    """A server that may use a folder, a bucket of each store, and nothing else."""
    flags = [f"--jobs-db={root}.jobs/jobs.db", f"--batch-roots={root}"]
    flags += [f"--batch-buckets={bucket.location}" for bucket in (s3_bucket, gcs_bucket)]
    environment = {**s3_bucket.environment, **gcs_bucket.environment}
    with Service(google_model(), *flags, env=environment) as running:
        yield running


@pytest.fixture(params=["local", "s3", "gs"])
def place(request: pytest.FixtureRequest, root: Path, s3_bucket: S3Bucket, gcs_bucket: GcsBucket) -> Folder | Bucket:
    places: dict[str, Folder | Bucket] = {"local": Folder(root), "s3": s3_bucket, "gs": gcs_bucket}
    return places[request.param]


def ask(service: Service, **parameters: str) -> Answer:
    return service.http(f"/?{urlencode(parameters)}")


def shown(service: Service, answer: Answer) -> dict[str, object]:
    """The answer's job."""
    return dict(service.http(f"/batches/{answer.headers['X-Batch-Id']}").json())


def test_the_classic(service: Service, place: Folder | Bucket, half_plus_two: Mapping[str, bytes]) -> None:
    for path, content in half_plus_two.items():
        place.put(f"models/half_plus_two/{path}", content)
    for path, content in INPUT.items():
        place.put(path, content)
    before = place.contents()

    model, source, output = (f"{place.location}{path}" for path in ("models/half_plus_two", "in/", "out"))
    answer = ask(service, model=model, input=source, output=output)

    assert (answer.status, answer.text) == (200, "predictions completed\n"), shown(service, answer)
    written = {path: content for path, content in place.contents().items() if path not in before}
    assert written == {f"out/{path}": content for path, content in PREDICTED.items()}
    job = shown(service, answer)
    assert (job["state"], job["files_done"], job["rows_done"]) == ("COMPLETED", 3, 6)
    _nothing_remains(service)


def test_failures(service: Service, root: Path, half_plus_two: Mapping[str, bytes]) -> None:
    model = {f"half_plus_two/{path}": content for path, content in half_plus_two.items()}
    write_tree(root / "failing", {**model, "none/readme": b"", "in/a": b"1\n", "bad/a": b"1\nx\n"})
    at = f"{root}/failing"
    cases = {
        (f"{at}/missing", f"{at}/in/"): "error when downloading model files",
        (f"{at}/none", f"{at}/in/"): "error when starting tensorflow",
        (f"{at}/half_plus_two", f"{at}/bad/"): "error when making predictions",
        (f"{at}/half_plus_two", f"{at}/nowhere"): "error when making predictions",
    }
    for (model_location, source), message in cases.items():
        answer = ask(service, model=model_location, input=source, output=f"{at}/out")
        assert (answer.status, answer.text) == (500, f"{message}\n")
        job = shown(service, answer)
        assert job["state"] == "FAILED", job
        assert at in str(job["error"])
    assert not (root / "failing" / "out").exists() or read_tree(root / "failing" / "out") == {}
    _nothing_remains(service)


@pytest.mark.parametrize("name", ["model", "input", "output"])
@pytest.mark.parametrize("location", ["gs://other/x", "/etc/passwd", "http://host/x", "file:///etc/passwd"])
def test_locations_that_are_not_allowed(
    service: Service, root: Path, s3_bucket: S3Bucket, gcs_bucket: GcsBucket, name: str, location: str
) -> None:
    parameters = {"model": f"{root}/model", "input": f"{root}/in/", "output": f"{root}/out", name: location}
    answer = ask(service, **parameters)
    assert answer.status == 400
    assert answer.text.startswith(f"'{name}' bad formatted: ")
    if (name, location) != ("output", "http://host/x"):
        s3, gs = (bucket.location.rstrip("/") for bucket in (s3_bucket, gcs_bucket))
        allowed = (
            f"'{s3}/', '{gs}/' or a folder of the setting batch_roots"
            if location != "file:///etc/passwd"
            else "'gs://', 's3://', 'http://', 'https://' or '/'"
        )
        assert answer.text == f"'{name}' bad formatted: location must start with {allowed}\n"


def test_a_server_that_runs_no_jobs() -> None:
    with Service(google_model()) as service:
        answer = ask(service, model="/m", input="/in/", output="/out")
        assert answer.status == 503
        assert answer.text == "this server runs no batch jobs: give it a file for them (setting jobs_db)\n"
        assert service.http("/?document=x").text == "Missing query parameter: doc\n"


def _nothing_remains(service: Service) -> None:
    """No process of TensorFlow's and no copy of a model."""
    assert service.children() == []
    (flag,) = (argument for argument in service.command if argument.startswith("--jobs-db="))
    copies = Path(f"{flag.partition('=')[2]}.copies")
    assert not copies.exists() or list(copies.iterdir()) == []
    assert not list(Path(tempfile.gettempdir()).glob("predictor-model-*"))
