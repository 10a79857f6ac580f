"""The proxy's pages in a real browser: what a user does on them, as flows.js has it.

Run by `make test-browser` and not by `make test`, because it needs Chromium, Node.js and npm. On Debian:
apt-get install chromium nodejs npm. What drives the browser, playwright-core, comes from npm into build/browser.
"""

from __future__ import annotations

import json
import os
import subprocess
from typing import TYPE_CHECKING

import pytest

from tests.support.folders import chats
from tests.support.service import ROOT, Service, program_path
from tests.support.smart_reply_models import google_model

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

    from tests.support.shared import SharedFiles

PLAYWRIGHT = "1.65.1"
FLOWS = ROOT / "tests" / "browser" / "flows.js"
FOLDER = ROOT / "build" / "browser"
_HOW = "tests/browser/pages.py lists what it needs: apt-get install chromium nodejs npm"
_TIMEOUT_S = 300


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
    models = {"replies": google_model(), "vectors": zoo("embedding_tensor"), "texts": slow_generator, "chat": chat}
    flags = [flag for name, path in models.items() for flag in ("--model", f"{name}={path}")]
    with Service(classifier, *flags) as running:
        yield running


@pytest.mark.parametrize(
    "flow",
    [
        *("classifies", "replies_and_embeds", "generates_until_stopped", "chats", "tells_what_is_wrong"),
        "tries_the_routes",
    ],
)
def test_page(service: Service, tools: Mapping[str, str], flow: str) -> None:
    run(program_path("node", _HOW), FLOWS, flow, f"http://127.0.0.1:{service.rest_port}", env=tools)


def run(*command: object, env: Mapping[str, str] | None = None) -> None:
    """Run a program, which must exit with 0."""
    done = subprocess.run(
        [*map(str, command)], env=os.environ | dict(env or {}), capture_output=True, text=True, timeout=_TIMEOUT_S
    )
    assert done.returncode == 0, f"{' '.join(map(str, command))}: {done.stdout}{done.stderr}"
