"""A folder with a server.py, ext.py and rest_proxy.py of its own, as smls and smartreply have one."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from tests.support.service import ROOT, Service
from tests.support.smart_reply_models import google_model

if TYPE_CHECKING:
    from pathlib import Path

NAMES = ("server", "ext", "rest_proxy")
HELLO = "How are you sir?"  # Google's model's best reply
APP = "app = 'theirs'\n"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Modules that must not be run by anything of ours."""
    for name in NAMES:
        (tmp_path / f"{name}.py").write_text(f"raise SystemExit('{name}.py of somebody else was run')\n")
    return tmp_path


def run(folder: Path, *arguments: str) -> str:
    """What Python prints that is started there: the first place where it looks for modules is the folder."""
    environment = {**os.environ, "PYTHONPATH": f"{ROOT}:{ROOT / 'gen-py'}", "SMARTREPLY_MODEL": str(google_model())}
    done = subprocess.run(
        [sys.executable, *arguments], cwd=folder, env=environment, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def best_of(module: str) -> str:
    """A program that prints the best reply to Hello."""
    return (
        f"from {module} import SmartReplyRuntime\n"
        "replies = SmartReplyRuntime().predict('Hello')\n"
        "print(max(replies, key=replies.get))\n"
    )


@pytest.mark.parametrize("module", ["smartreply", "runtime"])
def test_smart_replies(folder: Path, module: str) -> None:
    assert run(folder, "-c", best_of(module)) == f"{HELLO}\n"


@pytest.mark.parametrize("package", ["ml_services", "smls.ml_services"])
def test_sentence_vectors(folder: Path, encoder: Path, package: str) -> None:
    get = f"{package}.get('SentenceEncoder', location={str(encoder)!r})"
    assert run(folder, "-c", f"import ml_services, smls; print(len({get}.run(['a'])[0]))") == "384\n"


def test_a_program_that_is_itself_named_server(folder: Path) -> None:
    (folder / "server.py").write_text(best_of("smartreply"))
    assert run(folder, "server.py") == f"{HELLO}\n"


@pytest.mark.parametrize("name", NAMES)
def test_a_module_of_that_name_stays_what_it_is(folder: Path, name: str) -> None:
    """As gunicorn imports `server:app`: theirs is in the middle of being imported when it imports ours."""
    (folder / f"{name}.py").write_text(f"{best_of('runtime')}import smls\n{APP}")
    assert run(folder, "-c", f"import {name}; print({name}.app)") == f"{HELLO}\ntheirs\n"


def test_the_installed_command_and_its_proxy(folder: Path) -> None:
    server = Service(google_model(), env={"PYTHONPATH": f"{ROOT}:{ROOT / 'gen-py'}"}, cwd=folder)
    # What the installed script does: pip writes it into bin/, which is then the first place to look.
    server.command[1:3] = ["-P", "-c", "import sys; from server.__main__ import main; sys.exit(main())"]
    with server:
        assert server.http("/reply?message=Hello").json()["replies"][HELLO] > 1
