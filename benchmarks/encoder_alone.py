"""An encoder without a server: what the processor could do, and what sentence-transformers does in-process.

A program of its own, with torch's threads as they are by default. It prints JSON:

    {"gflops": {"MKL": {"1": ..., "2": ...}, "oneDNN": ...}, "flops": [...], "weights_bytes": ...,
     "read_bytes_per_s": ..., "tokens_per_text": ..., "texts_per_s": ...}

The limit is arithmetic: the products of matrices that the model needs for the texts, at the rate that one large product
reaches here, by the library that is quicker. A text that comes alone needs all weights from memory besides.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from sentence_transformers import SentenceTransformer

if TYPE_CHECKING:
    from collections.abc import Callable

SIZE = 1536  # of the large matrices
SIZE_ON_CARD = 8192
BATCH = 32


def rate(work: Callable[[], object], seconds: float) -> float:
    """Calls a second, over at least so many seconds, after one call."""
    work()
    calls, begin = 0, time.perf_counter()
    while (elapsed := time.perf_counter() - begin) < seconds:
        work()
        calls += 1
    return calls / elapsed


def products_on_card(device: str) -> dict[str, Callable[[], object]]:
    """A product of large matrices, by its precision."""

    def product(type_: torch.dtype) -> Callable[[], object]:
        a, b = torch.randn(2, SIZE_ON_CARD, SIZE_ON_CARD, device=device).to(type_)

        def multiply() -> None:
            _ = a @ b
            torch.cuda.synchronize(device)

        return multiply

    return {"cuBLAS": product(torch.float32), "cuBLAS in bfloat16": product(torch.bfloat16)}


def products() -> dict[str, Callable[[], object]]:
    """A product of large matrices in float32, by each library: oneDNN's with one that is in its own order."""
    a, b = torch.randn(SIZE, SIZE), torch.randn(SIZE, SIZE)
    packed = torch.ops.mkldnn._reorder_linear_weight(b, SIZE)
    return {
        "MKL": lambda: a @ b,
        "oneDNN": lambda: torch.ops.mkldnn._linear_pointwise(a, packed, None, "none", [], ""),
    }


def gflops(seconds: float, device: str) -> dict[str, dict[str, float]]:
    """library -> threads -> rate: 2 n^3 operations for a product."""
    if device != "cpu":
        operations = 2 * SIZE_ON_CARD**3
        on_card = products_on_card(device)
        return {library: {"1": rate(product, seconds) * operations / 1e9} for library, product in on_card.items()}
    most = torch.get_num_threads()
    rates: dict[str, dict[str, float]] = {library: {} for library in products()}
    for threads in sorted({1, most}):
        torch.set_num_threads(threads)
        for library, product in products().items():
            rates[library][str(threads)] = rate(product, seconds) * 2 * SIZE**3 / 1e9
    return rates


def weights_of_layer(hidden: int, intermediate: int) -> int:
    """Four matrices of hidden x hidden, two of hidden x intermediate."""
    return 4 * hidden * hidden + 2 * hidden * intermediate


def flops(tokens: int, layers: int, hidden: int, intermediate: int) -> float:
    """Of one text: in every layer a product with each matrix, and two of tokens x tokens x hidden in the attention."""
    return layers * (2 * tokens * weights_of_layer(hidden, intermediate) + 4 * tokens * tokens * hidden)


def read_bytes_per_s(count: int, seconds: float, device: str) -> float:
    """At which so many bytes come from memory, with all threads."""
    numbers = torch.ones(count // 4, device=device)
    return rate(lambda: numbers.sum().item(), seconds) * count


def measure(folder: str, texts: list[str], seconds: float, device: str) -> dict[str, object]:
    """What is printed."""
    rates = gflops(seconds / 4, device)
    model = SentenceTransformer(folder, device=device, local_files_only=True)
    transformer: Any = model[0]
    config = transformer.auto_model.config
    longest: int = transformer.max_seq_length
    lengths = [min(len(ids), longest) for ids in model.tokenizer(texts)["input_ids"]]
    sizes = (config.num_hidden_layers, config.hidden_size, config.intermediate_size)
    encoded = rate(lambda: model.encode(texts, batch_size=BATCH, show_progress_bar=False), seconds) * len(texts)
    weights_bytes = 4 * sizes[0] * weights_of_layer(*sizes[1:])
    return {
        "gflops": rates,
        "flops": [flops(length, *sizes) for length in lengths],
        "weights_bytes": weights_bytes,
        "read_bytes_per_s": read_bytes_per_s(weights_bytes, seconds / 4, device),
        "tokens_per_text": sum(lengths) / len(lengths),
        "texts_per_s": encoded,
    }


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.encoder_alone", description="An encoder in-process.")
    parser.add_argument("folder", help="what sentence-transformers saved")
    parser.add_argument("--texts", type=Path, required=True, help="one text a line")
    parser.add_argument("--seconds", type=float, default=2.0, help="time for each figure (default: %(default)s)")
    parser.add_argument("--device", default="cpu", help="cpu, cuda or cuda:N (default: %(default)s)")
    arguments = parser.parse_args()
    torch.set_grad_enabled(False)
    texts = arguments.texts.read_text(encoding="utf-8").splitlines()
    json.dump(measure(arguments.folder, texts, arguments.seconds, arguments.device), sys.stdout)


if __name__ == "__main__":
    main()
