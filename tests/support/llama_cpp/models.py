"""Small random Llamas with tokenizers of bytes, written as GGUF by the package gguf."""

from __future__ import annotations

from typing import TYPE_CHECKING

import gguf
import numpy as np

if TYPE_CHECKING:
    from pathlib import Path

CONTEXT = 2048
HIDDEN = 64
TEMPLATE = (
    "{% for message in messages %}<|im_start|>{{ message.role }}\n{{ message.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)

_SPECIAL = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")
_LAYERS, _HEADS, _FEED_FORWARD = 2, 4, 128
_NORMAL, _CONTROL = 1, 3  # types of tokens


def byte_letters() -> list[str]:
    """For each byte the letter that stands for it in byte-level vocabularies, as GPT-2 began them."""
    shown = [*range(ord("!"), ord("~") + 1), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    hidden = [byte for byte in range(256) if byte not in shown]
    letters = {byte: chr(byte) for byte in shown} | {byte: chr(256 + place) for place, byte in enumerate(hidden)}
    return [letters[byte] for byte in range(256)]


def _write_tokenizer(writer: gguf.GGUFWriter) -> int:
    letters = byte_letters()
    merges = [("t", "h"), ("th", "e"), ("Ġ", "the"), ("i", "n"), ("a", "n"), ("o", "u"), ("Ġ", "a"), ("r", "e")]
    tokens = [*letters, *("".join(pair) for pair in merges), *_SPECIAL]
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("gpt-2")
    writer.add_token_list(tokens)
    writer.add_token_types([_NORMAL] * (len(tokens) - len(_SPECIAL)) + [_CONTROL] * len(_SPECIAL))
    writer.add_token_merges([" ".join(pair) for pair in merges])
    writer.add_bos_token_id(tokens.index("<|endoftext|>"))
    writer.add_eos_token_id(tokens.index("<|im_end|>"))
    writer.add_add_bos_token(False)
    return len(tokens)


def write_llama(path: Path, *, seed: int = 1, ranks: bool = False) -> Path:
    """A Llama of 0.1 million random weights with a chat template; `ranks`: with a head that scores pairs of texts."""
    writer = gguf.GGUFWriter(str(path), "qwen3" if ranks else "llama")
    vocabulary = _write_tokenizer(writer)
    writer.add_name("tiny")
    writer.add_context_length(CONTEXT)
    writer.add_embedding_length(HIDDEN)
    writer.add_block_count(_LAYERS)
    writer.add_feed_forward_length(_FEED_FORWARD)
    writer.add_head_count(_HEADS)
    writer.add_head_count_kv(_HEADS // 2)
    writer.add_rope_dimension_count(HIDDEN // _HEADS)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_vocab_size(vocabulary)
    writer.add_chat_template(TEMPLATE)
    random = np.random.default_rng(seed)

    def add(name: str, *shape: int, scale: float = 0.3) -> None:
        writer.add_tensor(name, (random.standard_normal(shape) * scale).astype(np.float32))

    def add_ones(name: str) -> None:
        writer.add_tensor(name, np.ones(HIDDEN, dtype=np.float32))

    add("token_embd.weight", vocabulary, HIDDEN, scale=1)
    add("output.weight", vocabulary, HIDDEN)
    add_ones("output_norm.weight")
    keys = HIDDEN // 2
    for layer in range(_LAYERS):
        add_ones(f"blk.{layer}.attn_norm.weight")
        add_ones(f"blk.{layer}.ffn_norm.weight")
        add(f"blk.{layer}.attn_q.weight", HIDDEN, HIDDEN)
        add(f"blk.{layer}.attn_k.weight", keys, HIDDEN)
        add(f"blk.{layer}.attn_v.weight", keys, HIDDEN)
        add(f"blk.{layer}.attn_output.weight", HIDDEN, HIDDEN)
        add(f"blk.{layer}.ffn_gate.weight", _FEED_FORWARD, HIDDEN)
        add(f"blk.{layer}.ffn_up.weight", _FEED_FORWARD, HIDDEN)
        add(f"blk.{layer}.ffn_down.weight", HIDDEN, _FEED_FORWARD)
        if ranks:
            for part in "qk":
                writer.add_tensor(f"blk.{layer}.attn_{part}_norm.weight", np.ones(HIDDEN // _HEADS, dtype=np.float32))
    if ranks:
        writer.add_classifier_output_labels(["yes", "no"])
        add("cls.output.weight", 2, HIDDEN)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path
