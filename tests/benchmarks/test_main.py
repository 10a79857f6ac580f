"""The command line, and a real run of it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections import Counter
from typing import TYPE_CHECKING

import pytest

from benchmarks.arguments import parse_arguments
from benchmarks.documents import FIXED_SENTENCE, MAX_WORDS, read_words, varied_documents, write_documents
from benchmarks.measure import MeasureError, Plan, measure_server
from benchmarks.process import ROOT, StartError
from benchmarks.servers import APACHE
from tests.support.zoo import save_broken, save_named

if TYPE_CHECKING:
    from pathlib import Path


def run(*arguments: object) -> subprocess.CompletedProcess[str]:
    """python -m benchmarks, as make bench does."""
    command = [sys.executable, "-m", "benchmarks", *map(str, arguments)]
    path = os.pathsep.join([str(ROOT), str(ROOT / "gen-py")])
    environment = {**os.environ, "PYTHONPATH": path}
    return subprocess.run(command, capture_output=True, text=True, cwd=ROOT, env=environment, timeout=120)


def test_measures_a_server_and_the_model_alone(tmp_path: Path) -> None:
    model, output = save_named("docnn_mask", tmp_path), tmp_path / "results" / "run.json"
    times = ("--rounds", 1, "--seconds", 0.3, "--warmup", 0.1)
    which = ("--servers", "apache", "--documents", "varied", "--connections", "1,4")
    done = run("--model", model, "--output", output, *times, *which)
    assert done.returncode == 0, done.stderr
    assert "[2/2] round 1: Apache TThreadedServer, varied, 4 conn.:" in done.stderr
    lines = [line for line in done.stdout.splitlines() if line.startswith("| Apache TThreadedServer | varied")]
    assert len(lines) == 2

    results = json.loads(output.read_text())
    assert [(row["connections"], len(row["rounds"])) for row in results["rows"]] == [(1, 1), (4, 1)]
    for figures in (figures for row in results["rows"] for figures in row["rounds"]):
        assert figures["errors"] == 0
        assert figures["rps"] > 50
        assert 10 < figures["p50_us"] <= figures["p99_us"]
        assert 10 < figures["cpu_us"] < 2e6 / figures["rps"] * 1.2  # two cores at most, give or take a clock tick
        assert 50 < figures["pss_mib"] <= figures["rss_mib"]
    for figures in results["model_alone"][0]["varied"]:
        assert figures["documents_per_s"] > 50
        busy = figures["documents_per_s"] * figures["cpu_us_per_document"] / 1e6
        assert 0.05 < busy < 1.1 * figures["threads"]


def test_another_model_behind_a_server_is_noticed(tmp_path: Path) -> None:
    plan = Plan(save_named("docnn_mask", tmp_path), {}, (), 0.1, 0, tmp_path)
    expected = {"alarm/set_alarm": -0.5, "reminder/set_reminder": -1.5, "weather/find": -2.5}
    with pytest.raises(MeasureError, match="Apache TThreadedServer gives other scores than the model"):
        list(measure_server(APACHE, plan, expected))


def test_a_server_that_cannot_start_is_shown_with_its_log(tmp_path: Path) -> None:
    plan = Plan(save_broken(tmp_path)["truncated"], {}, (), 0.1, 0, tmp_path)
    message = r"apache ended with exit code 1; the end of .*apache\.log:\n(.*\n)*.*Error: "
    with pytest.raises(StartError, match=message):
        list(measure_server(APACHE, plan, {}))


def test_a_model_without_tokens_is_refused_before_any_server_starts(tmp_path: Path) -> None:
    done = run("--model", save_named("pairwise", tmp_path), "--quick")
    assert done.returncode == 2
    assert "the model alone cannot be measured" in done.stderr
    assert "tokens" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--model", "none.pt"), "none.pt is not there; `make models/classifier.pt` trains the demo classifier"),
        (
            ("--servers", "apache,nginx"),
            "--servers: nginx: choose from ours, apache, mosec-32, mosec-16, ",
        ),
        (("--documents", "long"), "--documents: long: choose from fixed, varied"),
        (("--connections", "0"), "--connections: 0 is not from 1 to 10000"),
        (("--rounds", "0"), "--rounds: 0 is not from 1 to 100"),
        (("--seconds", "x"), "--seconds: invalid float value: 'x'"),
    ],
)
def test_wrong_options_are_refused_by_name(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        parse_arguments(arguments)
    assert ended.value.code == 2
    assert message in capsys.readouterr().err


def test_varied_documents_have_every_length_and_are_the_same_each_time(tmp_path: Path) -> None:
    words = read_words()
    documents = varied_documents(words)
    assert documents == varied_documents(words)
    assert documents != varied_documents(words, seed=2)
    lengths = Counter(len(document.split()) for document in documents)
    assert set(lengths) == set(range(1, MAX_WORDS + 1))
    assert {word for document in documents for word in document.split()} <= set(words)
    paths = write_documents(tmp_path)
    assert paths["fixed"].read_text() == f"{FIXED_SENTENCE}\n"
    assert paths["varied"].read_text().splitlines() == documents


def test_words_need_a_label_before_them(tmp_path: Path) -> None:
    (tmp_path / "texts.tsv").write_text("no label here\n")
    with pytest.raises(ValueError, match=r"texts\.tsv: no line has a text after a tab"):
        read_words(tmp_path / "texts.tsv")
