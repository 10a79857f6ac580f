"""Folders as GPTQ and AWQ leave them, written by their published layouts: their libraries need a card.

GPTQ, as AutoGPTQ and GPTQModel save it: qweight int32 [in / 8, out], each word with eight neighbouring inputs of an
output, the first in the lowest bits; qzeros int32 [groups, out / 8], with neighbouring outputs in a word, less one
("gptq") or as they are ("gptq_v2"); scales float16 [groups, out]; g_idx int32 [in], the group of each input, which are
the inputs in the order of their activations' sizes where desc_act is true.

AWQ, as AutoAWQ's GEMM version saves it: qweight int32 [in, out / 8] and qzeros int32 [groups, out / 8], each word with
eight neighbouring outputs, from the lowest bits on those at 0, 2, 4, 6, 1, 3, 5 and 7; scales float16 [groups, out].
"""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from safetensors.numpy import load_file, save_file

from tests.support.folders import forms

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from numpy.typing import NDArray

AWQ_ORDER = (0, 2, 4, 6, 1, 3, 5, 7)


class Form(NamedTuple):
    """How a folder is quantised."""

    method: str
    """gptq or awq."""
    group_size: int
    """-1: all inputs of an output together."""
    bits: int = 4
    symmetric: bool = True
    """Every zero is in the middle."""
    act_order: bool = False
    """Groups are of inputs that stand anywhere."""
    checkpoint_format: str | None = "gptq"

    @property
    def config(self) -> dict[str, Any]:
        """quantization_config."""
        common = {"quant_method": self.method, "bits": self.bits, "group_size": self.group_size}
        if self.method == "awq":
            return common | {"zero_point": True, "version": "gemm", "modules_to_not_convert": None}
        more = {"desc_act": self.act_order, "sym": self.symmetric, "damp_percent": 0.01, "true_sequential": True}
        return common | more | ({} if self.checkpoint_format is None else {"checkpoint_format": self.checkpoint_format})


class Parts(NamedTuple):
    """A matrix [out, in] in whole numbers."""

    numbers: NDArray[np.int64]
    """[in, out]"""
    zeros: NDArray[np.int64]
    """[groups, out]"""
    scales: NDArray[np.float16]
    """[groups, out]"""
    groups: NDArray[np.int32]
    """[in]"""

    @property
    def floats(self) -> NDArray[np.float32]:
        """What it stands for, [out, in]."""
        of_input = self.scales.astype(np.float32)[self.groups]
        return np.ascontiguousarray((of_input * (self.numbers - self.zeros[self.groups]).astype(np.float32)).T)


def write(folder: Path, target: Path, form: Form, reference: Path) -> None:
    """The folder's model as `form` has it; `reference`: the folder with the floats that its whole numbers stand for."""
    shutil.copytree(folder, target)
    shutil.copytree(folder, reference)
    tensors = load_file(folder / "model.safetensors")
    quantised: dict[str, NDArray[Any]] = {}
    floats: dict[str, NDArray[Any]] = {}
    for name, tensor in tensors.items():
        if not name.endswith("_proj.weight"):
            quantised[name] = floats[name] = tensor
            continue
        parts = quantise(tensor, form, seed=len(quantised))
        floats[name] = parts.floats
        quantised |= {f"{name.removesuffix('.weight')}.{end}": part for end, part in packed(parts, form).items()}
    save_file(quantised, target / "model.safetensors", metadata={"format": "pt"})
    save_file(floats, reference / "model.safetensors", metadata={"format": "pt"})
    config = forms.read_json(folder / "config.json")
    forms.write_json(target / "config.json", config | {"quantization_config": form.config})


def quantise(weight: NDArray[np.float32], form: Form, seed: int) -> Parts:
    """To the nearest whole numbers; how far they are does not matter here."""
    outputs, inputs = weight.shape
    size = inputs if form.group_size == -1 else form.group_size
    groups = (np.arange(inputs) // size).astype(np.int32)
    if form.act_order:
        groups = np.random.default_rng(seed).permutation(groups).astype(np.int32)
    most, middle = 2**form.bits - 1, 2 ** (form.bits - 1)
    zeros = np.full((groups.max() + 1, outputs), middle)
    scales = np.empty(zeros.shape, np.float16)
    numbers = np.empty((inputs, outputs), np.int64)
    for group in range(len(zeros)):
        part = weight[:, groups == group]
        low, high = np.minimum(part.min(1), 0), np.maximum(part.max(1), 0)
        if form.symmetric:
            scales[group] = np.maximum(high, -low) / (middle - 1)
        else:
            scales[group] = (high - low) / most
            zeros[group] = np.round(-low / scales[group].astype(np.float32)).clip(0, most)
        scale = scales[group].astype(np.float32)[:, None]
        numbers[groups == group] = (np.round(part / scale) + zeros[group][:, None]).clip(0, most).T
    return Parts(numbers, zeros, scales, groups)


def packed(parts: Parts, form: Form) -> Mapping[str, NDArray[Any]]:
    """The tensors of the file, by the ends of their names."""
    if form.method == "awq":
        return {
            "qweight": _words(_interleaved(parts.numbers), 4),
            "qzeros": _words(_interleaved(parts.zeros), 4),
            "scales": parts.scales,
        }
    stored = (parts.zeros - (form.checkpoint_format != "gptq_v2")) % 2**form.bits
    return {
        "qweight": np.ascontiguousarray(_words(np.ascontiguousarray(parts.numbers.T), form.bits).T),
        "qzeros": _words(stored, form.bits),
        "scales": parts.scales,
        "g_idx": parts.groups,
    }


def _interleaved(numbers: NDArray[np.int64]) -> NDArray[np.int64]:
    eights = numbers.reshape(len(numbers), -1, 8)
    return eights[:, :, AWQ_ORDER].reshape(numbers.shape)


def _words(numbers: NDArray[np.int64], bits: int) -> NDArray[np.int32]:
    """Neighbours of a row in words of 32 bits, the first in the lowest."""
    in_word = 32 // bits
    shifted = numbers.reshape(len(numbers), -1, in_word) << (bits * np.arange(in_word))
    return shifted.sum(2).astype(np.uint32).view(np.int32)
