"""GGUF files of folders that transformers saved, written with llama.cpp's own library (gguf) and by its names."""

from __future__ import annotations

import json
import shutil
from typing import TYPE_CHECKING, Any

import gguf
import numpy as np
from gguf import GGMLQuantizationType as Type
from safetensors.numpy import load_file, save_file
from tokenizers import Tokenizer

from tests.support.folders import forms

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

_ARCHITECTURES = {
    "llama": (gguf.MODEL_ARCH.LLAMA, "llama"),
    "mistral": (gguf.MODEL_ARCH.LLAMA, "llama"),
    "qwen2": (gguf.MODEL_ARCH.QWEN2, "qwen2"),
    "qwen3": (gguf.MODEL_ARCH.QWEN3, "qwen3"),
    "qwen3_moe": (gguf.MODEL_ARCH.QWEN3MOE, "qwen3moe"),
    "gemma2": (gguf.MODEL_ARCH.GEMMA2, "gemma2"),
    "gemma3_text": (gguf.MODEL_ARCH.GEMMA3, "gemma3"),
    "phi3": (gguf.MODEL_ARCH.PHI3, "phi3"),
}
_SPLITTINGS = {"llama": "llama-bpe", "qwen2": "qwen2", "qwen3": "qwen2", "qwen3_moe": "qwen2"}
_ENDS = {"bos_token": "bos", "eos_token": "eos", "unk_token": "unk", "pad_token": "pad"}

# Of the types that the library does not write: bytes of a block, and where its factors in half precision are.
_WITH_SUPER_BLOCKS = {
    Type.Q2_K: (84, (80, 82)),
    Type.Q3_K: (110, (108,)),
    Type.Q4_K: (144, (0, 2)),
    Type.Q5_K: (176, (0, 2)),
    Type.Q6_K: (210, (208,)),
}


def write(folder: Path, path: Path, kind: Type = Type.F32, reference: Path | None = None) -> None:
    """The folder's model, its matrices of type `kind`; `reference`: a copy of the folder with the same numbers."""
    config = forms.read_json(folder / "config.json")
    architecture, name = _ARCHITECTURES[config["model_type"]]
    writer = gguf.GGUFWriter(path, name)
    _add_config(writer, config)
    _add_vocabulary(writer, folder, config)
    names = gguf.get_tensor_name_map(architecture, config["num_hidden_layers"])
    tensors = load_file(folder / "model.safetensors")
    assert reference is None or not _experts(config)
    for own, tensor in _with_experts_together(tensors).items():
        target = names.get_name(own, try_suffixes=(".weight", ".bias"))
        assert target is not None, own
        written = tensor.astype(np.float32)
        if name == "llama" and own.split(".")[-2] in ("q_proj", "k_proj"):
            heads = config["num_attention_heads" if "q_proj" in own else "num_key_value_heads"]
            written = _paired(written, heads)
        if name.startswith("gemma") and own.endswith("norm.weight"):
            written = written + 1
        of_kind = kind if written.ndim > 1 else Type.F32
        data = _quantized(written, of_kind)
        writer.add_tensor(target, data, raw_dtype=of_kind)
        kept = gguf.quants.dequantize(data, of_kind).reshape(written.shape).astype(np.float32)
        if name == "llama" and own.split(".")[-2] in ("q_proj", "k_proj"):
            kept = _unpaired(kept, heads)
        tensors[own] = kept - 1 if name.startswith("gemma") and own.endswith("norm.weight") else kept
    if config.get("rope_parameters", {}).get("rope_type") == "llama3":
        writer.add_tensor("rope_freqs.weight", _llama3_factors(config), raw_dtype=Type.F32)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    if reference is not None:
        shutil.copytree(folder, reference)
        save_file(
            {own: np.ascontiguousarray(tensor) for own, tensor in tensors.items()}, reference / "model.safetensors"
        )


def _experts(config: dict[str, Any]) -> int:
    """How many a layer has."""
    return int(config.get("num_experts") or config.get("num_local_experts") or 0)


def _with_experts_together(tensors: dict[str, NDArray[np.float32]]) -> dict[str, NDArray[np.float32]]:
    """The matrices of all experts of a layer in one tensor."""
    together = {name: tensor for name, tensor in tensors.items() if ".experts." not in name}
    for name in tensors:
        before, mark, after = name.partition(".experts.0.")
        if mark:
            count = sum(each.startswith(f"{before}.experts.") and each.endswith(after) for each in tensors)
            together[f"{before}.experts.{after}"] = np.stack(
                [tensors[f"{before}.experts.{expert}.{after}"] for expert in range(count)]
            )
    return together


def _quantized(numbers: NDArray[np.float32], kind: Type) -> NDArray[Any]:
    if kind not in _WITH_SUPER_BLOCKS:
        data: NDArray[Any] = gguf.quants.quantize(numbers, kind)
        return data
    size, factors = _WITH_SUPER_BLOCKS[kind]
    draw = np.random.default_rng(numbers.shape[0] * 7 + numbers.shape[1])
    blocks = draw.integers(0, 256, (numbers.size // 256, size), np.uint8)
    for place in factors:
        scale = draw.uniform(-1e-4, 1e-4, len(blocks)).astype(np.float16)
        blocks[:, place : place + 2] = scale[:, None].view(np.uint8)
    return blocks.reshape(numbers.shape[0], -1)


def _paired(rows: NDArray[np.float32], heads: int) -> NDArray[np.float32]:
    """As llama.cpp's converter orders the rows of each head."""
    halves = rows.reshape(heads, 2, rows.shape[0] // heads // 2, *rows.shape[1:])
    return np.ascontiguousarray(halves.swapaxes(1, 2).reshape(rows.shape))


def _unpaired(rows: NDArray[np.float32], heads: int) -> NDArray[np.float32]:
    pairs = rows.reshape(heads, rows.shape[0] // heads // 2, 2, *rows.shape[1:])
    return pairs.swapaxes(1, 2).reshape(rows.shape)


def _add_config(writer: gguf.GGUFWriter, config: dict[str, Any]) -> None:
    head_size = config.get("head_dim") or config["hidden_size"] // config["num_attention_heads"]
    rope = config.get("rope_parameters") or {}
    rope = rope.get("full_attention", rope)
    writer.add_context_length(config["max_position_embeddings"])
    writer.add_embedding_length(config["hidden_size"])
    writer.add_block_count(config["num_hidden_layers"])
    writer.add_feed_forward_length(config["intermediate_size"])
    writer.add_head_count(config["num_attention_heads"])
    writer.add_head_count_kv(config["num_key_value_heads"])
    writer.add_key_length(head_size)
    writer.add_value_length(head_size)
    writer.add_rope_dimension_count(head_size)
    writer.add_layer_norm_rms_eps(config["rms_norm_eps"])
    writer.add_rope_freq_base(rope.get("rope_theta", 10_000.0))
    writer.add_vocab_size(config["vocab_size"])
    writer.add_file_type(0)
    if _experts(config):
        writer.add_expert_count(_experts(config))
        writer.add_expert_used_count(config["num_experts_per_tok"])
        writer.add_expert_feed_forward_length(config["moe_intermediate_size"])
    if config.get("sliding_window"):
        writer.add_sliding_window(config["sliding_window"])
    if config.get("attn_logit_softcapping"):
        writer.add_attn_logit_softcapping(config["attn_logit_softcapping"])
    if config.get("final_logit_softcapping"):
        writer.add_final_logit_softcapping(config["final_logit_softcapping"])
    if config["model_type"] == "gemma3_text":
        writer.add_sliding_window_pattern([kind == "sliding_attention" for kind in config["layer_types"]])
    if rope.get("rope_type") in ("linear", "yarn"):
        writer.add_rope_scaling_type(gguf.RopeScalingType(rope["rope_type"]))
        writer.add_rope_scaling_factor(rope["factor"])
        if "original_max_position_embeddings" in rope:
            writer.add_rope_scaling_orig_ctx_len(rope["original_max_position_embeddings"])


def _llama3_factors(config: dict[str, Any]) -> NDArray[np.float32]:
    """What llama.cpp's converter makes of Llama 3's scaling: one factor a pair."""
    rope = config["rope_parameters"]
    size = config.get("head_dim") or config["hidden_size"] // config["num_attention_heads"]
    lengths = 2 * np.pi * rope["rope_theta"] ** (np.arange(0, size, 2) / size)
    original = rope["original_max_position_embeddings"]
    smooth = (original / lengths - rope["low_freq_factor"]) / (rope["high_freq_factor"] - rope["low_freq_factor"])
    smooth = np.clip(smooth, 0, 1)
    return (1 / ((1 - smooth) / rope["factor"] + smooth)).astype(np.float32)


def _add_vocabulary(writer: gguf.GGUFWriter, folder: Path, config: dict[str, Any]) -> None:
    content = json.loads((folder / "tokenizer.json").read_text(encoding="utf-8"))
    settings = forms.read_json(folder / "tokenizer_config.json")
    ids: dict[str, int] = dict(content["model"]["vocab"])
    added = {token["content"]: token for token in content["added_tokens"]}
    ids |= {name: token["id"] for name, token in added.items()}
    tokens = [f"[PAD{number}]" for number in range(config["vocab_size"])]
    for token, id_ in ids.items():
        tokens[id_] = token
    is_byte_level = content["decoder"]["type"] == "ByteLevel"
    types = [_type_of(token, ids, added, settings) for token in tokens]
    merges = [
        tuple(merge) if isinstance(merge, list) else tuple(merge.split(" ")) for merge in content["model"]["merges"]
    ]
    writer.add_tokenizer_model("gpt2" if is_byte_level else "llama")
    writer.add_token_list(tokens)
    writer.add_token_types(types)
    if is_byte_level:
        writer.add_tokenizer_pre(_SPLITTINGS[config["model_type"]])
        writer.add_token_merges([" ".join(merge) for merge in merges])
    else:
        ranks = {"".join(merge): rank for rank, merge in reversed(list(enumerate(merges)))}
        writer.add_token_scores([-float(ranks.get(token, 1 << 20)) for token in tokens])
        writer.add_add_space_prefix(not config["model_type"].startswith("gemma"))
    for key, name in _ENDS.items():
        token = settings.get(key)
        token = token["content"] if isinstance(token, dict) else token
        if token in ids:
            getattr(writer, f"add_{name}_token_id")(ids[token])
    first = Tokenizer.from_file(str(folder / "tokenizer.json")).encode("a").ids[0]
    writer.add_add_bos_token(first == ids.get(str(settings.get("bos_token"))))
    if (folder / "chat_template.jinja").is_file():
        writer.add_chat_template((folder / "chat_template.jinja").read_text(encoding="utf-8"))


def _type_of(token: str, ids: dict[str, int], added: dict[str, Any], settings: dict[str, Any]) -> int:
    if token not in ids:
        return int(gguf.TokenType.UNUSED)
    if token == settings.get("unk_token") and token == "<unk>":
        return int(gguf.TokenType.UNKNOWN)
    if token in added:
        return int(gguf.TokenType.CONTROL if added[token]["special"] else gguf.TokenType.USER_DEFINED)
    is_byte = len(token) == 6 and token.startswith("<0x")
    return int(gguf.TokenType.BYTE if is_byte else gguf.TokenType.NORMAL)
