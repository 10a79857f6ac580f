"""The tensors of a GGUF file by the names that save_pretrained gives them, with what differs in their numbers."""

from __future__ import annotations

import re
from array import array
from typing import TYPE_CHECKING

from server.errors import ModelError
from server.models.folder.generation.gguf.config import ROPE_FACTORS
from server.models.folder.weights import Weight, Weights

if TYPE_CHECKING:
    from pathlib import Path

    from server.models.folder.dtypes import Tensor
    from server.models.folder.generation.gguf.config import Architecture
    from server.models.folder.generation.gguf.header import GgufFile

_BLOCK = re.compile(r"blk\.(\d+)\.(.+)\.(weight|bias)")
_EXPERTS = re.compile(r"blk\.(\d+)\.(ffn_(?:gate|up|down)_exps)\.weight")

_ALONE = {
    "token_embd.weight": "model.embed_tokens.weight",
    "output_norm.weight": "model.norm.weight",
    "output.weight": "lm_head.weight",
}
_IN_BLOCK = {
    "attn_norm": "input_layernorm",
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_qkv": "self_attn.qkv_proj",
    "attn_output": "self_attn.o_proj",
    "attn_q_norm": "self_attn.q_norm",
    "attn_k_norm": "self_attn.k_norm",
    "ffn_norm": "post_attention_layernorm",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
}
_OF_EXPERTS = {"ffn_gate_exps": "gate_proj", "ffn_up_exps": "up_proj", "ffn_down_exps": "down_proj"}
_ROUTER = {"ffn_gate_inp": "mlp.gate"}
_OF_GEMMA = {
    "post_attention_norm": "post_attention_layernorm",
    "ffn_norm": "pre_feedforward_layernorm",
    "post_ffw_norm": "post_feedforward_layernorm",
}


def weights_of(file: GgufFile, path: Path, architecture: Architecture, heads: int, kv_heads: int) -> Weights:
    """As the engine takes them. Raises ModelError for a tensor that is not known."""
    weights = Weights([str(path)])
    for name, tensor in file.tensors.items():
        if name == ROPE_FACTORS:
            continue
        if architecture.of_experts and (found := _EXPERTS.fullmatch(name)):
            weights.tensors |= _experts(name, tensor, f"model.layers.{found[1]}.mlp.experts", _OF_EXPERTS[found[2]])
            continue
        own = _name(name, architecture)
        if own is None:
            raise ModelError(f"{file.name}: the tensor {name} is not known here")
        paired = {"attn_q": heads, "attn_k": kv_heads}.get(name.split(".")[-2], 0) if architecture.pairs_rows else 0
        shift = -1.0 if architecture.norms_from_one and name.endswith("norm.weight") else 0.0
        weights.tensors[own] = Weight(0, *tensor, paired, shift)
    return weights


def _experts(name: str, tensor: Tensor, prefix: str, part: str) -> dict[str, Weight]:
    """Each expert's matrix, [out, in]; the file has them one after the other, [experts, out, in]."""
    if len(tensor.shape) != 3 or tensor.shape[0] < 1:
        raise ModelError(f"the tensor {name} is of shape {tensor.shape}; expected a matrix for each expert")
    count, *shape = tensor.shape
    size = tensor.size // count
    return {
        f"{prefix}.{expert}.{part}.weight": Weight(0, tensor.dtype, shape, tensor.offset + expert * size, size)
        for expert in range(count)
    }


def _name(name: str, architecture: Architecture) -> str | None:
    if name in _ALONE:
        return _ALONE[name]
    block = _BLOCK.fullmatch(name)
    if block is None:
        return None
    number, part, kind = block.groups()
    further = _OF_GEMMA if architecture.norms_from_one else _ROUTER if architecture.of_experts else {}
    known = _IN_BLOCK | further
    if architecture.model_type == "phi3" and part == "ffn_up":
        return f"model.layers.{number}.mlp.gate_up_proj.{kind}"
    return f"model.layers.{number}.{known[part]}.{kind}" if part in known else None


def rope_factors(file: GgufFile, path: Path) -> list[float]:
    """The numbers of ROPE_FACTORS; none where it is not there. Raises ModelError, OSError."""
    tensor = file.tensors.get(ROPE_FACTORS)
    if tensor is None:
        return []
    if tensor.dtype != "F32" or tensor.size > 1 << 16:
        raise ModelError(f"{file.name}: {ROPE_FACTORS} is of type {tensor.dtype} and shape {tensor.shape}")
    with path.open("rb") as content:
        content.seek(tensor.offset)
        return array("f", content.read(tensor.size)).tolist()
