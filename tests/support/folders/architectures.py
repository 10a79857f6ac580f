"""A small configuration of every architecture, and its model with random weights that are large enough to matter.

Sizes are tiny but not degenerate: no two that could be mistaken for one another are equal where a family lets them
differ, windows and buckets of positions are shorter than the texts, and layers of both kinds are there where a family
has two kinds.
"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

from tests.support.folders import vocabularies

if TYPE_CHECKING:
    from collections.abc import Callable

    from transformers import PretrainedConfig, PreTrainedModel, PreTrainedTokenizerBase

TOKENS = 96  # the longest text, special tokens included
POSITIONS = 112
SIZES = {"hidden_size": 64, "num_hidden_layers": 3, "num_attention_heads": 4, "intermediate_size": 112}
POSITIONED = SIZES | {"max_position_embeddings": POSITIONS}
GROUPED = SIZES | {"num_key_value_heads": 2, "max_position_embeddings": 4 * POSITIONS}


@dataclasses.dataclass(frozen=True)
class Architecture:
    """What config.json says besides what the tokenizer says, and the form of the tokenizer."""

    config: str
    """The class of transformers."""
    vocabulary: Callable[..., PreTrainedTokenizerBase]
    fields: dict[str, Any]

    def tokenizer(self, **options: Any) -> PreTrainedTokenizerBase:
        """Texts are cut at TOKENS if nothing else is said."""
        return self.vocabulary(**{"model_max_length": TOKENS} | options)

    def configuration(self, tokenizer: PreTrainedTokenizerBase, **fields: Any) -> PretrainedConfig:
        """`fields` go before the architecture's own."""
        import transformers

        special = ("pad_token_id", "bos_token_id", "eos_token_id", "cls_token_id", "sep_token_id")
        kind = getattr(transformers, self.config)
        known = {name: getattr(tokenizer, name) for name in special if hasattr(kind, name)}
        return kind(**{"vocab_size": len(tokenizer) + 3} | known | self.fields | fields)


ARCHITECTURES = {
    "bert": Architecture("BertConfig", vocabularies.bert, POSITIONED),
    "roberta": Architecture("RobertaConfig", vocabularies.roberta, POSITIONED | {"type_vocab_size": 1}),
    "xlm-roberta": Architecture(
        "XLMRobertaConfig", vocabularies.xlm_roberta, POSITIONED | {"type_vocab_size": 1, "layer_norm_eps": 1e-5}
    ),
    "camembert": Architecture("CamembertConfig", vocabularies.camembert, POSITIONED | {"type_vocab_size": 1}),
    "distilbert": Architecture(
        "DistilBertConfig",
        vocabularies.distilbert,
        {"dim": 64, "hidden_dim": 112, "n_layers": 3, "n_heads": 4, "max_position_embeddings": POSITIONS},
    ),
    "mpnet": Architecture("MPNetConfig", vocabularies.mpnet, POSITIONED | {"layer_norm_eps": 1e-5}),
    "albert": Architecture(
        "AlbertConfig", vocabularies.albert, POSITIONED | {"embedding_size": 32, "num_hidden_groups": 1}
    ),
    "electra": Architecture("ElectraConfig", vocabularies.bert, POSITIONED | {"embedding_size": 32}),
    "nomic_bert": Architecture("NomicBertConfig", vocabularies.bert, SIZES | {"max_position_embeddings": 512}),
    "modernbert": Architecture(
        "ModernBertConfig",
        vocabularies.modernbert,
        SIZES | {"num_hidden_layers": 4, "max_position_embeddings": 512, "local_attention": 16},
    ),
    "gte": Architecture("GteConfig", vocabularies.xlm_roberta, SIZES | {"max_position_embeddings": 512}),
    "jina_embeddings_v3": Architecture(
        "JinaEmbeddingsV3Config", vocabularies.xlm_roberta, SIZES | {"max_position_embeddings": 512}
    ),
    "deberta-v3": Architecture(
        "DebertaV2Config",
        vocabularies.deberta,
        POSITIONED
        | {
            "relative_attention": True,
            "position_buckets": 16,
            "norm_rel_ebd": "layer_norm",
            "share_att_key": True,
            "pos_att_type": ["p2c", "c2p"],
            "position_biased_input": False,
            "max_relative_positions": -1,
            "layer_norm_eps": 1e-7,
            "pooler_hidden_act": "gelu",
        },
    ),
    "deberta-v2": Architecture(
        "DebertaV2Config",
        vocabularies.deberta,
        POSITIONED
        | {
            "relative_attention": True,
            "position_buckets": 16,
            "norm_rel_ebd": "layer_norm",
            "share_att_key": True,
            "pos_att_type": "p2c|c2p",
            "position_biased_input": False,
            "max_relative_positions": -1,
            "conv_kernel_size": 3,
            "conv_act": "gelu",
            "layer_norm_eps": 1e-7,
        },
    ),
    "t5": Architecture(
        "T5Config",
        vocabularies.t5,
        {
            "d_model": 64,
            "d_kv": 24,
            "d_ff": 112,
            "num_layers": 3,
            "num_heads": 4,
            "relative_attention_max_distance": 40,
        },
    ),
    "qwen2": Architecture("Qwen2Config", vocabularies.qwen, GROUPED),
    "qwen3": Architecture("Qwen3Config", vocabularies.qwen, GROUPED | {"head_dim": 24}),
    "llama": Architecture("LlamaConfig", vocabularies.qwen, GROUPED),
    "mistral": Architecture("MistralConfig", vocabularies.qwen, GROUPED | {"sliding_window": None}),
    "gemma3_text": Architecture(
        "Gemma3TextConfig",
        vocabularies.gemma,
        GROUPED
        | {
            "num_hidden_layers": 4,
            "head_dim": 24,
            "query_pre_attn_scalar": 20,
            "sliding_window": 12,
            "sliding_window_pattern": 2,
            "use_bidirectional_attention": True,
        },
    ),
    # Those that the server knows only as packages and traces.
    "ernie": Architecture("ErnieConfig", vocabularies.bert, POSITIONED),
    "convbert": Architecture("ConvBertConfig", vocabularies.bert, POSITIONED | {"embedding_size": 64}),
}


def random_model(kind: str, config: PretrainedConfig, seed: int = 5) -> PreTrainedModel:
    """`kind`: a class of transformers, such as AutoModel or T5EncoderModel."""
    import transformers

    loader = getattr(transformers, kind)
    make = loader.from_config if kind.startswith("Auto") else loader
    model: PreTrainedModel = make(config).eval()
    randomize(model, seed)
    return model


def randomize(model: Any, seed: int = 5) -> None:
    """Weights of a torch module, such that every one of them is felt in the answers, and attention is no mere average.

    As a library makes them they are so small that each text's vector is that of its bag of tokens, nearly, and biases
    are 0 and norms 1: what leaves them out would pass.
    """
    import torch

    generator = torch.Generator().manual_seed(seed)
    tables = {
        id(part.weight) for part in model.modules() if isinstance(part, torch.nn.Embedding | torch.nn.EmbeddingBag)
    }
    for name, weight in model.named_parameters():  # tied ones come once
        with torch.no_grad():
            noise = torch.randn(weight.shape, generator=generator)
            if weight.dim() < 2:
                weight += 0.3 * noise
            elif id(weight) in tables:
                weight.copy_(noise)
            else:
                gain = 2.0 if any(part in name for part in ("query", "key", "q_lin", "k_lin", ".q", ".k")) else 1.2
                weight.copy_(noise * gain / weight[0].numel() ** 0.5)
