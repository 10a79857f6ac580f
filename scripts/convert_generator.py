#!/usr/bin/env python3
"""Convert a GPT-2 folder of Hugging Face's to one that the server loads fastest, in the precision asked for.

    python scripts/convert_generator.py local_model/gpt2 models/gpt2 --precision bfloat16

FOLDER holds config.json, the weights (*.safetensors or pytorch_model.bin) and the tokenizer (tokenizer.json, or
vocab.json and merges.txt); or these in the folders FOLDER/model and FOLDER/tokenizer. The server also loads it as it
is, in float32. In bfloat16 and int8 the products are made with the processor's instructions for them, and the folder is
a half and a quarter as large; how far the logits then are from float32's is measured, printed and written down.
"""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import Tensor

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from ext import _generator
from process.files import replacing
from server.errors import ModelError
from server.models import formats, gpt2_folder

if TYPE_CHECKING:
    from collections.abc import Sequence

SAMPLE = Path(__file__).parent / "data" / "harbour.txt"
_EMBEDDINGS = ("wte.weight", "wpe.weight")
_OUTPUT = "lm_head.weight"
_MOST_SAMPLED = 512
_DTYPES = {"F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16}


@dataclass(frozen=True)
class Difference:
    """Between the logits of two precisions, over the tokens of a sample text."""

    tokens: int
    same_likeliest: float
    """Share of the tokens after which both think the same token likeliest."""
    divergence: float
    """Mean Kullback-Leibler divergence of the next token's distribution, in nats."""


def as_tensors(weights: dict[str, gpt2_folder.Weight]) -> dict[str, Tensor]:
    """The weights in float32. Raises ModelError."""
    tensors = {}
    for name, (dtype, shape, content) in weights.items():
        if dtype not in _DTYPES:
            raise ModelError(f"weight {name} is of type {dtype}: this folder has been converted already")
        tensors[name] = torch.frombuffer(bytearray(content), dtype=_DTYPES[dtype]).reshape(shape).float()
    return tensors


def converted(weights: dict[str, Tensor], precision: str) -> dict[str, Tensor]:
    """The weights as the server's engine takes them in this precision (ext/architectures/gpt2_model.h)."""
    if precision == "float32":
        return {name: weight.contiguous() for name, weight in weights.items()}
    result = {}
    for name, weight in weights.items():
        if weight.dim() != 2:
            result[name] = weight
        elif precision == "bfloat16" or name in _EMBEDDINGS:
            result[name] = weight.bfloat16()
        else:
            result[name], result[f"{name}_scale"] = quantised(weight)
    if precision == "int8":
        result[_OUTPUT], result[f"{_OUTPUT}_scale"] = quantised(weights["wte.weight"].t())
    return {name: weight.contiguous() for name, weight in result.items()}


def quantised(weight: Tensor) -> tuple[Tensor, Tensor]:
    """float32 [in, out] as int8 of the same shape times a factor for each column, float32 [out]."""
    scale = weight.abs().amax(0).clamp(min=1e-30) / 127
    return (weight / scale).round().to(torch.int8), scale


def logits(folder: gpt2_folder.Gpt2Folder, precision: str, tokens: Sequence[int]) -> Tensor:
    """Of the server's own engine, after each token: float32 [tokens, vocabulary]."""
    content = _generator.read_logits(folder.sizes, folder.weights, list(tokens), precision=precision)
    return torch.frombuffer(bytearray(content), dtype=torch.float32).reshape(len(tokens), -1)


def difference(exact: Tensor, other: Tensor) -> Difference:
    """Of logits [tokens, vocabulary]."""
    same = (exact.argmax(1) == other.argmax(1)).float().mean().item()
    logs, other_logs = exact.log_softmax(1), other.log_softmax(1)
    return Difference(len(exact), round(same, 4), float(np.float32((logs.exp() * (logs - other_logs)).sum(1).mean())))


def convert(source: Path, target: Path, precision: str) -> Difference:
    """Write `target`, whole or not at all; what the precision costs. Raises ModelError, OSError, SafetensorError."""
    folder = gpt2_folder.read(source)
    exact_weights = as_tensors(folder.weights)
    tokens = folder.tokenizer.encode(SAMPLE.read_text(encoding="utf-8")).ids
    tokens = tokens[: min(_MOST_SAMPLED, folder.sizes["context"])]
    try:
        exact = logits(folder, "float32", tokens)
        with replacing(target) as made:
            made.mkdir()
            save_file(converted(exact_weights, precision), made / "model.safetensors")
            folder.weights = gpt2_folder.read_weights(made)
            found = difference(exact, logits(folder, precision, tokens))
            _write_descriptions(folder, made, precision, found)
            _check_replaceable(target)
    except ValueError as error:  # sizes that do not fit the weights
        raise ModelError(str(error)) from None
    return found


def _write_descriptions(folder: gpt2_folder.Gpt2Folder, made: Path, precision: str, found: Difference) -> None:
    config = folder.config | {"eos_token_id": folder.end_tokens or None}
    (made / "config.json").write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
    (made / "tokenizer.json").write_text(folder.tokenizer.to_str(pretty=True), encoding="utf-8")
    marker = {"format": gpt2_folder.FORMAT, "precision": precision, "measured": asdict(found)}
    (made / formats.GENERATOR_JSON).write_text(json.dumps(marker, indent=2) + "\n", encoding="utf-8")


def _check_replaceable(target: Path) -> None:
    """What is there already must be one of this script's. Raises ModelError."""
    if target.exists() and not (target / formats.GENERATOR_JSON).is_file() and any(target.iterdir()):
        raise ModelError(f"{target} is there already, and was not made by this script")


def parse_arguments(arguments: Sequence[str] | None) -> argparse.Namespace:
    """The options; ends the program when they are wrong."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, metavar="FOLDER", help="a GPT-2 folder of Hugging Face's")
    parser.add_argument("out", type=Path, metavar="OUT", help="the folder to write")
    parser.add_argument("--precision", choices=gpt2_folder.PRECISIONS, default="float32", help="default: %(default)s")
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None) -> int:
    """Convert and say what it cost; the exit status."""
    options = parse_arguments(arguments)
    if not options.folder.is_dir():
        print(f"{options.folder}: no such folder", file=sys.stderr)
        return 1
    try:
        found = convert(options.folder, options.out, options.precision)
    except (ModelError, OSError, SafetensorError) as error:  # the last where weights cannot be written
        print(f"{options.folder}: {error}", file=sys.stderr)
        return 1
    size = (options.out / "model.safetensors").stat().st_size / 1e6
    print(
        f"{options.out}: {options.precision}, {size:,.1f} MB; over {found.tokens} tokens the likeliest next one is"
        f" float32's after {found.same_likeliest:.1%} of them, mean divergence {found.divergence:.2g} nats"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
