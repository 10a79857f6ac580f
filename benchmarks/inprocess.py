"""The limit that no server can pass: the model alone, called in a loop in one process.

The loop itself is TorchScript, so that nothing of Python runs between two calls and no thread ever waits for the GIL:
this is what a C++ program gets from libtorch. Two threads share the loaded model, each with its own batches. Every call
gets lists of words and gives label -> score, so cutting documents into words is the one thing left out.

A program of its own, as glibc reads its allocator thresholds at the start. It prints the figures as JSON, and the
model's scores of the fixed sentence, which every server has to give too.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from pathlib import Path

import torch

from benchmarks.documents import FIXED_SENTENCE
from benchmarks.figures import InProcess

BATCHES = (1, 8, 32, 64)
THREADS = (1, 2)
DOCUMENTS_PER_CHUNK = 1024
WARMUP_CHUNKS = 3  # TorchScript's profiling executor compiles on the second run

Batch = list[list[str]]


class Loop(torch.nn.Module):
    """Calls `model` with one batch after the other."""

    def __init__(self, model: torch.jit.ScriptModule) -> None:
        super().__init__()
        self.model = model

    def forward(self, batches: list[list[list[str]]]) -> int:
        """Documents answered."""
        answered = 0
        for tokens in batches:
            answered += len(self.model(tokens=tokens))
        return answered


def load(path: Path) -> torch.jit.ScriptModule:
    """The model, ready to answer."""
    model: torch.jit.ScriptModule = torch.jit.load(str(path))
    return model.eval()


def words_of(document: str) -> list[str]:
    """As PyText's server cut a document: lower case, at white space; an empty one is padding."""
    return document.lower().split() or ["<pad>"]


def batches_of(documents: list[str], size: int) -> list[Batch]:
    """One chunk of work: batches in the documents' order, from the start again at the end."""
    words = [words_of(document) for document in documents]
    return [
        [words[(first + i) % len(words)] for i in range(size)]
        for first in range(0, max(DOCUMENTS_PER_CHUNK, size), size)
    ]


def measure(loop: torch.jit.ScriptModule, documents: list[str], batch: int, threads: int, seconds: float) -> InProcess:
    """Run `threads` loops for about `seconds`, in chunks."""
    batches = batches_of(documents, batch)

    def work(deadline: float) -> list[float]:
        times: list[float] = []
        with torch.inference_mode():
            while not times or time.perf_counter() < deadline:
                began = time.perf_counter()
                loop(batches)
                times.append(time.perf_counter() - began)
        return times

    for _ in range(WARMUP_CHUNKS):
        work(0)
    with ThreadPoolExecutor(threads) as pool:
        began, cpu_began = time.perf_counter(), time.process_time()
        futures = [pool.submit(work, began + seconds) for _ in range(threads)]
        times = [chunk for future in futures for chunk in future.result()]
        elapsed, cpu = time.perf_counter() - began, time.process_time() - cpu_began
    answered = len(times) * len(batches) * batch
    call_us = statistics.median(times) / len(batches) * 1e6
    return InProcess(batch, threads, answered / elapsed, call_us, cpu / answered * 1e6)


def main() -> None:
    """Measure every batch size with every number of threads."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.inprocess", description="The model alone, in a loop.")
    parser.add_argument("model", type=Path, help="TorchScript file whose forward takes tokens=[[word, ...], ...]")
    parser.add_argument("--documents", type=Path, required=True, help="one document a line")
    parser.add_argument("--seconds", type=float, default=1.0, help="time for each figure (default: %(default)s)")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    model = load(arguments.model)
    loop = torch.jit.script(Loop(model))
    documents = arguments.documents.read_text(encoding="utf-8").splitlines()
    figures = [
        asdict(measure(loop, documents, batch, threads, arguments.seconds)) for threads in THREADS for batch in BATCHES
    ]
    with torch.inference_mode():
        scores = model(tokens=[words_of(FIXED_SENTENCE)])[0]
    json.dump({"scores": scores, "figures": figures}, sys.stdout)


if __name__ == "__main__":
    main()
