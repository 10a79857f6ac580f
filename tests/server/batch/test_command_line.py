"""python -m server.batch: a job without a server."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from typing import TYPE_CHECKING

import numpy as np
import pytest

from process.version import VERSION_LINE
from server.batch.__main__ import main
from server.batch.command_line.arguments import parse_arguments
from tests.e2e.folders import made
from tests.server.batch.jobs import files_below, read_lines, write_lines
from tests.support.folders import reference
from tests.support.service import ROOT, environment, eventually

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.shared import SharedFiles

pytestmark = pytest.mark.slow

LINES = 40_000


def command(folder: Path, model: Path | str, *more: str) -> list[str]:
    places = [f"--model={model}", f"--input={folder}/in/", f"--output={folder}/out", f"--state={folder}/state"]
    return [sys.executable, "-m", "server.batch", *places, *more]


def run(folder: Path, model: Path | str, *more: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command(folder, model, *more), cwd=ROOT, env=environment(), capture_output=True, text=True, timeout=120
    )


def test_all_files(tmp_path: Path, classifier: Path) -> None:
    write_lines(tmp_path / "in" / "a", [{"doc": "set an alarm", "id": n} for n in range(10)])
    write_lines(tmp_path / "in" / "sub" / "b", [{"doc": "rain", "id": 1}])
    done = run(tmp_path, classifier, "--key-field=id")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("11 lines in 2 files; ")
    assert [line["id"] for line in read_lines(tmp_path / "out" / "a")] == list(range(10))
    assert files_below(tmp_path / "out") == ["a", "sub/b"]
    assert files_below(tmp_path / "state") == [], "nothing is left of a job that is done"


def test_pairs_and_vectors_of_folders(tmp_path: Path, shared_files: SharedFiles) -> None:
    folders = made(shared_files, ("reranker", "encoder"))
    texts = ["the harbour is small", "will it rain", "a boat and a lamp"]
    scores = reference.scores(folders["reranker"], [("a boat", text) for text in texts]).tolist()
    write_lines(tmp_path / "in" / "a", [{"query": "a boat", "texts": texts}])
    done = run(tmp_path, folders["reranker"], "--method=rerank")
    assert done.returncode == 0, done.stderr
    [line] = read_lines(tmp_path / "out" / "a")
    assert [one["score"] for one in line["ranked"]] == pytest.approx(sorted(scores, reverse=True), abs=1e-4)
    assert {one["index"]: one["score"] for one in line["ranked"]} == pytest.approx(dict(enumerate(scores)), abs=1e-4)

    write_lines(tmp_path / "in" / "a", [*texts, {"text": texts[0], "options": {"prompt_name": "query"}}])
    done = run(tmp_path, folders["encoder"], "--method=embed", "--fresh")
    assert done.returncode == 0, done.stderr
    *plain, prompted = (line["embedding"] for line in read_lines(tmp_path / "out" / "a"))
    assert np.array(plain) == pytest.approx(reference.vectors(folders["encoder"], texts), abs=1e-5)
    (wanted,) = reference.vectors(folders["encoder"], texts[:1], prompt_name="query")
    assert prompted == pytest.approx(wanted.tolist(), abs=1e-5)


def test_failed_job_goes_on_when_the_line_is_mended(tmp_path: Path, classifier: Path) -> None:
    write_lines(tmp_path / "in" / "a", ["good"])
    write_lines(tmp_path / "in" / "b", ["good", 7])
    done = run(tmp_path, classifier)
    assert done.returncode == 1
    assert done.stderr.startswith(f"error: cannot make predictions: {tmp_path}/in/b, line 2: expected a string")
    first = (tmp_path / "out" / "a").stat().st_ino
    write_lines(tmp_path / "in" / "b", ["good", "7"])
    done = run(tmp_path, classifier)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "out" / "a").stat().st_ino == first, "what was done is not done again"
    assert len(read_lines(tmp_path / "out" / "b")) == 2
    assert run(tmp_path, classifier).returncode == 0
    assert (tmp_path / "out" / "a").stat().st_ino != first, "a job that was complete is a new job"


def test_recorded_errors_are_counted(tmp_path: Path, classifier: Path) -> None:
    write_lines(tmp_path / "in" / "a", ["good", 7, 8])
    done = run(tmp_path, classifier, "--on-error=record", "--max-errors=2")
    assert done.stdout.startswith("3 lines in 1 file, 2 of them errors; "), done.stderr
    done = run(tmp_path, classifier, "--on-error=record", "--max-errors=1")
    assert done.returncode == 1
    assert "line 3: " in done.stderr


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_interrupted_job_goes_on(tmp_path: Path, classifier: Path, number: int) -> None:
    for name in ("a", "b", "c"):
        write_lines(tmp_path / "in" / name, ({"doc": "set an alarm", "id": n} for n in range(LINES)))
    process = subprocess.Popen(
        command(tmp_path, classifier, "--key-field=id"),
        cwd=ROOT,
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    eventually((tmp_path / "out" / "a").exists, "the first file is done")
    process.send_signal(number)
    _, stderr = process.communicate(timeout=60)
    if number == signal.SIGKILL:
        assert process.returncode == -number
    else:
        assert (process.returncode, stderr) == (130, "interrupted: run the same command again to resume\n")
        assert set(files_below(tmp_path / "out")) <= {"a", "b"}, "no temporary file"
    first = (tmp_path / "out" / "a").stat().st_ino
    done = run(tmp_path, classifier, "--key-field=id")
    assert done.stdout.startswith(f"{3 * LINES:,} lines in 3 files"), done.stderr
    assert (tmp_path / "out" / "a").stat().st_ino == first
    assert files_below(tmp_path / "out") == ["a", "b", "c"]
    for name in ("a", "b", "c"):
        assert [line["id"] for line in read_lines(tmp_path / "out" / name)] == list(range(LINES))


def test_fresh_begins_anew(tmp_path: Path, classifier: Path) -> None:
    write_lines(tmp_path / "in" / "a", ["good"])
    write_lines(tmp_path / "in" / "b", [7])
    assert run(tmp_path, classifier).returncode == 1
    first = (tmp_path / "out" / "a").stat().st_ino
    assert run(tmp_path, classifier, "--fresh").returncode == 1
    assert (tmp_path / "out" / "a").stat().st_ino != first


def test_saved_model(tmp_path: Path, saved_models: Path) -> None:
    values = [3, {"x": 4.5, "id": 2**53 + 1}]
    write_lines(tmp_path / "in" / "a", values)
    done = run(tmp_path, saved_models / "half_plus_two")
    assert done.returncode == 1
    assert f"{tmp_path}/in/a, line 2: " in done.stderr
    write_lines(tmp_path / "in" / "a", values[1:] * 1000)
    done = run(tmp_path, saved_models / "half_plus_two", "--key-field=id")
    assert done.returncode == 0, done.stderr
    assert read_lines(tmp_path / "out" / "a") == [{"id": 2**53 + 1, "prediction": 4.25}] * 1000


@pytest.mark.parametrize(
    ("arguments", "status", "message"),
    [
        (["--method=sing"], 2, "invalid choice: 'sing'"),
        (["--max-errors=1"], 2, "can only be given with --on-error record"),
        (["--max-errors=-1", "--on-error=record"], 2, "must be at least 0, got -1"),
        (["--key-field="], 2, "is empty"),
        (["--key-field=scores"], 2, "must be none of the results' own fields (scores, error)"),
        (["--model=none.pt"], 1, "no such file"),
        (["--method=reply"], 1, "cannot get the model: 'model' does not serve reply"),
        (["--input=ftp://x/y"], 1, "location must start with"),
        (["--output=http://x/y"], 1, "cannot be written"),
        (["--output=FOLDER/in/"], 1, "lies within input"),
        (["--input=FOLDER/none"], 1, "FOLDER/none cannot be read"),
    ],
    ids=str,
)
def test_what_is_wrong_is_said(
    tmp_path: Path, classifier: Path, arguments: list[str], status: int, message: str
) -> None:
    write_lines(tmp_path / "in" / "a", ["good"])
    done = run(tmp_path, classifier, *(argument.replace("FOLDER", str(tmp_path)) for argument in arguments))
    assert done.returncode == status, done.stderr
    assert message.replace("FOLDER", str(tmp_path)) in done.stderr
    assert "Traceback" not in done.stderr


def test_help_names_everything(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "server.batch", "--help"], cwd=ROOT, capture_output=True, text=True, timeout=60
    )
    for word in ("--model", "--input", "--output", "--on-error", "--key-field", "Exit status", "predict"):
        assert word in done.stdout
    assert json.dumps("doc") in done.stdout


def test_user_without_a_home_folder_names_the_states(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def homeless() -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr("pathlib.Path.home", homeless)
    monkeypatch.delenv("XDG_STATE_HOME", raising=False)
    with pytest.raises(SystemExit) as helped:
        parse_arguments(["--help"])
    assert helped.value.code == 0
    given = ["--model=m.pt", "--input=/in/", "--output=/out"]
    with pytest.raises(SystemExit) as refused:
        parse_arguments(given)
    assert refused.value.code == 2
    assert "--state: must be given" in capsys.readouterr().err
    assert parse_arguments([*given, f"--state={tmp_path}"]).state.parent == tmp_path


def test_wrong_settings_in_the_environment(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(sys, "argv", ["batch", "--model=m.pt", "--input=/in/", "--output=/out", "--state=/state"])
    monkeypatch.setenv("PREDICTOR_BATCH_ITEMS", "none")
    assert main() == 2
    assert capsys.readouterr().err.startswith("error: PREDICTOR_BATCH_ITEMS: Input should be a valid integer")
    monkeypatch.delenv("PREDICTOR_BATCH_ITEMS")
    monkeypatch.setenv("PREDICTOR_BATCH_ITEM", "1")
    assert main() == 2
    wrong = "error: unknown environment variable PREDICTOR_BATCH_ITEM; did you mean PREDICTOR_BATCH_ITEMS?\n"
    assert capsys.readouterr().err == wrong


def test_the_version(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        parse_arguments(["--version"])
    assert (ended.value.code, capsys.readouterr().out) == (0, f"{VERSION_LINE}\n")
