"""Thrift over HTTP from Node.js, and from a page of another origin in a browser: the scores are those of Python.

Run by `make test-over-http` and not by `make test`, because it needs Node.js, npm and Chromium. On Debian:
apt-get install chromium nodejs npm. The libraries come from npm.
"""

from __future__ import annotations

import functools
import http.server
import json
import os
import shutil
import subprocess
import threading
from typing import TYPE_CHECKING

import pytest

from tests.support.service import HOST, ROOT, Service, program_path

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

TEXT = "wake me up at half past six, s'il te plaît ☀"
_HOW = "apt-get install chromium nodejs npm"
_PACKAGES = ("thrift@0.22", "esbuild@0.25", "playwright-core@1.65.1", "util@0.12", "buffer@6", "events@3")
_TIMEOUT_S = 300


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The programs with what they need, and the page."""
    folder = tmp_path_factory.mktemp("over-http") / "programs"
    clients = ROOT / "tests" / "clients"
    shutil.copytree(clients / "over_http", folder)
    run(folder, "thrift", "--gen", "js:node", "-out", str(folder), str(clients / "tutorial.thrift"))
    run(folder, "npm", "install", "--no-audit", "--no-fund", *_PACKAGES)
    options = (
        "--bundle",
        "--platform=browser",
        "--outfile=bundle.js",
        "--inject:node_globals.js",
        "--define:global=window",
    )
    run(folder, "node_modules/.bin/esbuild", "page.js", *options)
    (folder / "index.html").write_text('<!doctype html><meta charset="utf-8"><script src="bundle.js"></script>')
    return folder


@pytest.fixture(scope="module")
def page(folder: Path) -> Iterator[str]:
    """Where the page is served: another origin than the service's."""
    handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory=str(folder))
    with http.server.ThreadingHTTPServer((HOST, 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://{HOST}:{server.server_port}"
        server.shutdown()
        thread.join()


@pytest.fixture(scope="module", params=["inside", "proxy"])
def service(zoo: Callable[[str], Path], page: str, request: pytest.FixtureRequest) -> Iterator[Service]:
    """One that pages of the other origin may call."""
    with Service(zoo("doc_model"), f"--http={request.param}", f"--rest-cors-origins={page}") as running:
        yield running


@pytest.mark.parametrize("protocol", ["TBinaryProtocol", "TCompactProtocol", "TJSONProtocol"])
def test_node(service: Service, folder: Path, protocol: str) -> None:
    require_scores(service, run(folder, "node", "node.js", str(service.rest_port), protocol, TEXT))


def test_a_page_of_another_origin(service: Service, folder: Path, page: str) -> None:
    require_scores(service, run(folder, "node", "browse.js", page, str(service.rest_port), "TJSONProtocol", TEXT))


def require_scores(service: Service, printed: str) -> None:
    with service.client() as predictor:
        assert json.loads(printed) == pytest.approx(predictor.predict(TEXT, None), abs=1e-12)


def run(folder: Path, program: str, *arguments: str) -> str:
    """What a program prints; it must exit with 0."""
    if "/" not in program:
        program = program_path(program, _HOW)
    environment = os.environ | {"CHROMIUM": program_path("chromium", _HOW)}
    done = subprocess.run(
        [program, *arguments], cwd=folder, env=environment, capture_output=True, text=True, timeout=_TIMEOUT_S
    )
    assert done.returncode == 0, f"{program} {' '.join(arguments)}: {done.stdout}{done.stderr}"
    return done.stdout
