"""LoRA adapters as peft saves them: adapter_config.json and adapter_model.safetensors, for a base model elsewhere.

What an adapter adds to a matrix is merged when the matrix is read (ext/transformer/weight_reader.h).
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from server.errors import ModelError
from server.models.folder.weights import Weight, read_safetensors
from server.models.formats import ADAPTER_JSON, read_json
from server.models.refusals import merge_help

if TYPE_CHECKING:
    from server.models.folder.weights import Weights

WEIGHTS = "adapter_model.safetensors"

_PREFIX = "base_model.model."  # peft's, before the base model's names
_DOWN, _UP = ".lora_A.weight", ".lora_B.weight"

# Fields of adapter_config.json that change the answer, and the values that are served.
_SERVED: dict[str, tuple[Any, ...]] = {
    "peft_type": ("LORA",),
    "task_type": ("CAUSAL_LM",),
    "bias": ("none",),
    "use_dora": (False,),
    "use_qalora": (False,),
    "lora_bias": (False,),
    "alpha_pattern": ({},),
    "layer_replication": (),
    "target_parameters": ([],),
    "trainable_token_indices": (),
    "arrow_config": (),
    "alora_invocation_tokens": (),
    "monteclora_config": (),
    "lora_ga_config": (),
}


class Added(NamedTuple):
    """What is added to a matrix: scale times up times down; as the engine takes it."""

    down: Weight
    up: Weight
    scale: float
    turned: bool
    """The matrix is [in, out]."""


def base_of(folder: Path) -> Path:
    """The folder of the model that the adapter is for. Raises ModelError when it is not on this machine."""
    name = read_json(folder / ADAPTER_JSON).get("base_model_name_or_path")
    if not isinstance(name, str) or not name:
        raise ModelError(
            f"{ADAPTER_JSON}: base_model_name_or_path does not say for which model the adapter is; {merge_help(folder)}"
        )
    for path in (folder / name, Path(name)):
        if path.is_dir():
            return path
    raise ModelError(
        f"{ADAPTER_JSON}: base_model_name_or_path is {name!r}, and there is no such folder: download the model that the"
        f" adapter is for (scripts/download_model.py) and write its folder there, or {merge_help(folder)}"
    )


def add(folder: Path, weights: Weights) -> dict[str, Added]:
    """Name of a weight -> what is added to it. Weights that were trained as a whole take the place of the base model's.

    `weights`: the base model's. Raises ModelError, OSError.
    """
    config = read_json(folder / ADAPTER_JSON)
    _require_served(config, folder)
    file = folder / WEIGHTS
    if not file.is_file():
        raise ModelError(f"there is no {WEIGHTS} beside {ADAPTER_JSON}: save the adapter by peft's save_pretrained")
    number = len(weights.files)
    weights.files.append(str(file))
    tensors = {name: Weight(number, *tensor) for name, tensor in read_safetensors(file).items()}
    added = {}
    for name, place in tensors.items():
        if name.endswith(_UP) and name.removesuffix(_UP) + _DOWN in tensors:
            continue
        if not name.endswith(_DOWN):
            weights.tensors[_base_name(name, "", weights)] = place
            continue
        up = tensors.get(name.removesuffix(_DOWN) + _UP)
        if up is None:
            raise ModelError(f"{WEIGHTS}: there is {name} without its {_UP.removeprefix('.')}")
        turned = config.get("fan_in_fan_out") is True
        target = _base_name(name.removesuffix(_DOWN), ".weight", weights)
        added[target] = Added(place, up, _scale(config, place, name), turned)
    if not added:
        raise ModelError(f"{WEIGHTS} adds nothing: it has no {_DOWN.removeprefix('.')}")
    return added


def trains_head(folder: Path) -> bool:
    """Whether the output's matrix is the adapter's own, where it may have been that of the embeddings before."""
    return any(name.endswith("lm_head.weight") for name in read_safetensors(folder / WEIGHTS))


def _require_served(config: dict[str, Any], folder: Path) -> None:
    for name, values in _SERVED.items():
        value = config.get(name)
        if value is not None and value not in values:
            raise ModelError(f"{ADAPTER_JSON}: {name} is {value!r}, which is not served: {merge_help(folder)}")


def _scale(config: dict[str, Any], down: Weight, name: str) -> float:
    alpha = config.get("lora_alpha")
    if not isinstance(alpha, int | float) or isinstance(alpha, bool):
        raise ModelError(f"{ADAPTER_JSON}: lora_alpha: expected a number, got {alpha!r}")
    if len(down.shape) != 2 or down.shape[0] < 1:
        raise ModelError(f"{WEIGHTS}: {name} is no matrix")
    rank = down.shape[0]
    return float(alpha) / (math.sqrt(rank) if config.get("use_rslora") is True else rank)


def _base_name(name: str, end: str, weights: Weights) -> str:
    """The base model's own name of it. Some are saved without the name of the model within its task's."""
    alone = name.removeprefix(_PREFIX) + end
    for each in (alone, alone.partition(".")[2]):
        if each in weights.tensors:
            return each
    if alone == "lm_head.weight":  # tied before, trained on its own now
        return alone
    raise ModelError(f"{WEIGHTS}: {name} is for a weight that the base model has not")
