"""Where the extension's modules look for libtorch, as CMake is told to link them: the build itself takes minutes."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.service import ROOT

BESIDE = "$ORIGIN/../torch/lib"
CONFIGURE = """
import pathlib, sys
import setuptools
from distutils.core import run_setup
command = run_setup("setup.py", stop_after="init").get_command_obj("build_ext")
command.build_temp, command.inplace = sys.argv[1], sys.argv[2] == "inplace"
cmake = command._cmake
command._cmake = lambda *arguments: sys.exit() if arguments[0] == "--build" else cmake(*arguments)
command.ensure_finalized()
command.run()  # not _configure alone: setuptools takes `inplace` back on the way
"""


def searched(build: Path, way: str) -> set[str]:
    """The folders that are written into the modules, without $ORIGIN's backslashes for the shell."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    command = [sys.executable, "-c", CONFIGURE, str(build), way]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    lists = re.findall(r"-Wl,-rpath,(\S+)", (build / "ext" / "build.ninja").read_text())
    assert lists
    folders = {folder for text in lists for folder in text.strip('"').split(":")}
    return {folder.replace("\\", "").replace("$$", "$") for folder in folders if folder}


@pytest.mark.parametrize("way", ["wheel", "inplace"])
def test_a_wheel_has_no_folder_of_its_build(tmp_path: Path, way: str) -> None:
    folders = searched(tmp_path / "build", way)
    assert BESIDE in folders
    others = folders - {BESIDE}
    if way == "wheel":
        assert others == set()
    else:
        assert [Path(folder).parent.name for folder in others] == ["torch"]
