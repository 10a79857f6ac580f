"""What `make run` starts, as make says without doing it."""

from __future__ import annotations

import os
import subprocess

import pytest

from tests.support.service import ROOT, program_path


@pytest.mark.parametrize(
    ("variables", "first", "others"),
    [
        ((), "models/classifier.pt", ["models/smart_reply.tflite", "models/encoder", "models/generator"]),
        (
            ("MODEL=hf://owner/name@v1,precision=int8", "ENCODER=", "GENERATOR=hf://gpt2", "REPLIES="),
            "hf://owner/name@v1,precision=int8",
            ["hf://gpt2"],
        ),
    ],
)
def test_the_models_of_make_run(variables: tuple[str, ...], first: str, others: list[str]) -> None:
    """Those of a hub are no files that make would look for, or make."""
    make = program_path("make", "apt-get install make")
    # what a make that runs the tests says to those below it: that they shall name their folders
    alone = {name: value for name, value in os.environ.items() if name not in ("MAKEFLAGS", "MAKELEVEL", "MFLAGS")}
    done = subprocess.run(
        [make, "-n", "run", *variables], cwd=ROOT, env=alone, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    command = done.stdout.splitlines()[-1]
    assert f"-m server {first} " in command
    assert [other for other in others if f"echo --model '{other}'" not in command] == []
    assert command.count("test -e") == sum(not other.startswith("hf://") for other in others)
