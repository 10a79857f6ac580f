"""Clients that are generated from the whole contract, in every language that Debian and npm have a Thrift library for.

Run by `make test-clients` and not by `make test`, because it needs their compilers.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest

from tests.clients.thrift import pythons
from tests.clients.thrift.documentation import programs
from tests.clients.thrift.languages import LANGUAGES
from tests.clients.thrift.scenario import steps, with_expectations
from tests.support import everything
from tests.support.service import ROOT

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from tests.clients.thrift.languages import Language
    from tests.clients.thrift.scenario import Step
    from tests.support.service import Service
    from tests.support.shared import SharedFiles

pytestmark = pytest.mark.slow

BUILD = ROOT / "build" / "clients"
CASES = [
    pytest.param(name, *column, id=f"{name}-{'-'.join(column)}")
    for name, language in LANGUAGES.items()
    for column in language.has
]
_TIMEOUT_S = 300
_HOW = "`make test-clients` installs it, as root; or see scripts/get_languages.sh"


@pytest.fixture(scope="module")
def served(
    shared_files: SharedFiles, zoo: Callable[[str], Path], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Service]:
    with everything.service(shared_files, zoo, tmp_path_factory.mktemp("jobs")) as running:
        yield running


@pytest.fixture(scope="module")
def scenario(served: Service, tmp_path_factory: pytest.TempPathFactory) -> list[Step]:
    with served.client() as predictor:
        return with_expectations(steps(tmp_path_factory.mktemp("nothing")), predictor)


@pytest.fixture(scope="module")
def built(scenario: list[Step], tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Future[Path]]]:
    """Name -> the folder of a program that is ready to run, when it is."""
    with ThreadPoolExecutor(2) as executor:
        yield {
            name: executor.submit(build, language, tmp_path_factory.mktemp(name), scenario)
            for name, language in LANGUAGES.items()
            if language.writer is not None
        }


def build(language: Language, folder: Path, scenario: list[Step]) -> Path:
    """Generate, write, compile."""
    for program in ("thrift", *language.programs):
        assert shutil.which(program), f"there is no {program} for {language.title}: {_HOW}"
    (folder / "generated").mkdir()
    shell(folder, f"thrift --gen {language.generator} -out generated {ROOT / 'predictor.thrift'}")
    assert language.writer is not None
    (folder / language.source).write_text(language.writer().program(scenario))
    if "npm" in language.programs:
        (folder / "node_modules").symlink_to(BUILD / "node" / "node_modules")
    for command in language.build:
        shell(folder, command)
    if language.lines is not None and not (folder / language.lines.folder).exists():
        (folder / language.lines.folder).symlink_to(folder / "generated")
    return folder


def shell(folder: Path, command: str, *arguments: str) -> str:
    """What it prints; it must end with 0."""
    places = {
        "GO111MODULE": "off",
        "GOPATH": f"{folder}:/usr/share/gocode",
        "GOCACHE": str(BUILD / "go"),
        "PYTHONPATH": f"{BUILD / 'python'}",
    }
    done = subprocess.run(
        ["sh", "-c", f'exec {command} "$@"', "sh", *arguments],
        cwd=folder,
        env=os.environ | places,
        capture_output=True,
        text=True,
        timeout=_TIMEOUT_S,
    )
    said = (done.stdout + done.stderr)[-6000:]
    assert done.returncode == 0, f"{command} {' '.join(arguments)}: exit code {done.returncode}\n{said}"
    return done.stdout


@pytest.mark.parametrize(("name", "transport", "protocol"), CASES)
def test_client(
    served: Service, scenario: list[Step], built: dict[str, Future[Path]], name: str, transport: str, protocol: str
) -> None:
    language = LANGUAGES[name]
    port = served.rest_port if transport == "http" else served.port
    if language.writer is None:
        assert pythons.failures(name, port, transport, protocol, scenario) == []
    else:
        shell(built[name].result(), language.run, str(port), transport, protocol)


@pytest.mark.parametrize("name", [name for name in LANGUAGES if programs(name)])
def test_lines_of_the_documentation(
    served: Service, scenario: list[Step], built: dict[str, Future[Path]], name: str
) -> None:
    language = LANGUAGES[name]
    (program,) = (text.replace("9090", str(served.port)) for text in programs(name))
    if language.lines is None:
        said = shell(ROOT, f"{sys.executable} -c", program)
    else:
        folder = built[name].result()
        (folder / language.lines.source).write_text(program)
        for command in language.lines.build:
            shell(folder, command)
        said = shell(folder, language.lines.run)
    first = next(step for step in scenario if step.name == "predict")
    assert all(label in said for label in first.expected), said
