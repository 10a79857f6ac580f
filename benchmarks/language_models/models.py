"""The models: Llamas of random weights, written once, as the folder that ours reads and as the others' files."""

from __future__ import annotations

import json
import shutil
from typing import TYPE_CHECKING, Any

from benchmarks.process import ROOT
from tests.support.llama_cpp.models import byte_letters

if TYPE_CHECKING:
    from pathlib import Path

FOLDERS = ROOT / "build" / "language-models"
CONTEXT = 2048

SHAPES: dict[str, dict[str, Any]] = {
    "135m": {  # SmolLM2's
        "vocab_size": 49152,
        "hidden_size": 576,
        "intermediate_size": 1536,
        "num_hidden_layers": 30,
        "num_attention_heads": 9,
        "num_key_value_heads": 3,
        "tie_word_embeddings": True,
    },
    "500m": {
        "vocab_size": 32000,
        "hidden_size": 1024,
        "intermediate_size": 5120,
        "num_hidden_layers": 24,
        "num_attention_heads": 16,
        "num_key_value_heads": 8,
        "tie_word_embeddings": True,
    },
    "tiny": {
        "vocab_size": 512,
        "hidden_size": 64,
        "intermediate_size": 128,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "tie_word_embeddings": True,
    },
}
GGUF_TYPES = {"float32": "F32", "bfloat16": "BF16", "int8": "Q8_0", "int4": "Q4_0"}
"""What llama.cpp calls the weights of a precision of ours; for whole numbers those that it computes fastest with."""

_SHARE = {"float32": 4, "bfloat16": 2, "int8": 1, "int4": 0.5625}  # bytes of a weight


def token_names(shape: str) -> list[str]:
    """The vocabulary: the letters that stand for bytes, a pair of them, and then t257, t258, ..."""
    names = [*byte_letters(), "th"]
    return [*names, *(f"t{token}" for token in range(len(names), SHAPES[shape]["vocab_size"]))]


def folder_of(shape: str) -> Path:
    """As save_pretrained writes it, with a byte-level tokenizer."""
    folder = FOLDERS / shape
    if (folder / "tokenizer.json").is_file():
        return folder
    import torch
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    torch.manual_seed(1)
    config = LlamaConfig(
        **SHAPES[shape], max_position_embeddings=CONTEXT, bos_token_id=1, eos_token_id=None, pad_token_id=0
    )
    shutil.rmtree(folder, ignore_errors=True)
    LlamaForCausalLM(config).save_pretrained(folder)
    names = token_names(shape)
    tokenizer = Tokenizer(models.BPE({name: token for token, name in enumerate(names)}, [("t", "h")]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    marks = {"unk_token": names[0], "bos_token": names[1], "eos_token": names[2], "pad_token": names[0]}
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, **marks).save_pretrained(folder)
    return folder


def gguf_of(shape: str, precision: str) -> Path:
    """The same weights as llama.cpp's file."""
    import gguf

    from tests.support.folders import gguf_files

    kind = GGUF_TYPES[precision]
    path = FOLDERS / f"{shape}-{kind}.gguf"
    if not path.is_file():
        written = path.with_suffix(".part")
        gguf_files.write(folder_of(shape), written, gguf.GGMLQuantizationType[kind])
        written.rename(path)
    return path


def ctranslate2_folder(shape: str) -> Path:
    """The same weights as CTranslate2 wants them."""
    target = FOLDERS / f"{shape}-ctranslate2"
    if not (target / "model.bin").is_file():
        from ctranslate2.converters import TransformersConverter

        TransformersConverter(str(folder_of(shape))).convert(str(target), force=True)
    return target


def config_of(shape: str) -> dict[str, Any]:
    """config.json."""
    config: dict[str, Any] = json.loads((folder_of(shape) / "config.json").read_text())
    return config


def weight_bytes(shape: str, precision: str) -> int:
    """Of all matrices in a precision of ours, that of the output among them; embeddings are read from the file."""
    size = SHAPES[shape]
    hidden, inner = size["hidden_size"], size["intermediate_size"]
    share = size["num_key_value_heads"] / size["num_attention_heads"]
    layer = hidden * hidden * (2 + 2 * share) + 3 * hidden * inner
    matrices = size["num_hidden_layers"] * layer + size["vocab_size"] * hidden
    return int(matrices * _SHARE[precision])


def prompt(number: int, seed: int, length: int) -> list[int]:
    """Token ids that no other prompt begins with."""
    return [3 + (seed * 7919 + number * 104_729 + i * 31) % 500 for i in range(length)]
