"""`python -m server.tensorflow`, and the script that makes models to try it with."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from tests.support.service import ROOT

if TYPE_CHECKING:
    from pathlib import Path


def run(*arguments: object, stdin: str = "") -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "server.tensorflow", *map(str, arguments)]
    return subprocess.run(command, cwd=ROOT, input=stdin, capture_output=True, text=True, timeout=120)


def answer(*arguments: object, stdin: str = "") -> str:
    done = run(*arguments, stdin=stdin)
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout.rstrip("\n")


def test_the_first_steps_of_tensorflow_serving(saved_models: Path) -> None:
    folder = saved_models / "half_plus_two"
    assert answer(folder) == "signature 'serving_default' (x: float[n] -> y: float[n])"
    assert answer(folder, '{"instances": [1.0, 2.0, 5.0]}') == '{"predictions": [2.5, 3.0, 4.5]}'


def test_rows_and_columns(saved_model_server: str) -> None:
    assert (
        answer(saved_model_server, '{"inputs": [[1, 2], [3, 4]], "signature_name": "sums"}')
        == '{"outputs": [3.0, 7.0]}'
    )
    request = '{"signature_name": "classes", "instances": ["a", {"text": "bc"}]}'
    assert answer(saved_model_server, "-", stdin=request) == (
        '{"predictions": [{"classes": ["low", "mid", "high"], "scores": [-1.0, 0.0, 1.0]},'
        ' {"classes": ["low", "mid", "high"], "scores": [-2.0, 0.0, 2.0]}]}'
    )


@pytest.mark.parametrize(
    ("request_text", "message"),
    [
        ("{", "Expecting property name"),
        ("[]", 'the request must be an object with "instances" or "inputs"'),
        ('{"instances": [], "inputs": []}', 'the request must be an object with "instances" or "inputs"'),
        ('{"instances": [], "examples": []}', 'the request must be an object with "instances" or "inputs"'),
        ('{"instances": 1}', '"instances" must be a list'),
        ('{"instances": [], "signature_name": 1}', '"signature_name" must be a string'),
        ('{"instances": []}', "the model has no signature 'serving_default'"),
        ('{"instances": [NaN], "signature_name": "root"}', "instance 0: input 'x': nan is no number that JSON has"),
        ('{"inputs": 1, "signature_name": "root"}', "input 'x': expected a list"),
        ('{"inputs": ["x"], "signature_name": "fragile"}', "the model failed: StringToNumberOp could not"),
        ('{"instances": [1, 2], "signature_name": "total"}', "output 'y' has shape [1] for 2 instances"),
    ],
)
def test_requests_that_cannot_be_answered(saved_model_server: str, request_text: str, message: str) -> None:
    done = run(saved_model_server, request_text)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("error: ")
    assert message in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_the_script_refuses_names_that_it_does_not_know(tmp_path: Path) -> None:
    command = [sys.executable, "scripts/make_saved_models.py", str(tmp_path), "half_plus_three"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert done.returncode == 2
    assert "there is no model 'half_plus_three'; there are half_plus_two, sentence_encoder" in done.stderr
