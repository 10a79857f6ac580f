"""What the sdist and the wheel hold. The extension, whose build takes minutes, is built by `make image-test`."""

from __future__ import annotations

import email
import os
import subprocess
import sys
import tarfile
import zipfile
from typing import TYPE_CHECKING, NamedTuple

import pytest

from tests.support.service import ROOT

if TYPE_CHECKING:
    from pathlib import Path

TOP = (
    *("deploy", "ext", "gen-py", "ml_services", "predictor_client", "process", "rest_proxy", "scripts", "server"),
    "smartreply",
)
FILES = ("LICENSE", "MANIFEST.in", "NOTICE", "README.md", "predictor.thrift", "pyproject.toml", "setup.py")
MODULES = ("predictor_packages.py", "runtime.py", "smls.py")


class Built(NamedTuple):
    """The names of the files of both, without the folder that an sdist has around them."""

    sdist: set[str]
    wheel: Path


def tracked(*places: str) -> set[str]:
    """The repository's files below these."""
    done = subprocess.run(["git", "ls-files", "-z", *places], cwd=ROOT, check=True, capture_output=True, text=True)
    return set(done.stdout.split("\0")[:-1])


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Built:
    """The sdist of a copy of the repository, and the wheel that is built from that sdist alone."""
    folder = tmp_path_factory.mktemp("package")
    source = folder / "source"
    for name in tracked():
        (source / name).parent.mkdir(parents=True, exist_ok=True)
        (source / name).write_bytes((ROOT / name).read_bytes())
    build(source, f"build_sdist({str(folder)!r})")
    (archive,) = folder.glob("*.tar.gz")
    with tarfile.open(archive) as opened:
        opened.extractall(folder / "sdist", filter="data")
    (unpacked,) = (folder / "sdist").iterdir()
    names = {str(path.relative_to(unpacked)) for path in unpacked.rglob("*") if path.is_file()}
    build(unpacked, f"build_wheel({str(folder)!r})")
    (wheel,) = folder.glob("*.whl")
    return Built(names, wheel)


def build(folder: Path, call: str) -> None:
    """Call the build backend there, as pip does."""
    environment = {**os.environ, "PREDICTOR_NO_EXTENSION": "1"}
    environment.pop("PYTHONPATH", None)
    program = f"import setuptools.build_meta as backend; backend.{call}"
    command = [sys.executable, "-P", "-c", program]
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr


def test_the_sdist_has_all_that_a_build_takes(built: Built) -> None:
    needed = tracked(*TOP, *FILES, *MODULES) - {"gen-py/__init__.py", "gen-py/predictor/Predictor-remote"}
    assert needed - built.sdist == set()


def test_the_sdist_has_neither_tests_nor_what_was_built(built: Built) -> None:
    assert not [name for name in built.sdist if name.startswith(("tests/", "benchmarks/")) or name.endswith(".so")]


def test_the_wheel_has_every_module_and_no_source_of_the_extension(built: Built) -> None:
    names = set(zipfile.ZipFile(built.wheel).namelist())
    packages = tracked(
        *("ext", "ml_services", "predictor_client", "process", "rest_proxy", "server", "smartreply"), *MODULES
    )
    modules = {name for name in packages if name.endswith((".py", ".pyi", ".typed", ".html"))}
    assert modules - names == set()
    assert {
        name.removeprefix("gen-py/") for name in tracked("gen-py/predictor") if name.endswith(".py")
    } - names == set()
    assert not [name for name in names if name.endswith((".cc", ".h"))]
    assert not [name for name in names if name.startswith(("tests", "benchmarks", "scripts/"))]


def test_the_wheel_has_the_contract_and_the_scripts_for_users(built: Built) -> None:
    names = zipfile.ZipFile(built.wheel).namelist()
    shared = {name.partition("/share/predictor-service/")[2] for name in names if "/share/predictor-service/" in name}
    # not for users
    ours = (
        *("audit.py", "audit-requirements.txt", "sbom.py"),
        *("image_test.py", "make_saved_models.py", "slim_environment.py"),
        *("write_client.py", "write_models.py", "write_routes.py", "write_settings.py"),
    )
    for_users = {name for name in tracked("scripts") if not name.endswith((".sh", *ours))}
    assert for_users | tracked("deploy") | {"predictor.thrift", "README.md"} == shared


def test_the_wheel_says_what_it_is(built: Built) -> None:
    with zipfile.ZipFile(built.wheel) as archive:
        names = {name.rpartition("/")[2]: name for name in archive.namelist() if ".dist-info/" in name}
        metadata = email.message_from_bytes(archive.read(names["METADATA"]))
        commands = archive.read(names["entry_points.txt"]).decode()
    assert metadata["License-Expression"] == "Apache-2.0"
    assert {"LICENSE", "NOTICE"} <= names.keys()
    assert metadata["Requires-Python"] == "<3.14,>=3.11"
    assert metadata["Keywords"]
    versions = [line.rpartition(" ")[2] for line in metadata.get_all("Classifier", []) if "Python :: 3.1" in line]
    assert versions == ["3.11", "3.12", "3.13"]
    for command in ("predictor-batch", "predictor-rest-proxy", "predictor-server"):
        assert f"{command} = " in commands
