"""The same folder as others leave it: in shards, in half the precision, as torch.save's file, or by older versions.

Each function changes a folder in its place; its answers stay what they were, but for the rounding of `in_type`.
"""

from __future__ import annotations

import json
import shutil
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

SHARD = 150_000  # bytes


def read_json(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))


def write_json(path: Path, value: Any) -> None:
    path.write_text(json.dumps(value, indent=2) + "\n", encoding="utf-8")


def in_type(folder: Path, dtype: str) -> None:
    """Weights as float16 or bfloat16, as most large models have them."""
    import torch
    from safetensors.torch import load_file, save_file

    for path in folder.glob("**/model.safetensors"):
        weights = {name: weight.to(getattr(torch, dtype)) for name, weight in load_file(path).items()}
        save_file(weights, path, metadata={"format": "pt"})
    config = read_json(folder / "config.json")
    write_json(folder / "config.json", config | {"dtype": dtype})


def in_shards(folder: Path) -> None:
    """Safetensors in several files, with an index of them."""
    from safetensors.torch import save_file

    def write(weights: dict[str, Any], name: str) -> None:
        save_file(weights, folder / name, metadata={"format": "pt"})

    _split(folder, "model{suffix}.safetensors", "model.safetensors.index.json", write)


def in_torch_shards(folder: Path) -> None:
    """torch.save's files, several of them, with an index."""
    import torch

    def write(weights: dict[str, Any], name: str) -> None:
        torch.save(weights, folder / name)

    _split(folder, "pytorch_model{suffix}.bin", "pytorch_model.bin.index.json", write)


def _split(folder: Path, pattern: str, index: str, write: Callable[[dict[str, Any], str], None]) -> None:
    from huggingface_hub import split_torch_state_dict_into_shards
    from safetensors.torch import load_file

    weights = load_file(folder / "model.safetensors")
    plan = split_torch_state_dict_into_shards(weights, filename_pattern=pattern, max_shard_size=SHARD)
    assert plan.is_sharded
    (folder / "model.safetensors").unlink()
    for name, tensors in plan.filename_to_tensors.items():
        write({tensor: weights[tensor] for tensor in tensors}, name)
    write_json(folder / index, {"metadata": plan.metadata, "weight_map": plan.tensor_to_filename})


def as_torch_file(folder: Path) -> None:
    """pytorch_model.bin in place of every model.safetensors, with the positions that older versions saved as well."""
    import torch
    from safetensors.torch import load_file

    for path in folder.glob("**/model.safetensors"):
        weights = load_file(path)
        positions = next((name for name in weights if name.endswith("position_embeddings.weight")), None)
        if positions is not None:
            buffer = positions.replace("position_embeddings.weight", "position_ids")
            weights[buffer] = torch.arange(len(weights[positions]))[None]
        torch.save(weights, path.with_name("pytorch_model.bin"))
        path.unlink()


# ------------------------------------------------------------------------------------------------- older versions

_POOLING = ("cls_token", "max_tokens", "mean_tokens", "mean_sqrt_len_tokens", "weightedmean_tokens", "lasttoken")


def by_older_versions(folder: Path, max_seq_length: int | None = 96, *, do_lower_case: bool = False) -> None:
    """As sentence-transformers 2 to 5 and transformers 4 wrote it, which is what most folders on the hub are."""
    if (folder / "modules.json").exists():
        _older_modules(folder, max_seq_length, do_lower_case=do_lower_case)
    if (folder / "config.json").exists():
        config = _older_config(read_json(folder / "config.json"))
        write_json(folder / "config.json", config)
    _older_tokenizer(folder)


def _older_modules(folder: Path, max_seq_length: int | None, *, do_lower_case: bool) -> None:
    modules = read_json(folder / "modules.json")
    for module in modules:
        kind = module["type"].rpartition(".")[2]
        module["type"] = f"sentence_transformers.models.{kind}"
        path = folder / module["path"]
        if kind == "Transformer":
            settings = {"max_seq_length": max_seq_length, "do_lower_case": do_lower_case}
            write_json(path / "sentence_bert_config.json", settings)
        elif kind == "Pooling":
            config = read_json(path / "config.json")
            modes = [config["pooling_mode"]] if isinstance(config["pooling_mode"], str) else config["pooling_mode"]
            flags = {f"pooling_mode_{name}": name.removesuffix("_tokens") in _short(modes) for name in _POOLING}
            older = {"word_embedding_dimension": config["embedding_dimension"]}
            write_json(path / "config.json", older | flags | {"include_prompt": config["include_prompt"]})
        elif kind == "Normalize":
            shutil.rmtree(path)
        elif kind == "Dense":
            config = read_json(path / "config.json")
            names = ("in_features", "out_features", "bias", "activation_function")
            write_json(path / "config.json", {name: config[name] for name in names})
    write_json(folder / "modules.json", modules)
    about = read_json(folder / "config_sentence_transformers.json")
    about["__version__"] = {"sentence_transformers": "2.2.2", "transformers": "4.29.2", "pytorch": "2.0.1"}
    about.pop("model_type", None)
    write_json(folder / "config_sentence_transformers.json", about)


def _short(modes: list[str]) -> set[str]:
    return {mode.removesuffix("_tokens").replace("cls", "cls_token") for mode in modes}


def _older_config(config: dict[str, Any]) -> dict[str, Any]:
    """config.json of transformers 4."""
    config = dict(config)
    config["torch_dtype"] = config.pop("dtype", "float32")
    config["transformers_version"] = "4.48.0"
    kind = config["model_type"]
    rope = config.pop("rope_parameters", None)
    if kind == "modernbert":
        config["global_rope_theta"] = rope["full_attention"]["rope_theta"]
        config["local_rope_theta"] = rope["sliding_attention"]["rope_theta"]
        config["global_attn_every_n_layers"] = 3
        config["position_embedding_type"] = "absolute"
        config["reference_compile"] = None
        del config["layer_types"]
    elif kind == "gemma3_text":
        config["rope_theta"] = rope["full_attention"]["rope_theta"]
        config["rope_local_base_freq"] = rope["sliding_attention"]["rope_theta"]
        config["rope_scaling"] = None
    elif rope is not None:
        config["rope_theta"] = rope["rope_theta"]
        config["rope_scaling"] = None
    if kind in ("qwen2", "qwen3"):
        del config["layer_types"]
    if kind in ("bert", "roberta", "xlm-roberta", "camembert", "electra", "albert"):
        config["position_embedding_type"] = "absolute"
        config["gradient_checkpointing"] = False
    return config


def _older_tokenizer(folder: Path) -> None:
    """tokenizer_config.json, special_tokens_map.json and added_tokens_decoder of transformers 4."""
    path = folder / "tokenizer_config.json"
    if not path.exists():
        return
    config = read_json(path)
    for name in ("backend", "is_local", "local_files_only"):
        config.pop(name, None)
    if "mask_token" in config:
        write_json(
            folder / "special_tokens_map.json",
            {name: value for name, value in config.items() if name.endswith("_token") and isinstance(value, str)},
        )
    kind = config["tokenizer_class"]
    config["tokenizer_class"] = "PreTrainedTokenizerFast" if kind == "TokenizersBackend" else kind
    config["clean_up_tokenization_spaces"] = True
    added = read_json(folder / "tokenizer.json")["added_tokens"]
    config["added_tokens_decoder"] = {
        str(token["id"]): {name: value for name, value in token.items() if name != "id"} for token in added
    }
    write_json(path, config)


# ---------------------------------------------------------------------------- folders whose code is beside the weights

_NOMIC = {
    "activation_function": "swiglu",
    "attn_pdrop": 0.0,
    "auto_map": {"AutoModel": "nomic-ai/nomic-bert-2048--modeling_hf_nomic_bert.NomicBertModel"},
    "causal": False,
    "dense_seq_output": True,
    "embd_pdrop": 0.0,
    "fused_bias_fc": True,
    "fused_dropout_add_ln": True,
    "initializer_range": 0.02,
    "max_trained_positions": 2048,
    "mlp_fc1_bias": False,
    "mlp_fc2_bias": False,
    "pad_vocab_size_multiple": 64,
    "parallel_block": False,
    "parallel_block_tied_norm": False,
    "prenorm": False,
    "qkv_proj_bias": False,
    "reorder_and_upcast_attn": False,
    "resid_pdrop": 0.0,
    "rotary_emb_fraction": 1.0,
    "rotary_emb_interleaved": False,
    "rotary_emb_scale_base": None,
    "rotary_scaling_factor": None,
    "scale_attn_by_inverse_layer_idx": False,
    "scale_attn_weights": True,
    "summary_first_dropout": 0.0,
    "summary_type": "cls_index",
    "use_cache": True,
    "use_flash_attn": True,
    "use_rms_norm": False,
    "use_xentropy": True,
}


def nomic_by_its_own_code(folder: Path) -> None:
    """config.json as nomic-embed-text-v1.5 had it before transformers knew the architecture."""
    config = read_json(folder / "config.json")
    own = {
        "architectures": config["architectures"],
        "model_type": "nomic_bert",
        "n_embd": config["hidden_size"],
        "n_head": config["num_attention_heads"],
        "n_inner": config["intermediate_size"],
        "n_layer": config["num_hidden_layers"],
        "n_positions": config["max_position_embeddings"],
        "layer_norm_epsilon": config["layer_norm_eps"],
        "rotary_emb_base": config["rope_parameters"]["rope_theta"],
        "type_vocab_size": config["type_vocab_size"],
        "vocab_size": config["vocab_size"],
        "torch_dtype": "float32",
        "transformers_version": "4.37.2",
    }
    write_json(folder / "config.json", _NOMIC | own)


NTK = {"theta": 20_000, "factor": 8.0}


def ntk_as_linear(head_size: int) -> dict[str, Any]:
    """rope_parameters that turn as GTE's own `ntk` does, for transformers, which has no such form."""
    factor = NTK["factor"] ** (2 / head_size)
    return {"rope_type": "linear", "factor": factor, "rope_theta": NTK["theta"] * NTK["factor"]}


def gte_by_its_own_code(folder: Path) -> None:
    """config.json as gte-multilingual-base has it, whose own code computes positions by `ntk`."""
    config = read_json(folder / "config.json")
    del config["rope_parameters"]
    own = {
        "architectures": ["NewModel"],
        "auto_map": {"AutoModel": "Alibaba-NLP/new-impl--modeling.NewModel"},
        "layer_norm_type": "layer_norm",
        "logn_attention_clip1": False,
        "logn_attention_scale": False,
        "model_type": "new",
        "pack_qkv": True,
        "position_embedding_type": "rope",
        "rope_scaling": {"factor": NTK["factor"], "type": "ntk"},
        "rope_theta": NTK["theta"],
        "unpad_inputs": False,
        "use_memory_efficient_attention": False,
    }
    write_json(folder / "config.json", config | own)


def by_pylate(folder: Path, words: list[str], **settings: Any) -> None:
    """A late-interaction encoder as PyLate's version 3 leaves it: a Dense of its own, and settings of the whole model.

    `words`: tokens that are added to the vocabulary, such as [Q] and [D].
    """
    from transformers import AutoModel, AutoTokenizer

    modules = read_json(folder / "modules.json")[:2]
    dense = folder / "1_Dense"
    kept = {name: value for name, value in read_json(dense / "config.json").items() if not name.startswith("module_")}
    write_json(dense / "config.json", kept | {"use_residual": False})
    modules[0]["type"] = "sentence_transformers.models.Transformer"
    modules[1]["type"] = "pylate.models.Dense.Dense"
    write_json(folder / "modules.json", modules)
    write_json(folder / "sentence_bert_config.json", {"max_seq_length": 60, "do_lower_case": False})
    write_json(folder / "config_sentence_transformers.json", {"model_type": "ColBERT", "prompts": {}, **settings})
    tokenizer, model = AutoTokenizer.from_pretrained(folder), AutoModel.from_pretrained(folder)
    tokenizer.add_tokens(words)
    model.resize_token_embeddings(len(tokenizer))
    tokenizer.save_pretrained(folder)
    model.save_pretrained(folder)
