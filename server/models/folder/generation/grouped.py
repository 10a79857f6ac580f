"""Folders whose matrices GPTQ or AWQ has made whole numbers of a few bits: what config.json says, and their parts.

A matrix NAME.weight lies there as NAME.qweight with the numbers, NAME.qzeros and NAME.scales with what each group of
inputs is measured by, and of GPTQ NAME.g_idx, each input's group. ext/weights/weight.h says how they are packed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from server.errors import ModelError
from server.models.folder.weights import Grouped, Weight
from server.models.refusals import quantized

if TYPE_CHECKING:
    from server.models.folder.weights import Weights

_NUMBERS, _ZEROS, _SCALES, _GROUPS = ".qweight", ".qzeros", ".scales", ".g_idx"
_WORD = 32  # bits


class Grouping(NamedTuple):
    """How all matrices of a folder were quantised."""

    method: str
    """GPTQ or AWQ, in capitals."""
    bits: int
    group_size: int
    """Inputs that share a scale; -1: all."""
    zero_shift: int
    """Is added to each zero."""
    interleaved: bool
    """As AWQ packs them."""


def grouping_of(config: dict[str, Any]) -> Grouping | None:
    """What config.json says; None: its weights are floats. Raises ModelError for a form that is not read."""
    about = config.get("quantization_config")
    if about is None:
        return None
    if not isinstance(about, dict):
        raise ModelError(f"config.json: quantization_config: expected an object, got {about!r}")
    readers = {"gptq": _gptq, "awq": _awq}
    reader = readers.get(str(about.get("quant_method")))
    if reader is None:
        raise ModelError(quantized(about))
    size = about.get("group_size")
    if type(size) is not int or not (size == -1 or 1 <= size < 1 << 24):
        raise ModelError(f"config.json: quantization_config: group_size: expected -1, or a size, got {size!r}")
    return reader(about, size)


def _gptq(about: dict[str, Any], group_size: int) -> Grouping:
    form = about.get("checkpoint_format") or about.get("format") or "gptq"
    _require(about, "bits", (4, 8))
    if about.get("is_marlin_format"):
        form = "marlin"
    if form not in ("gptq", "gptq_v2"):
        raise ModelError(quantized(about, f"checkpoint_format is {form!r}"))
    if about.get("dynamic"):
        raise ModelError(quantized(about, "dynamic says otherwise of some layers"))
    return Grouping("GPTQ", about["bits"], group_size, zero_shift=int(form == "gptq"), interleaved=False)


def _awq(about: dict[str, Any], group_size: int) -> Grouping:
    _require(about, "bits", (4,))
    _require(about, "zero_point", (True, None))
    version = str(about.get("version", "gemm")).lower()
    if version != "gemm":
        raise ModelError(quantized(about, f"version is {version!r}"))
    if str(about.get("backend", "autoawq")).lower() == "llm-awq":
        raise ModelError(quantized(about, "backend is 'llm-awq'"))
    return Grouping("AWQ", about["bits"], group_size, zero_shift=0, interleaved=True)


def _require(about: dict[str, Any], name: str, served: tuple[Any, ...]) -> None:
    value = about.get(name)
    if value not in served:
        raise ModelError(quantized(about, f"{name} is {value!r}"))


def gather(weights: Weights, grouping: Grouping) -> None:
    """Put a matrix in the place of its parts. Raises ModelError where they do not go together."""
    names = [name.removesuffix(_NUMBERS) for name in weights.tensors if name.endswith(_NUMBERS)]
    if not names:
        raise ModelError(
            f"config.json says that {grouping.method} has quantised the weights, and there is no tensor NAME{_NUMBERS}"
        )
    for name in names:
        weights.tensors[f"{name}.weight"] = _matrix(weights.tensors, name, grouping)
        for end in (_NUMBERS, _ZEROS, _SCALES, _GROUPS):
            weights.tensors.pop(name + end, None)


def _matrix(tensors: dict[str, Weight], name: str, grouping: Grouping) -> Weight:
    in_word = _WORD // grouping.bits
    numbers = tensors[name + _NUMBERS]
    if len(numbers.shape) != 2 or f"{name}.weight" in tensors:
        raise ModelError(f"weight {name}{_NUMBERS} is no matrix, or {name}.weight is there too")
    rows, columns = numbers.shape
    inputs, outputs = (rows, columns * in_word) if grouping.interleaved else (rows * in_word, columns)
    size = inputs if grouping.group_size == -1 else grouping.group_size
    groups = -(-inputs // size)
    _part(tensors, name + _NUMBERS, [rows, columns], "I32")
    of_groups = _part(tensors, name + _GROUPS, [inputs], "I32") if name + _GROUPS in tensors else None
    return Weight(
        numbers.file,
        grouping.method,
        [outputs, inputs],
        numbers.offset,
        numbers.size,
        grouped=Grouped(
            zeros=_part(tensors, name + _ZEROS, [groups, -(-outputs // in_word)], "I32"),
            scales=_part(tensors, name + _SCALES, [groups, outputs]),
            groups=of_groups,
            group_size=max(size, 1),
            bits=grouping.bits,
            zero_shift=grouping.zero_shift,
            interleaved=grouping.interleaved,
        ),
    )


def _part(tensors: dict[str, Weight], name: str, shape: list[int], dtype: str | None = None) -> Weight:
    part = tensors.get(name)
    if part is None:
        raise ModelError(f"there is no weight {name}, which belongs to the quantised ones beside it")
    if part.shape != shape or dtype not in (None, part.dtype):
        expected = f"{shape}" if dtype is None else f"{dtype} and {shape}"
        raise ModelError(
            f"weight {name} is of type {part.dtype} and shape {part.shape}; by quantization_config and the tensors"
            f" beside it it must be of {expected}"
        )
    return part
