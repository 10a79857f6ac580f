"""lm-eval, unchanged: its log-likelihoods are those of transformers. Run by `make test-libraries`."""

from __future__ import annotations

import json
import subprocess
from typing import TYPE_CHECKING, Any

import pytest
import torch

from tests.clients.libraries import FOLDER, PYTHON, environment
from tests.support.folders import chats
from tests.support.service import Service

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.shared import SharedFiles

PAIRS = [
    ("The boat leaves", " the harbour in the evening"),
    ("The boat leaves", " at noon"),
    ("Question: when does it rain?\nAnswer:", " never"),
    ("When the lamp of the lighthouse went out, Anna", " lit it again, and wrote the hour into the book."),
    ("é", "è and ü"),
    ("one two three", " four"),
]
_TIMEOUT_S = 300


def test_log_likelihoods_are_those_of_transformers(shared_files: SharedFiles) -> None:
    folder = chats.made(shared_files, "smollm")
    with Service(f"--model=texts={folder}") as service:
        question = {"url": f"http://127.0.0.1:{service.rest_port}", "folder": str(folder), "pairs": PAIRS}
        assert PYTHON.is_file(), f"there is no {PYTHON}: `make test-libraries` makes it, or LIBRARIES_PYTHON names one"
        done = subprocess.run(
            [PYTHON, "lm_eval_client.py"],
            cwd=FOLDER,
            input=json.dumps(question),
            env=environment() | {"HF_HUB_OFFLINE": "1"},
            capture_output=True,
            text=True,
            timeout=_TIMEOUT_S,
        )
    assert done.returncode == 0, done.stderr[-4000:]
    found = json.loads(done.stdout)["log_likelihoods"]
    right = log_likelihoods(folder)
    assert [value for value, _ in found] == pytest.approx([value for value, _ in right], abs=1e-3)
    assert [greedy for _, greedy in found] == [greedy for _, greedy in right]


def log_likelihoods(folder: Path) -> list[tuple[float, bool]]:
    """As lm-eval makes tokens of a pair: of both together, the context's own taken off."""
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(folder)
    model: Any = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    found = []
    for context, continuation in PAIRS:
        both = tokenizer.encode(context + continuation, add_special_tokens=False)
        before = len(tokenizer.encode(context, add_special_tokens=False))
        with torch.inference_mode():
            shares = torch.log_softmax(model(torch.tensor([both])).logits[0].double(), -1)[before - 1 : -1]
        chosen = torch.tensor(both[before:])
        value = float(shares.gather(1, chosen[:, None]).sum())
        found.append((value, bool((shares.argmax(1) == chosen).all())))
    return found
