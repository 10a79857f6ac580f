"""The folders of ext/ lie one above the other: a lower one includes nothing of a higher one."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

EXT = Path(__file__).resolve().parents[2] / "ext"

LAYERS = (
    "queue",
    "text",
    "weights",
    "kernels",
    "transformer",
    "architectures",
    "heads",
    "torchscript",
    "encoder",
    "package",
    "generator",
    "tflite",
    "smart_reply",
    "python",
)
"""From the lowest to the highest. The engine of texts warms up as that of TorchScript does, and so lies above it."""

WITHOUT_LIBTORCH = ("queue", "text", "weights", "kernels", "tflite", "smart_reply")
"""What ext/CMakeLists.txt builds without libtorch's headers, for modules and programs that must not load it."""

_INCLUDE = re.compile(r'^\s*#\s*include\s+(["<])([^">]+)[">]', re.MULTILINE)
_LIBTORCH = ("ATen/", "c10/", "torch/")

Includes = dict[Path, list[tuple[bool, str]]]


@pytest.fixture(scope="module")
def includes() -> Includes:
    """File -> its includes: whether it is one of ours, and what it names."""
    files = [file for file in EXT.rglob("*") if file.suffix in {".cc", ".h"}]
    return {file: [(quote == '"', name) for quote, name in _INCLUDE.findall(file.read_text())] for file in files}


def _folder(file: Path) -> str:
    return file.relative_to(EXT).parts[0]


def test_every_folder_has_its_place(includes: Includes) -> None:
    assert {_folder(file) for file in includes} == set(LAYERS)


def test_a_lower_folder_includes_nothing_of_a_higher_one(includes: Includes) -> None:
    upward = [
        f"{file.relative_to(EXT)} includes {name}"
        for file, names in includes.items()
        for ours, name in names
        if ours and LAYERS.index(name.split("/")[0]) > LAYERS.index(_folder(file))
    ]
    assert upward == []


def test_our_includes_are_written_from_ext(includes: Includes) -> None:
    missing = [name for names in includes.values() for ours, name in names if ours and not (EXT / name).is_file()]
    assert missing == []


def test_only_python_knows_python(includes: Includes) -> None:
    knowing = {
        _folder(file)
        for file, names in includes.items()
        for _, name in names
        if name.startswith("pybind11/") or name == "Python.h"
    }
    assert knowing == {"python"}


def test_the_core_knows_no_libtorch(includes: Includes) -> None:
    knowing = {_folder(file) for file, names in includes.items() for _, name in names if name.startswith(_LIBTORCH)}
    assert not knowing & set(WITHOUT_LIBTORCH)


def test_the_build_has_the_same_core() -> None:
    text = (EXT / "CMakeLists.txt").read_text()
    core, rest = (
        set(re.search(rf"add_folders\(predictor_{name} ([^)]*)\)", text)[1].split())  # type: ignore[index]
        for name in ("core", "torch")
    )
    assert core == set(WITHOUT_LIBTORCH)
    assert core | rest | {"python"} == set(LAYERS)
