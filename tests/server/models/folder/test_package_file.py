"""What packages (.pt2) say of themselves, and their trial: what is damaged, or made for other machines, is refused."""

from __future__ import annotations

import json
import zipfile
from typing import TYPE_CHECKING, Any

import pytest

from server.errors import ModelError
from server.models.folder import package_file
from tests.support.service import ROOT

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

MODEL = "model/data/aotinductor/model"
HERE = {"AOTI_PLATFORM": "linux", "AOTI_DEVICE_KEY": "cpu", "AOTI_CPU_ISA": "", "predictor.max_tokens": "64"}


def package(path: Path, metadata: object = HERE, folder: str = MODEL) -> Path:
    """What a package looks like; no loader would take it."""
    with zipfile.ZipFile(path / "model.pt2", "w") as archive:
        archive.writestr("model/archive_format", "pt2")
        archive.writestr(f"{folder}/abc.wrapper.so", b"\x7fELF" + bytes(2000))
        archive.writestr(f"{folder}/abc.wrapper_metadata.json", json.dumps(metadata))
    return path / "model.pt2"


def test_metadata_are_read(tmp_path: Path) -> None:
    assert package_file.read_metadata(package(tmp_path)) == HERE


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda content: b"", "is damaged or cut short, or no package"),
        (lambda content: b"PK\x03\x04 and no more", "is damaged or cut short, or no package"),
        (lambda content: content[: len(content) // 2], "is damaged or cut short, or no package"),
        (lambda content: content[:-9], "is damaged or cut short, or no package"),
        (lambda content: content.replace(bytes(900), bytes(899) + b"\1"), "it is damaged: model/data/.* is not as it"),
        (lambda content: content.replace(b"linux", b"linu\xff"), "damaged"),
    ],
)
def test_damaged_packages(tmp_path: Path, change: Callable[[bytes], bytes], reason: str) -> None:
    path = package(tmp_path)
    path.write_bytes(change(path.read_bytes()))
    with pytest.raises(ModelError, match=reason):
        package_file.read_metadata(path)


@pytest.mark.parametrize("metadata", [[1], "text", 5])
def test_metadata_that_are_none(tmp_path: Path, metadata: object) -> None:
    with pytest.raises(ModelError, match="is damaged or cut short, or no package"):
        package_file.read_metadata(package(tmp_path, metadata))


def test_a_program_that_was_not_compiled(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="it holds no compiled model; of a program of"):
        package_file.read_metadata(package(tmp_path, folder="model/models"))


@pytest.mark.parametrize(
    ("metadata", "device", "reason"),
    [
        (
            {"AOTI_PLATFORM": "win32"},
            "cpu",
            "compiled for win32, and this is linux: export the model on such",
        ),
        ({"AOTI_MACHINE": "abacus"}, "cpu", "compiled for abacus, and this is "),
        ({"AOTI_DEVICE_KEY": "cuda"}, "cpu", "compiled for cuda, and the setting device is cpu"),
        ({"AOTI_DEVICE_KEY": "cpu"}, "cuda:1", "compiled for cpu, and the setting device is cuda:1"),
        ({"AOTI_CPU_ISA": "AVX512 AVX512_VNNI"}, "cpu", "compiled for processors with AVX512, AVX512_VNNI: export"),
    ],
)
def test_packages_for_other_machines(
    monkeypatch: pytest.MonkeyPatch, metadata: dict[str, str], device: str, reason: str
) -> None:
    monkeypatch.setattr(package_file, "_processor_flags", lambda: {"sse2", "avx2"})
    with pytest.raises(ModelError, match=reason):
        package_file.require_fit(metadata, device)


@pytest.mark.parametrize(
    ("metadata", "flags"),
    [
        ({}, {"sse2"}),
        ({"AOTI_CPU_ISA": "AVX2"}, {"sse2", "avx2"}),
        ({"AOTI_CPU_ISA": "ASIMD"}, {"sse2"}),  # one that is not known here
        ({"AOTI_CPU_ISA": "AVX512"}, set()),  # the system does not say
    ],
)
def test_packages_that_fit(monkeypatch: pytest.MonkeyPatch, metadata: dict[str, str], flags: set[str]) -> None:
    monkeypatch.setattr(package_file, "_processor_flags", lambda: flags)
    package_file.require_fit(metadata, "cpu")


def test_the_processors_flags_are_found() -> None:
    assert package_file._processor_flags()


def test_where_the_system_does_not_say(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any, **__: Any) -> str:
        raise FileNotFoundError

    monkeypatch.setattr(package_file.Path, "read_text", fail)
    assert package_file._processor_flags() == set()


@pytest.mark.parametrize(
    ("vocabulary", "reason"),
    [
        (
            9,
            "ends the process with signal SIGABRT on a text of 5 tokens .* with the id 8 .*: index out of bounds: 0",
        ),
        (2, r"ends the process \(3\) on a text of 5 tokens"),
        (1, "a trial did not end within 1 s"),
    ],
)
def test_a_trial_that_dies(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, vocabulary: int, reason: str) -> None:
    monkeypatch.setattr(package_file, "_TRIAL", "tests.server.models.folder.crashing_trial")
    monkeypatch.setenv("PYTHONPATH", str(ROOT))  # of which tests are no part of an installation
    monkeypatch.setattr(package_file, "_TRIAL_S", 1 if vocabulary == 1 else 60)
    with pytest.raises(ModelError, match=reason):
        package_file.try_package(tmp_path, "cpu", vocabulary, 5, 0)


@pytest.mark.slow
def test_a_trial_of_what_is_no_package(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="it cannot be loaded"):
        package_file.try_package(package(tmp_path), "cpu", 9, 5, 0)
