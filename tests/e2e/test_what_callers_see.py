"""Answers and errors, of both ports, show neither folders of this machine nor versions of libraries."""

from __future__ import annotations

import json
import os
import shutil
import sys
from typing import TYPE_CHECKING, Any

import pytest
from predictor.ttypes import BatchRequest, PredictionError, RequestOptions

from tests.e2e.folders import made
from tests.rest_proxy.openapi.test_document import WRONG
from tests.support.service import ROOT, RestProxy, Service, connected, http_request

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from tests.support.shared import SharedFiles

PLACE = "a-folder-of-the-server"
FAST = ("--warm-up-tokens=0", "--replicas=1", "--equal-lengths=never")
NOISE = bytes(range(256)) * 8


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory, zoo: Callable[[str], Path], shared_files: SharedFiles) -> Path:
    """A folder with models, most of which cannot be loaded."""
    folder = tmp_path_factory.mktemp(PLACE) / "models"
    folder.mkdir()
    shutil.copy(zoo("doc_model"), folder / "good.pt")
    shutil.copy(zoo("foreign_input"), folder / "other_input.pt")
    for name in ("noise.pt", "noise.tflite", "noise.gguf", "noise.bin"):
        (folder / name).write_bytes(NOISE)
    (folder / "empty.pt").touch()
    (folder / "short.gguf").write_bytes(b"GGUF" + NOISE)
    (folder / "empty").mkdir()
    (folder / "loop.pt").symlink_to(folder / "loop.pt")
    (folder / "nowhere.pt").symlink_to(folder / "not-there")
    os.mkfifo(folder / "pipe.pt")
    encoder = made(shared_files, ("encoder",))["encoder"]
    for name, spoil in SPOILT.items():
        shutil.copytree(encoder, folder / name)
        spoil(folder / name)
    saved = folder / "saved_model"
    saved.mkdir()
    (saved / "saved_model.pb").write_bytes(NOISE)
    return folder


def _write(name: str, content: bytes) -> Callable[[Path], object]:
    return lambda folder: (folder / name).write_bytes(content)


def _with_fields(**fields: Any) -> Callable[[Path], object]:
    def write(folder: Path) -> None:
        config = json.loads((folder / "config.json").read_text())
        (folder / "config.json").write_text(json.dumps(config | fields))

    return write


SPOILT: dict[str, Callable[[Path], object]] = {
    "config-noise": _write("config.json", NOISE),
    "config-sizes": _with_fields(hidden_size=7),
    "weights-noise": _write("model.safetensors", NOISE),
    "tokenizer-noise": _write("tokenizer.json", NOISE),
    "package-noise": _write("model.pt2", NOISE),
}
LOCATIONS = (
    "other_input.pt",
    "noise.pt",
    "noise.tflite",
    "noise.gguf",
    "noise.bin",
    "empty.pt",
    "short.gguf",
    "empty",
    "loop.pt",
    "nowhere.pt",
    "pipe.pt",
    *SPOILT,
    "saved_model",
    "missing.pt",
    "../outside.pt",
    "/etc/hostname",
    ".",
    "",
    "x" * 5000,
    "nul\0.pt",
    "good.pt,precision=int8",
    "good.pt,no=option",
)


@pytest.fixture(scope="module", params=["inside", "proxy"])
def service(root: Path, request: pytest.FixtureRequest) -> Iterator[Service]:
    jobs = root / "jobs"
    jobs.mkdir(exist_ok=True)
    flags = (f"--model-root={root}", f"--batch-roots={jobs}", f"--jobs-db={root / request.param}.sqlite")
    with Service(root / "good.pt", *flags, *FAST, f"--http={request.param}") as running:
        yield running


def check(shown: object) -> None:
    """Nothing of where the server, its models and its libraries lie, nor which these are."""
    text = shown if isinstance(shown, str) else repr(shown)
    ours = (PLACE, str(ROOT), sys.prefix, f"{sys.base_prefix}/lib", "site-packages")
    for part in (*ours, ".cc:", "aiohttp/", "Python/"):
        assert part not in text, (part, text[:2000])


def message_of(call: Callable[[], object]) -> str:
    with pytest.raises(PredictionError) as caught:
        call()
    return repr(caught.value)


@pytest.mark.parametrize("service", ["inside"], indirect=True)
def test_models_that_cannot_be_loaded(service: Service) -> None:
    with service.client(timeout_s=100) as predictor:
        for location in LOCATIONS:
            check(message_of(lambda: predictor.load_model("other", location)))  # noqa: B023
        predictor.load_model("second", "good.pt")
        check(predictor.list_models())
        check(predictor.status())
        predictor.unload_model("second")
    assert PLACE in service.log_text, "the log is for the operator, and has the whole path"


def test_calls_that_are_refused(service: Service) -> None:
    with service.client() as predictor:
        for call in (
            lambda: predictor.predict("a", RequestOptions(model="none")),
            lambda: predictor.embed("a", None, None),
            lambda: predictor.generate("a", None, None),
            lambda: predictor.get_batch("none"),
            lambda: predictor.unload_model("none"),
            lambda: predictor.load_model("no name", "good.pt"),
            lambda: predictor.submit_batch(BatchRequest("none", None, "/a/", "/b/")),
        ):
            check(message_of(call))


def test_a_job_that_fails(service: Service) -> None:
    """Locations are those that the caller names, no others."""
    with service.client() as predictor:
        for one, other in (("relative", "/b/"), ("/etc/hostname", "/tmp/b/"), ("gs://b/a", "gs://b/b")):
            check(message_of(lambda: predictor.submit_batch(BatchRequest("predict", None, one, other))))  # noqa: B023
        for model in ("none", "/nowhere/at/all"):
            check(message_of(lambda: predictor.submit_batch(BatchRequest("predict", model, "/a", "/b"))))  # noqa: B023


def answers(port: int) -> Iterator[tuple[str, Any]]:
    """Whatever the HTTP port says: of every path that is asked without a body, and to wrong requests."""
    for path, item in http_request(port, "/openapi.json").json()["paths"].items():
        if "get" in item:
            named = path.replace("{name}", "good").replace("{version}", "1").replace("{id}", "none")
            yield path, http_request(port, named.replace("{file}", "none"))
    for method, path, options in WRONG:
        body = json.dumps(options["json"]) if "json" in options else options.get("data")
        headers = {"Content-Type": "application/json"} if body is not None else {}
        yield path, http_request(port, path, method.upper(), body, headers)
    for location in ("relative", "/etc/hostname", "gs://b/a", "file:///etc/hostname"):
        job = json.dumps({"method": "predict", "input": location, "output": "/nowhere/b/"})
        yield location, http_request(port, "/batches", "POST", job, {"Content-Type": "application/json"})
        yield location, http_request(port, f"/?model={location}&input={location}&output={location}")


def test_answers_over_http(service: Service) -> None:
    with RestProxy(service.port) as alone:
        for port in (service.rest_port, alone.port):
            for path, answer in answers(port):
                assert answer.headers["Server"] == "predictor", path
                if path not in ("/openapi.json", "/swagger", "/swagger-ui/{file}", "/metrics"):
                    check(answer.text)
                check(dict(answer.headers))


@pytest.mark.parametrize(
    "request_bytes",
    [
        b"no HTTP at all\r\n\r\n",
        b"GET /predict?doc=a HTTP/9.9\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nno colon\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: localhost\r\nContent-Length: x\r\n\r\n",
        b"GET /" + b"a" * 100_000 + b" HTTP/1.1\r\n\r\n",
        b"GET / HTTP/1.1\r\nX: " + b"a" * 100_000 + b"\r\n\r\n",
        b"POST /predict HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: none\r\n\r\n",
        b"TRACE / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n",
        b"GET /no/such HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n",
    ],
)
def test_what_is_no_request(service: Service, request_bytes: bytes) -> None:
    with connected(service.rest_port) as client:
        client.sendall(request_bytes)
        answer = b"".join(iter(lambda: client.recv(65536), b"")).decode()
    assert answer.startswith("HTTP/1.")
    assert "\r\nServer: predictor\r\n" in answer
    check(answer)
