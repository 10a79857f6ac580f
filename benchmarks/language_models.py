"""Language models of the shapes that people serve, in one process: ours and CTranslate2, on the same threads.

    python -m benchmarks.language_models

The weights are random: how fast they are does not depend on their values. For each number of texts that grow at a
time: tokens a second, of greedy texts. Of ours also: how long a prompt of 900 tokens takes when it comes for the first
time and again, how long a text that grows has to wait while such a prompt is read, and how much memory a model takes.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import select
import shutil
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

from benchmarks.arguments import number
from benchmarks.checks import Check
from benchmarks.process import ROOT, memory
from benchmarks.report import machine_line
from benchmarks.table import check_table, markdown
from ext import _generator
from ext._batching import Lane
from ext._generator import TextGenerator
from server.models.folder.weights import Weights
from server.models.options import GENERATOR_PRECISIONS

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

FOLDERS = ROOT / "build" / "language-models"
STREAMS = (1, 4, 8, 16)
TOKENS = 64
PROMPT = 16
LONG = 900
CONTEXT = 2048
CACHE = 1 << 30
NEVER = 2**63 - 1
PEERS = ("float32", "int8")  # what CTranslate2 computes in on a processor
LEAST_RATIO = {1: 1.0, 4: 1.0, 8: 1.5, 16: 1.5}  # of the best peer's, by the number of texts
MOST_AGAIN = 0.03  # of the first time
MOST_GAP = 4.0  # times the usual one
MOST_MEMORY = 1.15  # of the weights, in int8

SHAPES: dict[str, dict[str, Any]] = {
    "135m": {  # SmolLM2's
        "vocab_size": 49152,
        "hidden_size": 576,
        "intermediate_size": 1536,
        "num_hidden_layers": 30,
        "num_attention_heads": 9,
        "num_key_value_heads": 3,
        "tie_word_embeddings": True,
    },
    "500m": {
        "vocab_size": 32000,
        "hidden_size": 1024,
        "intermediate_size": 5120,
        "num_hidden_layers": 24,
        "num_attention_heads": 16,
        "num_key_value_heads": 8,
        "tie_word_embeddings": True,
    },
    "tiny": {
        "vocab_size": 512,
        "hidden_size": 64,
        "intermediate_size": 128,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "tie_word_embeddings": True,
    },
}


@dataclass
class Figures:
    """Of one engine in one precision."""

    rates: dict[int, list[float]] = field(default_factory=dict)
    """Texts at a time -> tokens a second, of each round."""
    first_s: float = 0
    again_s: float = 0
    usual_gap_s: float = 0
    largest_gap_s: float = 0
    memory: float = 0
    """MiB that the process has grown by at most while the model was loaded: its own memory and mapped files."""
    weights: float = 0
    """MiB of the model's matrices in this precision; without their scales, but in int4."""
    after: float = 0
    """MiB that it has grown by when all texts were written, with what of the cache they have used."""

    def rate(self, streams: int) -> float:
        """The median of the rounds."""
        return median(self.rates[streams])


def folder_of(shape: str) -> Path:
    """A Llama of this shape, with random weights; written once."""
    folder = FOLDERS / shape
    if (folder / "model.safetensors").is_file():
        return folder
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(1)
    config = LlamaConfig(
        **SHAPES[shape], max_position_embeddings=CONTEXT, bos_token_id=1, eos_token_id=None, pad_token_id=0
    )
    shutil.rmtree(folder, ignore_errors=True)
    LlamaForCausalLM(config).save_pretrained(folder)
    return folder


def prompt(streams: int, seed: int, length: int = PROMPT) -> list[int]:
    """Token ids that no other prompt begins with."""
    return [3 + (seed * 7919 + streams * 104_729 + i * 31) % 500 for i in range(length)]


class Ours:
    """The engine, asked as the server asks it."""

    def __init__(self, folder: Path, precision: str, threads: int) -> None:
        weights = Weights()
        weights.add(folder)
        config = json.loads((folder / "config.json").read_text())
        shown = [b"%d " % token for token in range(config["vocab_size"])]
        self._native = TextGenerator(
            config,
            weights.files,
            weights.tensors,
            shown,
            [],
            precision=precision,
            threads=threads,
            slots=max(STREAMS),
            cache_bytes=CACHE,
            max_tokens=CONTEXT,
        )

    def submit(self, tokens: Sequence[int], max_tokens: int, streamed: bool = False) -> int:
        """A greedy text; its id."""
        lane = int(Lane.INTERACTIVE)
        options = {"max_tokens": max_tokens, "temperature": 0.0, "streamed": streamed}
        return self._native.submit(tokens, options, lane, NEVER, 0)

    def wait(self, texts: int) -> Iterator[tuple[float, int]]:
        """(time, texts that are done by then) whenever there is news, until all of them are."""
        self._native.wake()
        done = 0
        while done < texts:
            select.select([self._native.fd], [], [], 60)
            done += len(self._native.results())
            self._native.progress()
            yield time.perf_counter(), done

    def rate(self, streams: int, seed: int) -> float:
        """Tokens a second of so many texts that grow together, prompts included."""
        begin = time.perf_counter()
        for i in range(streams):
            self.submit(prompt(i, seed), TOKENS)
        *_, (end, _) = self.wait(streams)
        return streams * TOKENS / (end - begin)

    def prompt_s(self, seed: int) -> float:
        """Seconds to the first token after a long prompt."""
        begin = time.perf_counter()
        self.submit(prompt(0, seed, LONG), 1)
        *_, (end, _) = self.wait(1)
        return end - begin

    def gaps(self, seed: int) -> tuple[float, float]:
        """(usual, largest) seconds between two tokens of a text beside which a long prompt is read."""
        text = self.submit(prompt(1, seed), CONTEXT - PROMPT, streamed=True)
        news = self.wait(1)  # the text does not end: it is cancelled when the prompt has its token
        times = [at for at, _ in itertools.islice(news, 40)]
        usual = median(b - a for a, b in itertools.pairwise(times))
        self.submit(prompt(2, seed, LONG), 1)
        times = times[-1:] + [at for at, _ in self.wait(1)]
        self._native.cancel(text)
        return usual, max(b - a for a, b in itertools.pairwise(times))

    def close(self) -> None:
        """Free the memory."""
        self._native.close()


def measure_ours(shape: str, precision: str, options: argparse.Namespace) -> Figures:
    """All figures of one precision."""
    _generator.give_back_memory()
    folder = folder_of(shape)
    before = memory(os.getpid()).rss
    Path("/proc/self/clear_refs").write_text("5")  # VmHWM begins anew
    engine = Ours(folder, precision, options.threads)
    figures = Figures(memory=_most_memory() - before, weights=_bytes(shape, precision) / 2**20)
    engine.rate(1, 999)
    for streams in STREAMS:
        figures.rates[streams] = [engine.rate(streams, 10 * i) for i in range(options.rounds)]
        print(f"{shape}, ours, {precision}, {streams}: {figures.rate(streams):,.0f} tokens/s", file=sys.stderr)
    figures.first_s = engine.prompt_s(5)
    figures.again_s = min(engine.prompt_s(5) for _ in range(3))
    figures.usual_gap_s, figures.largest_gap_s = engine.gaps(6)
    figures.after = memory(os.getpid()).rss - before
    engine.close()
    return figures


def _most_memory() -> float:
    """MiB that were in memory at a time: anonymous and of files."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM:")) / 1024


def _bytes(shape: str, precision: str) -> int:
    """Of all matrices, that of the output among them; the embeddings are read from the file."""
    size = SHAPES[shape]
    hidden, inner = size["hidden_size"], size["intermediate_size"]
    share = size["num_key_value_heads"] / size["num_attention_heads"]
    layer = hidden * hidden * (2 + 2 * share) + 3 * hidden * inner
    matrices = size["num_hidden_layers"] * layer + size["vocab_size"] * hidden
    return int(matrices * {"float32": 4, "bfloat16": 2, "int8": 1, "int4": 0.5625}[precision])


def measure_ctranslate2(shape: str, kind: str, options: argparse.Namespace) -> Figures:
    """Tokens a second of its own batches."""
    import ctranslate2

    generator = ctranslate2.Generator(
        str(_ctranslate2_folder(shape)), device="cpu", compute_type=kind, intra_threads=options.threads
    )
    figures = Figures()
    for streams in STREAMS:
        rates = []
        for seed in range(options.rounds + 1):
            prompts = [[f"t{token}" for token in prompt(i, seed)] for i in range(streams)]
            begin = time.perf_counter()
            results = generator.generate_batch(
                prompts, max_length=TOKENS, min_length=TOKENS, sampling_topk=1, include_prompt_in_result=False
            )
            tokens = sum(len(result.sequences_ids[0]) for result in results)
            rates.append(tokens / (time.perf_counter() - begin))
        figures.rates[streams] = rates[1:]
        print(f"{shape}, CTranslate2, {kind}, {streams}: {figures.rate(streams):,.0f} tokens/s", file=sys.stderr)
    return figures


def _ctranslate2_folder(shape: str) -> Path:
    """The model as CTranslate2 wants it; its tokens are t0, t1, ..."""
    target = FOLDERS / f"{shape}-ctranslate2"
    if (target / "model.bin").is_file():
        return target
    from ctranslate2.converters import TransformersConverter
    from tokenizers import Tokenizer, models
    from transformers import PreTrainedTokenizerFast

    folder = folder_of(shape)
    vocabulary = {f"t{token}": token for token in range(SHAPES[shape]["vocab_size"])}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="t0"))
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, unk_token="t0", bos_token="t1", eos_token="t2", pad_token="t0"
    ).save_pretrained(folder)
    TransformersConverter(str(folder)).convert(str(target), force=True)
    return target


Results = dict[tuple[str, str, str], Figures]
"""(shape, engine, precision)"""


def run(options: argparse.Namespace) -> Results:
    """Everything."""
    results: Results = {}
    for shape in options.shapes:
        for precision in GENERATOR_PRECISIONS:
            results[shape, "ours", precision] = measure_ours(shape, precision, options)
        for kind in PEERS:
            results[shape, "CTranslate2", kind] = measure_ctranslate2(shape, kind, options)
    return results


def tables(results: Results) -> str:
    """Tokens a second, and what else there is of ours."""
    rates = [
        [shape, engine, precision, *(f"{figures.rate(streams):,.0f}" for streams in STREAMS)]
        for (shape, engine, precision), figures in results.items()
    ]
    others = [
        [
            shape,
            precision,
            f"{figures.first_s * 1e3:,.0f}",
            f"{figures.again_s * 1e3:,.1f}",
            f"{figures.usual_gap_s * 1e3:,.1f}",
            f"{figures.largest_gap_s * 1e3:,.1f}",
            f"{figures.memory:,.0f}",
            f"{figures.after:,.0f}",
            f"{figures.weights:,.0f}",
        ]
        for (shape, engine, precision), figures in results.items()
        if engine == "ours"
    ]
    head = (f"{LONG} tokens: ms", "again", "gap: ms", "beside a prompt", "MiB to load", "after", "of weights")
    return "\n\n".join(
        [
            markdown(("tokens/s", "", "", *(f"{streams} texts" for streams in STREAMS)), rates, 3),
            markdown(("ours", "", *head), others, 2),
        ]
    )


def checks(results: Results) -> list[Check]:
    """What is asked, in every precision that the peer has too."""
    verdict = []
    for (shape, engine, precision), figures in results.items():
        if engine != "ours":
            continue
        name = f"{shape}, {precision}"
        peer = results.get((shape, "CTranslate2", precision))
        for streams, least in LEAST_RATIO.items() if peer else ():
            assert peer is not None
            ratio = figures.rate(streams) / peer.rate(streams)
            what = f"{name}: {streams} texts against CTranslate2"
            verdict.append(Check(what, f">= {least:g} times", f"{ratio:.2f} times", ratio >= least))
        again = figures.again_s / figures.first_s
        verdict.append(
            Check(f"{name}: a prompt that is known", f"<= {MOST_AGAIN:.0%}", f"{again:.1%}", again <= MOST_AGAIN)
        )
        gap = figures.largest_gap_s / figures.usual_gap_s
        verdict.append(
            Check(f"{name}: gap beside a prompt", f"<= {MOST_GAP:g} times", f"{gap:.1f} times", gap <= MOST_GAP)
        )
        if precision == "int8":
            grown = figures.memory / figures.weights
            what = f"{name}: memory of its weights"
            verdict.append(Check(what, f"<= {MOST_MEMORY:g} times", f"{grown:.2f} times", grown <= MOST_MEMORY))
    return verdict


def parse_arguments(arguments: Sequence[str] | None) -> argparse.Namespace:
    """The options; ends the program when they are wrong."""
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        prog="python -m benchmarks.language_models",
        epilog="The exit status is 1 when something that is asked for does not hold.",
    )
    add = parser.add_argument
    add("--shapes", nargs="+", choices=SHAPES, default=["135m", "500m"], help="default: 135m 500m")
    add("--threads", type=number(int, 1, 256), default=2, help="of each engine; default: %(default)s")
    add("--rounds", type=number(int, 1, 100), default=3, help="the tables show medians; default: %(default)s")
    add("--quick", action="store_true", help="one round of the smaller shape")
    options = parser.parse_args(arguments)
    if options.quick:
        options.rounds, options.shapes = 1, options.shapes[:1]
    return options


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the tables; the exit status, as --help gives it."""
    options = parse_arguments(arguments)
    results = run(options)
    verdict = checks(results)
    print(f"Llamas of random weights, {TOKENS} tokens after {PROMPT}, {options.threads} threads; {machine_line()}\n")
    print(f"{tables(results)}\n\n{check_table(verdict)}")
    return 0 if all(check.holds for check in verdict) else 1


if __name__ == "__main__":
    sys.exit(main())
