"""download_model.py against a hub on this machine, and without one."""

from __future__ import annotations

import shutil
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from scripts import download_model
from tests.e2e import folders
from tests.support.folders import forms
from tests.support.hub import BROKEN, CUT, STALLED, WRONG, environment
from tests.support.service import ROOT, eventually, free_port

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.hub import LocalHub, Served
    from tests.support.shared import SharedFiles


@pytest.fixture
def served(hub: LocalHub, shared_files: SharedFiles, tmp_path: Path) -> Served:
    """A classifier, with a copy for others beside it."""
    folder = shutil.copytree(folders.made(shared_files, ["topics"])["topics"], tmp_path / "served")
    (folder / "onnx").mkdir()
    (folder / "onnx" / "model.onnx").write_bytes(b"ONNX")
    return hub.add("owner/name", folder, revisions=("main", "v1"))


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder in which the script runs."""
    (tmp_path / "place").mkdir()
    monkeypatch.chdir(tmp_path / "place")
    monkeypatch.setattr(download_model.logs, "configure", lambda _: None)  # it would be for this process's other tests
    return tmp_path / "place"


def contents(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def wanted(served: Served) -> dict[str, bytes]:
    return {name: content for name, content in contents(served.folder).items() if not name.startswith("onnx/")}


def failure(capsys: pytest.CaptureFixture[str], *arguments: str, status: int = 1) -> str:
    assert download_model.main(arguments) == status
    return capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "target"),
    [
        (["owner/name"], "models/name"),
        (["owner/name", "local_model/mine"], "local_model/mine"),
        (["hf://owner/name@v1"], "models/name"),
        (["owner/name", "--revision", "v1"], "models/name"),
    ],
)
def test_the_folder(
    served: Served, place: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], target: str
) -> None:
    assert download_model.main(arguments) == 0
    assert capsys.readouterr().out.splitlines()[-1] == f"{target}: ready for python -m server {target}"
    assert contents(place / target) == wanted(served)
    assert [path.name for path in (place / target).parent.iterdir()] == [(place / target).name]
    assert not any(path.is_symlink() for path in (place / target).rglob("*"))
    assert f"{target} is there already" in failure(capsys, *arguments)


def test_going_on_after_an_interruption(
    served: Served, hub: LocalHub, place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    served.faults["model.safetensors"] = [CUT, *[BROKEN] * 5]
    assert "broke off" in failure(capsys, "owner/name")
    assert [path.name for path in (place / "models").iterdir()] == [".name.download"]
    served.faults.clear()
    hub.asked.clear()
    assert download_model.main(["owner/name"]) == 0
    assert [line.partition(" bytes=")[1] for line in hub.asked_for("")] == [" bytes="], "nothing came twice"
    assert contents(place / "models" / "name") == wanted(served)


def test_the_plan(served: Served, hub: LocalHub, place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert download_model.main(["owner/name", "--dry-run"]) == 0
    *files, total = capsys.readouterr().out.splitlines()
    assert {line.split()[1]: line.split()[0] for line in files} == {
        name: f"{len(content):,}" for name, content in wanted(served).items()
    }
    assert total.split()[0] == f"{sum(map(len, wanted(served).values())):,}"
    assert total.endswith("bytes in all, to models/name")
    assert hub.asked_for("model.safetensors") == []
    assert list(place.iterdir()) == []


def test_what_is_not_served(served: Served, hub: LocalHub, place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = forms.read_json(served.folder / "config.json")
    forms.write_json(served.folder / "config.json", config | {"model_type": "xlnet"})
    for arguments in (["owner/name"], ["owner/name", "--dry-run"]):
        assert failure(capsys, *arguments).startswith("owner/name: its architecture is 'xlnet'")
    assert hub.asked_for("model.safetensors") == []
    assert not (place / "models" / "name").exists()


def test_single_files(served: Served, place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert download_model.main(["owner/name", "--file=onnx/model.onnx", "--file=config.json"]) == 0
    assert capsys.readouterr().out.splitlines()[-1] == "models/name: written"
    assert set(contents(place / "models" / "name")) == {"onnx/model.onnx", "config.json"}
    assert download_model.main(["owner/name", "--file=onnx/model.onnx", "--dry-run"]) == 0
    assert capsys.readouterr().out.split()[:2] == ["4", "onnx/model.onnx"]
    assert "there is no file model.onnx: is it onnx/model.onnx" in failure(
        capsys, "owner/name", "o", "--file=model.onnx"
    )


def test_wrong_bytes(served: Served, place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    served.faults["model.safetensors"] = [WRONG]
    assert "model.safetensors: what came is not what the hub lists (SHA-256" in failure(capsys, "owner/name")
    assert not (place / "models" / "name").exists()


def test_no_hub(
    place: Path, hub: LocalHub, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{free_port()}")
    assert "no model hub can be reached at http://127.0.0.1:" in failure(capsys, "owner/name")


def test_a_folder_that_cannot_be_written(served: Served, place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (place / "models").write_text("a file")
    assert "File exists" in failure(capsys, "owner/name") or "Not a directory" in failure(capsys, "owner/name")


def test_ctrl_c(place: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(download_model, "download", interrupted)
    assert "the same command goes on from here" in failure(capsys, "owner/name", status=130)


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["../etc"],
        ["a/b/c"],
        ["owner/name", "--revision", "../x"],
        ["hf://owner/name@v1", "--revision", "v2"],
        ["hf://owner/name@"],
        ["owner/name", "a", "b"],
    ],
)
def test_wrong_arguments(arguments: list[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        download_model.main(arguments)
    assert ended.value.code == 2


def test_progress_of_a_log(served: Served, place: Path, hub: LocalHub, tmp_path: Path) -> None:
    """The script as it is run: sparse lines where stderr is no terminal, a bar where it is one."""
    command = [sys.executable, "-c", SPARSE, "owner/name"]
    env = environment(hub, tmp_path / "cache", PYTHONPATH=f"{ROOT}:{ROOT / 'gen-py'}", FORCE_COLOR="")
    served.faults["model.safetensors"] = [STALLED]
    with subprocess.Popen(
        command, env=env, cwd=place, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as run:
        eventually(lambda: list(place.glob("models/.name.download/*/blobs/*.partial")), "the weights come")
        served.go_on.set()
        out, said = run.communicate(timeout=120)
    assert run.returncode == 0, said
    assert out.endswith("ready for python -m server models/name\n")
    assert [line for line in said.splitlines() if " MB, " in line and line.endswith("MB/s")]


SPARSE = """
import sys
from scripts import download_model
download_model.LOG_EVERY_S = 0
sys.exit(download_model.main())
"""


def test_progress_of_a_terminal(
    served: Served, place: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setattr(download_model, "_BAR_EVERY_S", 0)
    assert download_model.main(["owner/name"]) == 0
    said = capsys.readouterr()
    assert "owner/name" in said.err
    assert contents(place / "models" / "name") == wanted(served)
