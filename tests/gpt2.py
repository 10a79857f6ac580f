"""A small GPT-2 that has learned nothing, with a tokenizer made from the README."""

from __future__ import annotations

from typing import TYPE_CHECKING

import tokenizers
import torch
from transformers import GPT2Config, GPT2LMHeadModel, GPT2TokenizerFast

from tests.service import ROOT

if TYPE_CHECKING:
    from pathlib import Path

END = "<|endoftext|>"
POSITIONS = 1024


def save_untrained(folder: Path) -> None:
    """Write model and tokenizer as Hugging Face's libraries do."""
    tokenizer = tokenizers.ByteLevelBPETokenizer()
    tokenizer.train([str(ROOT / "README.md")], vocab_size=600, special_tokens=[END], show_progress=False)
    GPT2TokenizerFast(tokenizer_object=tokenizer._tokenizer).save_pretrained(folder)
    torch.manual_seed(7)
    size = {
        "vocab_size": tokenizer.get_vocab_size(),
        "n_positions": POSITIONS,
        "n_embd": 256,
        "n_layer": 4,
        "n_head": 4,
    }
    GPT2LMHeadModel(GPT2Config(**size, bos_token_id=0, eos_token_id=0)).save_pretrained(folder)
