"""Jobs on a Ray cluster of two workers, on this machine."""

from __future__ import annotations

import gzip
import json
import os
import re
import secrets
import signal
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from server.batch.pipeline.lines import Chunk
from server.batch.ray.worker import FlatChunk
from tests.server.batch.jobs import files_below, read_lines, write_lines
from tests.support.service import ROOT, child_pids, eventually, is_running

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.slow

LINES = 100_000
_ADDRESS = re.compile(r"--address='([\d.]+:\d+)'")
_READY = re.compile(r'"pid": (\d+).*"worker ready"')


class Batch:
    """`python -m server.batch ... --runner ray`, in the middle or at its end."""

    def __init__(self, folder: Path, *flags: object) -> None:
        self._log = (folder / "log").open("w+")
        command = [sys.executable, "-m", "server.batch", "--runner=ray", *map(str, flags)]
        self.process = subprocess.Popen(
            command,
            cwd=ROOT,
            env={**os.environ, "PREDICTOR_LOG_LEVEL": "info", "XDG_STATE_HOME": str(folder / "state")},
            stdout=self._log,
            stderr=subprocess.STDOUT,
        )

    def __enter__(self) -> Batch:
        return self

    def __exit__(self, *_error: object) -> None:
        self.process.kill()
        self.process.wait()
        self._log.close()

    @property
    def log(self) -> str:
        """What it wrote so far."""
        return Path(self._log.name).read_text()

    @property
    def workers(self) -> list[int]:
        """Process ids of the workers that have loaded the model, in the order in which they had."""
        return [int(pid) for pid in _READY.findall(self.log)]

    def exit_code(self) -> int:
        """When it has ended."""
        return self.process.wait(120)


@pytest.fixture(scope="module")
def cluster() -> Iterator[str]:
    """A cluster's address; this process's children know its secret."""
    secret = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32)}
    with tempfile.TemporaryDirectory(prefix="ray-") as folder:  # short: there are sockets in it
        # port 0: Ray's own choice, as a free port of ours may be somebody else's until Ray has started
        command = ["ray", "start", "--head", "--block", "--port=0", "--num-cpus=2", f"--temp-dir={folder}"]
        process = subprocess.Popen(
            [Path(sys.executable).with_name(command[0]), *command[1:], "--include-dashboard=false"],
            cwd=ROOT,
            env={**os.environ, **secret, "PYTHONPATH": str(ROOT), "RAY_USAGE_STATS_ENABLED": "0"},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
        address = _address(process)
        with pytest.MonkeyPatch.context() as patch:
            for name, value in secret.items():
                patch.setenv(name, value)
            yield address
        process.terminate()
        process.wait(60)
        assert process.stdout is not None
        process.stdout.close()


def _address(process: subprocess.Popen[bytes]) -> str:
    """What `ray start` tells others to join, once its cluster runs."""
    assert process.stdout is not None
    told = ""
    for line in process.stdout:
        told += line.decode()
        if (found := _ADDRESS.search(told)) is not None:
            return found[1]
    raise AssertionError(f"Ray did not start:\n{told}")


def run(folder: Path, *flags: object, exit_code: int = 0) -> str:
    """Run a batch to its end; its output."""
    with Batch(folder, *flags) as batch:
        assert batch.exit_code() == exit_code, batch.log
        return batch.log


def embedded(folder: Path, *flags: object) -> None:
    """The same with the embedded runner."""
    command = [sys.executable, "-m", "server.batch", *map(str, flags)]
    environment = {**os.environ, "XDG_STATE_HOME": str(folder / "state")}
    subprocess.run(command, cwd=ROOT, env=environment, check=True, capture_output=True)


def test_a_lost_worker_costs_its_chunk(tmp_path: Path, classifier: Path) -> None:
    for name in ("a.jsonl", "b.jsonl"):
        write_lines(tmp_path / "in" / name, ({"id": n, "doc": f"set an alarm for {name} {n}"} for n in range(LINES)))
    flags = [f"--model={classifier}", f"--input={tmp_path}/in/", f"--output={tmp_path}/out", "--key-field=id"]
    before = _temporary_folders()
    left = Path(tempfile.gettempdir(), "ray-job-4194305-left")  # by a process that was killed: no id is so high
    left.mkdir(exist_ok=True)
    with Batch(tmp_path, *flags, "--workers=2") as batch:
        eventually(lambda: batch.workers or batch.process.poll() is not None, "a worker has the model", 90)
        assert batch.process.poll() is None, batch.log
        os.kill(batch.workers[0], signal.SIGKILL)
        processes = _descendants(batch.process.pid)
        assert batch.exit_code() == 0, batch.log
        assert batch.log.count("a worker was lost") == 1, batch.log
        assert len(set(batch.workers)) == len(batch.workers), "a worker loads the model once"
    assert files_below(tmp_path / "out") == ["a.jsonl", "b.jsonl"], "no temporary file remains"
    for name in ("a.jsonl", "b.jsonl"):
        assert [line["id"] for line in read_lines(tmp_path / "out" / name)] == list(range(LINES))
    eventually(lambda: not any(map(is_running, processes)), "no process remains")
    assert _temporary_folders() <= before


def test_results_are_those_of_the_embedded_runner(
    tmp_path: Path, cluster: str, classifier: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    values: list[Any] = [{"doc": f"document {n}", "key": 10**20 + n} for n in range(2000)]
    values[7] = {"doc": 1, "key": None}
    values[1500] = "no key"
    write_lines(tmp_path / "in" / "a.jsonl", values)
    lines = [json.dumps(value).encode() for value in values[:300]]
    lines[3:3] = [b"", b"  ", b"not json", b"\xff", b'{"key": "' + b"x" * 3000 + b'", "doc": "long"}']
    (tmp_path / "in" / "sub").mkdir()
    (tmp_path / "in" / "sub" / "b.gz").write_bytes(gzip.compress(b"\xef\xbb\xbf" + b"\n".join(lines)))
    (tmp_path / "in" / "empty").touch()
    flags = [f"--model={classifier}", f"--input={tmp_path}/in/", "--key-field=key", "--on-error=record"]
    monkeypatch.setenv("PREDICTOR_BATCH_LINE_BYTES", "2000")

    run(tmp_path, *flags, f"--output={tmp_path}/ray", f"--address={cluster}")
    embedded(tmp_path, *flags, f"--output={tmp_path}/embedded")

    assert files_below(tmp_path / "ray") == ["a.jsonl", "empty", "sub/b.gz"]
    for name in files_below(tmp_path / "ray"):
        ours, theirs = (_content(tmp_path / folder / name) for folder in ("ray", "embedded"))
        for one, other in zip(ours, theirs, strict=True):
            if "scores" in one:
                assert one["key"] == other["key"]
                assert one["scores"] == pytest.approx(other["scores"], abs=1e-4)
            else:
                assert one == other


def test_interrupted_it_goes_on_where_it_stands(tmp_path: Path, cluster: str, classifier: Path) -> None:
    for name in ("a.jsonl", "b.jsonl"):
        write_lines(tmp_path / "in" / name, ({"id": n, "doc": f"set an alarm for {name} {n}"} for n in range(LINES)))
    flags = [f"--model={classifier}", f"--input={tmp_path}/in/", f"--output={tmp_path}/out", "--key-field=id"]
    with Batch(tmp_path, *flags, f"--address={cluster}") as batch:
        eventually(lambda: batch.workers, "a worker has the model", 90)
        batch.process.send_signal(signal.SIGTERM)
        assert batch.exit_code() == 130, batch.log
    assert not [name for name in files_below(tmp_path / "out") if name not in ("a.jsonl", "b.jsonl")]
    run(tmp_path, *flags, f"--address={cluster}")
    for name in ("a.jsonl", "b.jsonl"):
        assert [line["id"] for line in read_lines(tmp_path / "out" / name)] == list(range(LINES))


def test_without_the_package_the_message_names_it(tmp_path: Path, classifier: Path) -> None:
    (tmp_path / "ray.py").write_text("raise ImportError('not here')")
    write_lines(tmp_path / "in" / "a", ["x"])
    flags = [f"--model={classifier}", f"--input={tmp_path}/in/", f"--output={tmp_path}/out"]
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(tmp_path))
        log = _words(run(tmp_path, *flags, exit_code=1))
    assert "--runner ray needs the package ray: `make setup-ray`, or `pip install ray`" in log


def test_saved_models(tmp_path: Path, cluster: str) -> None:
    command = [sys.executable, "scripts/make_saved_models.py", str(tmp_path / "models"), "half_plus_two"]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True, timeout=120)
    write_lines(tmp_path / "in" / "a", range(1000))
    run(
        tmp_path,
        f"--model={tmp_path}/models/half_plus_two",
        f"--input={tmp_path}/in/",
        f"--output={tmp_path}/out",
        f"--address={cluster}",
    )
    assert read_lines(tmp_path / "out" / "a") == [n / 2 + 2 for n in range(1000)]


def test_a_line_that_cannot_be_predicted(tmp_path: Path, cluster: str, classifier: Path) -> None:
    write_lines(tmp_path / "in" / "a", ["x"] * 700 + [1] + ["x"] * 700)
    flags = [f"--model={classifier}", f"--input={tmp_path}/in/", f"--output={tmp_path}/out", f"--address={cluster}"]
    assert f"{tmp_path}/in/a, line 701: expected a string" in _words(run(tmp_path, *flags, exit_code=1))
    assert not (tmp_path / "out").exists() or files_below(tmp_path / "out") == []


def test_a_model_that_cannot_be_loaded(tmp_path: Path, cluster: str) -> None:
    (tmp_path / "model.pt").write_bytes(b"none")
    write_lines(tmp_path / "in" / "a", ["x"])
    flags = [f"--model={tmp_path}/model.pt", f"--input={tmp_path}/in/", f"--output={tmp_path}/out"]
    assert "no kind of model that this server knows" in _words(
        run(tmp_path, *flags, f"--address={cluster}", exit_code=1)
    )


def test_no_cluster_there(tmp_path: Path, classifier: Path) -> None:
    write_lines(tmp_path / "in" / "a", ["x"])
    flags = [f"--model={classifier}", f"--input={tmp_path}/in/", f"--output={tmp_path}/out", "--address=127.0.0.1:1"]
    assert "no Ray cluster at '127.0.0.1:1'" in _words(run(tmp_path, *flags, exit_code=1))


@pytest.mark.parametrize(
    "chunk",
    [
        Chunk([1, 2, 3], [b"a", b"b", b"c"], 3),
        Chunk([7], [b"x"], 1),
        Chunk([2, 5, 6], [b"a", None, b"c"], 2),
        Chunk([4], [None], 0),
    ],
)
def test_chunks_are_what_they_were(chunk: Chunk) -> None:
    assert FlatChunk.of(chunk).chunk() == chunk


def _temporary_folders() -> set[Path]:
    return set(Path(tempfile.gettempdir()).glob("ray-*"))


def _content(path: Path) -> list[Any]:
    content = gzip.decompress(path.read_bytes()) if path.name.endswith(".gz") else path.read_bytes()
    return [json.loads(line) for line in content.splitlines()]


def _words(text: str) -> str:
    """The text without the line breaks of a narrow terminal."""
    return " ".join(text.split())


def _descendants(pid: int) -> list[int]:
    children = child_pids(pid)
    return children + [descendant for child in children for descendant in _descendants(child)]
