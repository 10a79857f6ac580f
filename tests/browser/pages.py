"""The proxy's pages in a real browser: what a user does on them, as flows.js has it.

Run by `make test-browser` and not by `make test`, because it needs Chromium, Node.js and npm. On Debian:
apt-get install chromium nodejs npm. What drives the browser, playwright-core, comes from npm into build/browser.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import threading
import urllib.error
import urllib.request
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any

import pytest

from tests.e2e.folders import made
from tests.support.folders import chats
from tests.support.service import ROOT, Service, program_path
from tests.support.smart_reply_models import google_model
from tests.support.tokens import TokenFile

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

    from tests.support.shared import SharedFiles

PLAYWRIGHT = "1.65.1"
FLOWS = ROOT / "tests" / "browser" / "flows.js"
FOLDER = ROOT / "build" / "browser"
_HOW = "tests/browser/pages.py lists what it needs: apt-get install chromium nodejs npm"
_TIMEOUT_S = 300
PREFIX = "/tools/predictor/"


@pytest.fixture(scope="module")
def tools() -> Mapping[str, str]:
    """Environment variables that say where the browser and what drives it are."""
    chromium, npm = program_path("chromium", _HOW), program_path("npm", _HOW)
    about = FOLDER / "node_modules" / "playwright-core" / "package.json"
    if not about.exists() or json.loads(about.read_text())["version"] != PLAYWRIGHT:
        FOLDER.mkdir(parents=True, exist_ok=True)
        options = ("--no-audit", "--no-fund", "--no-save", f"--prefix={FOLDER}")
        run(npm, "install", *options, f"playwright-core@{PLAYWRIGHT}")
    return {"CHROMIUM": chromium, "NODE_PATH": str(FOLDER / "node_modules")}


@pytest.fixture(scope="module")
def service(
    classifier: Path, slow_generator: Path, zoo: Callable[[str], Path], shared_files: SharedFiles
) -> Iterator[Service]:
    chat = chats.made(shared_files, "smollm")
    folders = made(shared_files, ("tags", "reranker", "topics"))
    models = {
        "replies": google_model(),
        "vectors": zoo("embedding_tensor"),
        "texts": slow_generator,
        "chat": chat,
        "ranks": folders.pop("reranker"),
        **folders,
    }
    flags = [flag for name, path in models.items() for flag in ("--model", f"{name}={path}")]
    with served(Elsewhere) as origin, Service(classifier, *flags, "--rest-cors-origins", origin) as running:
        running.other_origin = origin  # type: ignore[attr-defined]
        yield running


class Elsewhere(BaseHTTPRequestHandler):
    """Pages of another origin: empty ones."""

    def do_GET(self) -> None:
        """An empty page."""
        self.send_response(200)
        self.send_header("Content-Type", "text/html")
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_arguments: Any) -> None:
        """Nothing."""


def prefixed(port: int) -> type[BaseHTTPRequestHandler]:
    """A proxy that gives the service at this port the path PREFIX, and has nothing else."""

    class Proxy(Elsewhere):
        def do_GET(self) -> None:
            if self.path == "/favicon.ico":  # which browsers ask for beside JSON
                super().do_GET()
                return
            if not self.path.startswith(PREFIX):
                self.send_error(404)
                return
            length = int(self.headers.get("Content-Length") or 0)
            request = urllib.request.Request(
                f"http://127.0.0.1:{port}/{self.path.removeprefix(PREFIX)}",
                data=self.rfile.read(length) if length else None,
                headers=dict(self.headers.items()),
                method=self.command,
            )
            try:
                answer: Any = _OPENER.open(request, timeout=_TIMEOUT_S)
            except urllib.error.HTTPError as error:
                answer = error
            body = answer.read()
            self.send_response(answer.status)
            for name in ("Content-Type", "Content-Security-Policy", "Content-Encoding", "Location"):
                if name in answer.headers:
                    self.send_header(name, answer.headers[name])
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        do_POST = do_GET  # noqa: N815 - as http.server calls it

    return Proxy


class _NoRedirects(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *_arguments: Any) -> None:
        """It is the browser's to follow."""


_OPENER = urllib.request.build_opener(_NoRedirects)


@contextlib.contextmanager
def served(handler: type[BaseHTTPRequestHandler]) -> Iterator[str]:
    """Answers on a free port; gives its origin."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.mark.parametrize(
    "flow",
    [
        *("classifies", "replies_and_embeds", "generates_until_stopped", "chats", "tells_what_is_wrong"),
        *("tries_the_routes", "shows_what_fits_the_model"),
    ],
)
def test_page(service: Service, tools: Mapping[str, str], flow: str) -> None:
    run(program_path("node", _HOW), FLOWS, flow, f"http://127.0.0.1:{service.rest_port}", env=tools)


def test_pages_behind_a_prefix(service: Service, tools: Mapping[str, str]) -> None:
    with served(prefixed(service.rest_port)) as origin:
        run(program_path("node", _HOW), FLOWS, "works_behind_a_prefix", origin, env=tools)


def test_a_page_of_another_origin(service: Service, tools: Mapping[str, str]) -> None:
    environment = {**tools, "SERVICE": f"http://127.0.0.1:{service.rest_port}"}
    origin: str = service.other_origin  # type: ignore[attr-defined]
    run(program_path("node", _HOW), FLOWS, "calls_from_another_origin", origin, env=environment)


def test_a_token_is_asked_for(classifier: Path, tools: Mapping[str, str], tmp_path: Path) -> None:
    tokens = TokenFile(tmp_path / "tokens.toml")
    token = tokens.add("user")
    tokens.write()
    with Service(classifier, f"--token-file={tokens.path}") as guarded:
        url = f"http://127.0.0.1:{guarded.rest_port}"
        run(program_path("node", _HOW), FLOWS, "asks_for_a_token", url, env={**tools, "TOKEN": token})


def run(*command: object, env: Mapping[str, str] | None = None) -> None:
    """Run a program, which must exit with 0."""
    done = subprocess.run(
        [*map(str, command)], env=os.environ | dict(env or {}), capture_output=True, text=True, timeout=_TIMEOUT_S
    )
    assert done.returncode == 0, f"{' '.join(map(str, command))}: {done.stdout}{done.stderr}"
