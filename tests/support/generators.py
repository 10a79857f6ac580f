"""Small GPT-2 models: trained for seconds by the project's own script, or random and known to transformers too."""

from __future__ import annotations

import json
import select
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import torch
from safetensors.torch import load_file, save_file

from ext._batching import Lane
from ext._generator import FinishReason, TextGenerator, text_logits
from scripts import train_generator
from server.models.folder.weights import Weights

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from torch import Tensor

INTERACTIVE, BULK = Lane
NEVER = 2**63 - 1
PATIENCE_S = 60
CACHE = 16 << 20  # bytes
LENGTH, STOP, END_OF_TEXT, DEADLINE = FinishReason

VOCABULARY = 300
CONTEXT = 128
TINY = ("--width", "64", "--layers", "2", "--context", "128", "--vocabulary", "512", "--batch", "4", "--seed", "3")


def train_tiny(folder: Path, steps: int = 60) -> Path:
    """A folder as scripts/train_generator.py writes it; it has seen enough to write English words."""
    assert train_generator.main(["--output", str(folder), "--steps", str(steps), "--rate", "5e-3", *TINY]) == 0
    return folder


def train_slow(folder: Path) -> Path:
    """The same, with texts long enough for their callers to leave in the middle; it has learned nothing to speak of."""
    sizes = ("--width", "384", "--layers", "6", "--context", "1024", "--vocabulary", "600", "--batch", "1")
    assert train_generator.main(["--output", str(folder), "--steps", "1", *sizes]) == 0
    return folder


def random_model(seed: int = 0, **changed: Any) -> Any:
    """transformers' own GPT-2, its weights large enough for tokens to differ clearly. `changed`: of its config."""
    from transformers import GPT2Config, GPT2LMHeadModel

    torch.manual_seed(seed)
    usual = {
        "vocab_size": VOCABULARY,
        "n_positions": CONTEXT,
        "n_embd": 64,
        "n_inner": 256,
        "n_layer": 2,
        "n_head": 4,
        "initializer_range": 0.3,
        "bos_token_id": 0,
        "eos_token_id": None,
        "pad_token_id": 0,
    }
    return GPT2LMHeadModel(GPT2Config(**usual | changed)).eval()


@dataclass(frozen=True)
class Source:
    """A model as ext takes it."""

    config: dict[str, Any]
    files: list[str]
    weights: dict[str, Any]

    def logits(self, tokens: Sequence[int], chunk: int = 512, **execution: Any) -> Any:
        """After each token: float32 [tokens, vocabulary]."""
        content = text_logits(
            self.config, self.files, self.weights, tokens, chunk, **{"cache_bytes": CACHE} | execution
        )
        return np.frombuffer(content, np.float32).reshape(len(tokens), self.config["vocab_size"])


def source_of(model: Any, folder: Path, **tensors: Tensor) -> Source:
    """A transformers model, saved in the folder; `tensors` instead of its own of these names."""
    model.save_pretrained(folder)
    if tensors:
        path = folder / "model.safetensors"
        save_file(load_file(path) | {name.replace("__", "."): tensor for name, tensor in tensors.items()}, path)
    weights = Weights()
    weights.add(folder)
    return Source(json.loads((folder / "config.json").read_text()), weights.files, dict(weights.tensors))


LENGTHS = (3, 1, 17, 64, 65, 100, 5, 33)  # a page of the cache is 16 tokens


def prompts(count: int = len(LENGTHS)) -> list[list[int]]:
    """Random prompts of LENGTHS."""
    chosen = np.random.default_rng(5)
    return [chosen.integers(1, VOCABULARY, LENGTHS[i % len(LENGTHS)]).tolist() for i in range(count)]


class Generators:
    """An engine that is closed at the end of a `with`. Tags are numbers, counted from 0."""

    def __init__(
        self,
        source: Source,
        token_bytes: Sequence[bytes] | None = None,
        ends: Sequence[int] = (),
        **settings: Any,
    ) -> None:
        size = source.config["vocab_size"]
        shown = [b"%d " % token for token in range(size)] if token_bytes is None else list(token_bytes)
        usual = {"slots": 8, "cache_bytes": CACHE}
        self.native = TextGenerator(source.config, source.files, source.weights, shown, list(ends), **usual | settings)
        self.submitted = 0
        self.outcomes: dict[int, tuple[int, Any]] = {}
        self.progress: dict[int, list[tuple[str, int]]] = {}
        self.scores: dict[int, list[Any]] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.native.close()

    def submit(
        self,
        prompt: Sequence[int],
        max_tokens: int = 20,
        *,
        lane: int = INTERACTIVE,
        deadline_ns: int = NEVER,
        **options: Any,
    ) -> int:
        """The request's id, or what the queue refuses it with. Wakes nobody. Greedy, with seed 1."""
        options = {"max_tokens": max_tokens, "temperature": 0.0, "seed": 1} | options
        admitted = self.native.submit(prompt, options, lane, deadline_ns, self.submitted)
        self.submitted += admitted > 0
        return admitted

    def gather(self) -> None:
        """Fetch what is there, or comes within a tenth of a second."""
        if select.select([self.native.fd], [], [], 0.1)[0]:
            outcomes = self.native.results()
            for request, text, count, scores in self.native.progress():
                self.progress.setdefault(request, []).append((text, count))
                self.scores.setdefault(request, []).append(scores)
            for tag, status, value in outcomes:
                assert tag not in self.outcomes, "answered twice"
                self.outcomes[tag] = (status, value)

    def wait(self, count: int | None = None) -> list[tuple[int, Any]]:
        """All outcomes in the order of submitting, when there are so many (default: as many as were submitted)."""
        wanted = self.submitted if count is None else count
        self.native.wake()
        end = time.monotonic() + PATIENCE_S
        while len(self.outcomes) < wanted:
            assert time.monotonic() < end, f"{len(self.outcomes)} of {wanted} outcomes came"
            self.gather()
        return [self.outcomes[tag] for tag in sorted(self.outcomes)]

    def tokens(self, prompts: Sequence[Sequence[int]], max_tokens: int = 20, **options: Any) -> list[list[int]]:
        """What follows the prompts, all of which are submitted at once."""
        self.submitted, self.outcomes = 0, {}
        for prompt in prompts:
            assert self.submit(prompt, max_tokens, **options) > 0
        return [value[1] for _, value in self.wait()]
