"""What a GGUF file says of its model, as the config.json of the same model has it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from server.errors import ModelError
from server.models.refusals import GGUF_HELP

if TYPE_CHECKING:
    from collections.abc import Mapping

    from server.models.folder.generation.gguf.header import GgufFile

# Fields that all have: name in the metadata, behind that of the architecture -> name in config.json, and its type.
_FIELDS: dict[str, tuple[str, type]] = {
    "context_length": ("max_position_embeddings", int),
    "block_count": ("num_hidden_layers", int),
    "embedding_length": ("hidden_size", int),
    "feed_forward_length": ("intermediate_size", int),
    "attention.head_count": ("num_attention_heads", int),
    "attention.head_count_kv": ("num_key_value_heads", int),
    "attention.layer_norm_rms_epsilon": ("rms_norm_eps", float),
    "rope.freq_base": ("rope_theta", float),
    "attention.key_length": ("head_dim", int),
    "attention.sliding_window": ("sliding_window", int),
    "attn_logit_softcapping": ("attn_logit_softcapping", float),
    "final_logit_softcapping": ("final_logit_softcapping", float),
}
_OF_EXPERTS: dict[str, tuple[str, type]] = {
    "expert_count": ("num_experts", int),
    "expert_used_count": ("num_experts_per_tok", int),
    "expert_feed_forward_length": ("moe_intermediate_size", int),
}
"""Of mixtures alone, which must have them."""
_REQUIRED = ("block_count", "embedding_length", "feed_forward_length", "attention.head_count", "context_length")
# Of them what is said by other fields too, or only of how the file was made.
_HARMLESS = {
    "vocab_size",
    "rope.dimension_count",
    "attention.value_length",
    "rope.freq_base_swa",
    "attention.causal",
    "attention.sliding_window_pattern",
}
_SCALING = "rope.scaling."


class Architecture(NamedTuple):
    """How an architecture of llama.cpp's is served."""

    model_type: str
    """In config.json."""
    pairs_rows: bool = False
    """Queries' and keys' rows are in the order that rotating neighbours needs."""
    norms_from_one: bool = False
    """Norms are saved as what they multiply with, one more than in save_pretrained's files."""
    extra: Mapping[str, Any] = {}
    """Further fields of config.json."""
    of_experts: bool = False
    """Networks are mixtures, whose experts' matrices lie one after the other in a tensor."""


ARCHITECTURES = {
    "llama": Architecture("llama", pairs_rows=True),
    "qwen2": Architecture("qwen2"),
    "qwen3": Architecture("qwen3"),
    "qwen3moe": Architecture("qwen3_moe", extra={"norm_topk_prob": True}, of_experts=True),
    "gemma2": Architecture("gemma2", norms_from_one=True, extra={"hidden_activation": "gelu_pytorch_tanh"}),
    "gemma3": Architecture("gemma3_text", norms_from_one=True, extra={"hidden_activation": "gelu_pytorch_tanh"}),
    "phi3": Architecture("phi3"),
}
"""By general.architecture."""

ROPE_FACTORS = "rope_freqs.weight"
"""A tensor: what the frequency of each pair is divided by (Llama 3)."""


def architecture_of(file: GgufFile) -> Architecture:
    """Raises ModelError for one that is not served."""
    name = file.get("general.architecture", str)
    if name not in ARCHITECTURES:
        raise ModelError(
            f"{file.name}: general.architecture is {name!r}; of GGUF files served are {', '.join(ARCHITECTURES)}:"
            f" {GGUF_HELP}"
        )
    return ARCHITECTURES[name]


def config_of(file: GgufFile, vocabulary: int, rope_factors: list[float]) -> dict[str, Any]:
    """The fields of config.json; `rope_factors`: the numbers of ROPE_FACTORS, or none. Raises ModelError."""
    architecture, name = architecture_of(file), file.get("general.architecture", str)
    given = {key.removeprefix(f"{name}."): value for key, value in file.metadata.items() if key.startswith(f"{name}.")}
    fields = _FIELDS | (_OF_EXPERTS if architecture.of_experts else {})
    for key in (*_REQUIRED, *(_OF_EXPERTS if architecture.of_experts else ())):
        file.get(f"{name}.{key}", int)
    config: dict[str, Any] = {"model_type": architecture.model_type, "vocab_size": vocabulary, **architecture.extra}
    for key in given:
        if key in fields:
            field, kind = fields[key]
            config[field] = file.get(f"{name}.{key}", kind)
        elif key not in _HARMLESS and not key.startswith(_SCALING):
            raise ModelError(f"{file.name}: {name}.{key} is {given[key]!r}, which is not known here")
    config["tie_word_embeddings"] = "output.weight" not in file.tensors
    heads = config["num_attention_heads"]
    head_size = config.setdefault("head_dim", config["hidden_size"] // heads if heads > 0 else 0)
    if given.get("rope.dimension_count", head_size) != head_size:
        raise ModelError(f"{file.name}: {name}.rope.dimension_count is not {head_size}, the size of a head")
    if given.get("attention.causal", True) is not True:
        raise ModelError(f"{file.name}: {name}.attention.causal is not true: the model does not generate")
    if scaling := _scaling(file, name, rope_factors):
        config["rope_scaling"] = scaling
    if architecture.norms_from_one:
        config |= _of_gemma(file, name, config, given)
    return config


def _of_gemma(file: GgufFile, name: str, config: dict[str, Any], given: dict[str, Any]) -> dict[str, Any]:
    """Queries are scaled by the size of a head, but for the largest of each series, which say so by their sizes."""
    scalar = config["head_dim"]
    if (name, config["num_hidden_layers"]) in (("gemma2", 46), ("gemma3", 62)):  # the 27B models
        scalar = config["hidden_size"] // config["num_attention_heads"]
    extra: dict[str, Any] = {"query_pre_attn_scalar": scalar}
    if name == "gemma3":
        extra["rope_local_base_freq"] = file.get("gemma3.rope.freq_base_swa", float, 10_000.0)
        config.setdefault("rope_theta", 1_000_000.0)
    pattern = given.get("attention.sliding_window_pattern")
    usual = {"gemma2": 2, "gemma3": 6}[name]
    if isinstance(pattern, list):
        kinds = {True: "sliding_attention", False: "full_attention"}
        extra["layer_types"] = [kinds[bool(each)] for each in pattern]
    else:
        extra["sliding_window_pattern"] = pattern or usual
    return extra


def _scaling(file: GgufFile, name: str, rope_factors: list[float]) -> dict[str, Any] | None:
    """rope_scaling, or None where positions are not scaled."""
    kind = file.get(f"{name}.{_SCALING}type", str, "none")
    if rope_factors:
        if kind != "none":
            raise ModelError(f"{file.name}: both {ROPE_FACTORS} and {name}.{_SCALING}type are there")
        return {"rope_type": "longrope", "short_factor": rope_factors, "attention_factor": 1.0}
    if kind == "none":
        return None
    factor = file.get(f"{name}.{_SCALING}factor", float)
    if kind == "linear":
        return {"rope_type": "linear", "factor": factor}
    if kind == "yarn":
        original = file.get(f"{name}.{_SCALING}original_context_length", int)
        return {"rope_type": "yarn", "factor": factor, "original_max_position_embeddings": original}
    raise ModelError(f"{file.name}: {name}.{_SCALING}type is {kind!r}; served are none, linear and yarn")
