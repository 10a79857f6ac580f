"""Small folders of every model that generates, with random weights, and one row for each: how it is made.

Sizes are as in architectures.py: tiny, and none that could be mistaken for another. Windows are shorter than the texts,
and so are the positions that scalings of rotary positions begin at.
"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

from tests.support.folders import forms, vocabularies
from tests.support.folders.architectures import randomize

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from transformers import PreTrainedTokenizerBase

POSITIONS = 256
SIZES = {
    "hidden_size": 64,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "intermediate_size": 112,
    "max_position_embeddings": POSITIONS,
}
GROUPED = SIZES | {"num_key_value_heads": 2}
GPT2 = {"n_embd": 64, "n_layer": 3, "n_head": 4, "n_inner": 112, "n_positions": POSITIONS}


@dataclasses.dataclass(frozen=True)
class LanguageModel:
    """A folder."""

    name: str
    model_type: str
    family: str
    """As docs/models.md calls it."""
    variation: str
    """The same; empty for the family's usual form."""
    config: str
    """The class of transformers."""
    vocabulary: Callable[..., PreTrainedTokenizerBase]
    fields: dict[str, Any]
    """What config.json says besides what the tokenizer says."""
    change: Callable[[Path], None] | None = None
    """What is done to the folder in the end."""

    def __str__(self) -> str:
        return self.name

    def write(self, folder: Path) -> None:
        """The model and its tokenizer, each by its save_pretrained."""
        import transformers

        tokenizer = self.vocabulary()
        kind = getattr(transformers, self.config)
        special = ("pad_token_id", "bos_token_id", "eos_token_id")
        known = {name: getattr(tokenizer, name) for name in special}
        config = kind(**{"vocab_size": len(tokenizer) + 3} | known | self.fields)
        model = transformers.AutoModelForCausalLM.from_config(config).eval()
        randomize(model)
        _quieten_embeddings(model)
        if self.model_type == "gpt_neo":
            _quieten_queries(model)
        model.save_pretrained(folder)
        tokenizer.save_pretrained(folder)
        if self.change is not None:
            self.change(folder)


def _quieten_embeddings(model: Any) -> None:
    """So that layers say more of the next token than the last token, which tied weights would give again and again."""
    import torch

    with torch.no_grad():
        for part in model.modules():
            if isinstance(part, torch.nn.Embedding):
                part.weight *= 0.12 if hasattr(part, "scalar_embed_scale") else 0.2


def _quieten_queries(model: Any) -> None:
    """Of a model whose scores are not scaled: else attention jumps from token to token by float32's last digits."""
    import torch

    with torch.no_grad():
        for name, weight in model.named_parameters():
            if "q_proj" in name:
                weight *= 0.25


def _rope(kind: str, **fields: Any) -> dict[str, Any]:
    return {"rope_parameters": {"rope_type": kind, "rope_theta": 10_000.0} | fields}


_LLAMA3 = _rope(
    "llama3", factor=8.0, low_freq_factor=1.0, high_freq_factor=4.0, original_max_position_embeddings=POSITIONS // 8
)
_YARN = _rope("yarn", factor=4.0, original_max_position_embeddings=POSITIONS // 4)
_LONG = _rope(
    "longrope",
    short_factor=[1.0 + 0.1 * number for number in range(8)],
    long_factor=[1.5 + 0.7 * number for number in range(8)],
    original_max_position_embeddings=POSITIONS // 2,
)

_FAMILIES: dict[str, tuple[str, str, Callable[..., Any], dict[str, Any]]] = {
    # model_type: name in the docs, class of the configuration, tokenizer, fields
    "llama": ("Llama", "LlamaConfig", vocabularies.llama2, GROUPED),
    "mistral": ("Mistral", "MistralConfig", vocabularies.llama2, GROUPED | {"sliding_window": 32, "head_dim": 24}),
    "qwen2": ("Qwen2", "Qwen2Config", vocabularies.qwen_generator, GROUPED),
    "qwen3": ("Qwen3", "Qwen3Config", vocabularies.qwen_generator, GROUPED | {"head_dim": 24}),
    "qwen3_moe": (
        "Qwen3 MoE",
        "Qwen3MoeConfig",
        vocabularies.qwen_generator,
        GROUPED
        | {"head_dim": 24, "num_experts": 8, "num_experts_per_tok": 2, "moe_intermediate_size": 48}
        | {"norm_topk_prob": True, "mlp_only_layers": [1]},
    ),
    "gemma2": (
        "Gemma 2",
        "Gemma2Config",
        vocabularies.gemma_generator,
        GROUPED
        | {"num_hidden_layers": 4, "head_dim": 24, "query_pre_attn_scalar": 20, "sliding_window": 12}
        | {"attn_logit_softcapping": 5.0, "final_logit_softcapping": 20.0},
    ),
    "gemma3_text": (
        "Gemma 3",
        "Gemma3TextConfig",
        vocabularies.gemma_generator,
        GROUPED
        | {"num_hidden_layers": 4, "head_dim": 24, "query_pre_attn_scalar": 20, "sliding_window": 12}
        | {"sliding_window_pattern": 2},
    ),
    "phi3": ("Phi-3", "Phi3Config", vocabularies.phi3, GROUPED | {"sliding_window": 40}),
    "smollm3": (
        "SmolLM3",
        "SmolLM3Config",
        vocabularies.llama3,
        GROUPED | {"num_hidden_layers": 4, "no_rope_layer_interval": 2, "tie_word_embeddings": True},
    ),
    "gpt2": ("GPT-2", "GPT2Config", vocabularies.gpt2, GPT2),
    "gpt_neox": (
        "GPT-NeoX",
        "GPTNeoXConfig",
        vocabularies.gpt_neox,
        SIZES | _rope("default", partial_rotary_factor=0.25),
    ),
    "gptj": ("GPT-J", "GPTJConfig", vocabularies.gpt2, GPT2 | {"rotary_dim": 8}),
    "phi": ("Phi", "PhiConfig", vocabularies.gpt2, GROUPED | _rope("default", partial_rotary_factor=0.5)),
    "opt": (
        "OPT",
        "OPTConfig",
        vocabularies.opt,
        {name: value for name, value in SIZES.items() if name != "intermediate_size"}
        | {"ffn_dim": 112, "word_embed_proj_dim": 64},
    ),
    "gpt_neo": (
        "GPT-Neo",
        "GPTNeoConfig",
        vocabularies.gpt2,
        {"hidden_size": 64, "num_layers": 4, "num_heads": 4, "intermediate_size": 112, "window_size": 12}
        | {"max_position_embeddings": POSITIONS, "attention_types": [[["global", "local"], 2]]},
    ),
    "bloom": ("BLOOM", "BloomConfig", vocabularies.llama3, {"hidden_size": 64, "n_layer": 3, "n_head": 4}),
    "falcon": (
        "Falcon",
        "FalconConfig",
        vocabularies.llama3,
        {"hidden_size": 64, "num_hidden_layers": 3, "num_attention_heads": 4, "max_position_embeddings": POSITIONS},
    ),
    "starcoder2": ("StarCoder2", "Starcoder2Config", vocabularies.gpt2, GROUPED | {"sliding_window": 32}),
    "gpt_bigcode": ("GPTBigCode", "GPTBigCodeConfig", vocabularies.gpt2, GPT2),
}
MODEL_TYPES = frozenset(_FAMILIES)


def _row(
    model_type: str,
    variation: str = "",
    *,
    vocabulary: Callable[..., Any] | None = None,
    change: Callable[[Path], None] | None = None,
    **fields: Any,
) -> LanguageModel:
    family, config, usual, own = _FAMILIES[model_type]
    name = f"{family}: {variation}" if variation else family
    return LanguageModel(name, model_type, family, variation, config, vocabulary or usual, own | fields, change)


def _variations() -> list[LanguageModel]:
    llama3 = vocabularies.llama3
    return [
        _row("llama", "llama3 positions, tied", vocabulary=llama3, tie_word_embeddings=True, **_LLAMA3),
        _row("llama", "linear positions", **_rope("linear", factor=4.0)),
        _row("llama", "dynamic positions", **_rope("dynamic", factor=4.0)),
        _row("llama", "yarn positions", **_YARN),
        _row("llama", "all biases", attention_bias=True, mlp_bias=True),
        _row("llama", "unigrams", vocabulary=vocabularies.unigram),
        _row("llama", "bfloat16 in shards", change=_bfloat16_in_shards),
        _row("mistral", "no window", sliding_window=None),
        _row("qwen2", "tied", tie_word_embeddings=True),
        _row("qwen2", "pytorch_model.bin", change=forms.as_torch_file),
        _row("phi3", "longrope positions", original_max_position_embeddings=POSITIONS // 2, **_LONG),
        _row("phi3", "partly rotated", **_rope("default", partial_rotary_factor=0.75)),
        _row(
            "gpt2",
            "relu, scores divided by the layer",
            activation_function="relu",
            scale_attn_by_inverse_layer_idx=True,
        ),
        _row("gpt2", "untied", tie_word_embeddings=False),
        _row(
            "gpt_neox",
            "one part after the other",
            use_parallel_residual=False,
            **_rope("default", partial_rotary_factor=1.0),
        ),
        _row("phi", "norms of queries and keys", qk_layernorm=True),
        _row("falcon", "new form", new_decoder_architecture=True, num_kv_heads=2),
        _row("falcon", "every head its own", multi_query=False, parallel_attn=False, bias=True),
        _row("gpt_bigcode", "all heads", multi_query=False),
    ]


def _bfloat16_in_shards(folder: Path) -> None:
    forms.in_type(folder, "bfloat16")
    forms.in_shards(folder)


ROWS = [*map(_row, _FAMILIES), *_variations()]
