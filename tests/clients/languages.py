"""Clients in other languages, generated from the tutorial's two lines: the scores of all are those of Python.

Run by `make test-clients` and not by `make test`, because it needs their compilers and libraries.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from typing import TYPE_CHECKING, NamedTuple

import pytest

from tests.support.service import ROOT, program_path

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.service import Service

FOLDER = ROOT / "tests" / "clients"
BUILD = ROOT / "build" / "clients"
DOCUMENT = "wake me up at half past six, s'il te plaît ☀"
_JARS = ":".join(
    f"/usr/share/java/{name}.jar" for name in ("thrift", "slf4j-api", "slf4j-nop", "geronimo-annotation-1.3-spec")
)
_TIMEOUT_S = 300


class Language(NamedTuple):
    """How a client is made and run, in a folder that has its source and, below `generated`, the compiler's output."""

    generator: str
    run: str
    build: tuple[str, ...] = ()


LANGUAGES = {
    "cpp": Language(
        "cpp",
        "./client",
        ("g++ -std=c++17 -O0 -Igenerated client.cc generated/Predictor.cpp -lthrift -o client",),
    ),
    "go": Language("go", "./client", ("mkdir -p src", "mv generated/tutorial src", "go build -o client client.go")),
    "java": Language(
        "java",
        f"java -cp classes:{_JARS} Client",
        (f"javac -nowarn -cp {_JARS} -d classes Client.java generated/Predictor.java",),
    ),
    "node": Language(
        "js:node",
        "node client.js",
        ("mv generated/Predictor.js generated/tutorial_types.js .", f"ln -s {BUILD}/node/node_modules"),
    ),
    "perl": Language("perl", "perl -Igenerated client.pl"),
    "php": Language("php", "php client.php"),
    "ruby": Language("rb", "ruby -W0 -Igenerated client.rb"),
}


@pytest.mark.parametrize("name", LANGUAGES)
def test_client(service: Service, tmp_path: Path, name: str) -> None:
    language = LANGUAGES[name]
    folder = tmp_path / name
    shutil.copytree(FOLDER / name, folder)
    (folder / "generated").mkdir()
    shell(folder, f"thrift --gen {language.generator} -out generated {FOLDER / 'tutorial.thrift'}")
    for command in language.build:
        shell(folder, command)

    with service.client() as predictor:
        expected = predictor.predict(DOCUMENT, None)
    for framing in ("unframed", "framed"):
        lines = shell(folder, language.run, str(service.port), framing, DOCUMENT).splitlines()
        scores = {label: float(score) for label, score in (line.split() for line in lines)}
        assert scores == pytest.approx(expected, abs=1e-12), framing


def shell(folder: Path, command: str, *arguments: str) -> str:
    """What a command prints; it must exit with 0."""
    words = command.split()
    if not words[0].startswith("./"):
        program_path(words[0], "make test-clients installs what it needs (scripts/get_languages.sh)")
    places = {
        "GENERATED": str(folder / "generated"),
        "GO111MODULE": "off",
        "GOPATH": f"{folder}:/usr/share/gocode",
        "GOCACHE": str(BUILD / "go"),
    }
    done = subprocess.run(
        [*words, *arguments], cwd=folder, env=os.environ | places, capture_output=True, text=True, timeout=_TIMEOUT_S
    )
    assert done.returncode == 0, f"{command}: {done.stdout}{done.stderr}"
    return done.stdout
