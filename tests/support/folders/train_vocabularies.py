"""Trains the tokens of vocabularies.py and writes them beside it: `python -m tests.support.folders.train_vocabularies`.

Each run gives others, since the library breaks ties by chance. Afterwards docs/models.md is to be written anew.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import tokenizers
from tokenizers import models, normalizers, pre_tokenizers, trainers

from tests.support.folders.vocabularies import corpus

SIZE = 600  # tokens, beside special ones
BYTES = pre_tokenizers.ByteLevel.alphabet()
WRITTEN = Path(__file__).with_name("vocabularies.json")


def _trained(tokenizer: tokenizers.Tokenizer, trainer: trainers.Trainer) -> dict[str, Any]:
    """The model of tokenizer.json after training."""
    tokenizer.train_from_iterator(corpus(), trainer)
    model: dict[str, Any] = json.loads(tokenizer.to_str())["model"]
    return model


def _word_pieces() -> list[str]:
    """Of WordPiece."""
    tokenizer = tokenizers.Tokenizer(models.WordPiece(unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=False)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    trainer = trainers.WordPieceTrainer(vocab_size=SIZE + 1, special_tokens=["[UNK]"], show_progress=False)
    vocabulary = _trained(tokenizer, trainer)["vocab"]
    return sorted(vocabulary, key=vocabulary.__getitem__)[1:]


def _byte_pairs() -> tuple[list[str], list[list[str]]]:
    """Tokens, and the merges that make them, of bytes as GPT-2 writes them."""
    tokenizer = tokenizers.Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    model = _trained(tokenizer, trainers.BpeTrainer(vocab_size=SIZE, initial_alphabet=BYTES, show_progress=False))
    return sorted(model["vocab"], key=model["vocab"].__getitem__), model["merges"]


def _character_pairs() -> tuple[list[str], list[list[str]]]:
    """Tokens and merges of characters, with ▁ for a space, as Gemma's; what is not there falls back to bytes."""
    tokenizer = tokenizers.Tokenizer(models.BPE())
    tokenizer.normalizer = normalizers.Replace(" ", "▁")
    tokenizer.pre_tokenizer = pre_tokenizers.Split("▁", "merged_with_next")
    model = _trained(tokenizer, trainers.BpeTrainer(vocab_size=SIZE, limit_alphabet=120, show_progress=False))
    return sorted(model["vocab"], key=model["vocab"].__getitem__), model["merges"]


def _unigrams() -> list[list[Any]]:
    """Pieces and their scores, with ▁ for a space, as SentencePiece's."""
    tokenizer = tokenizers.Tokenizer(models.Unigram())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Metaspace()])
    trainer = trainers.UnigramTrainer(
        vocab_size=SIZE + 1, special_tokens=["<unk>"], unk_token="<unk>", show_progress=False
    )
    pieces: list[list[Any]] = _trained(tokenizer, trainer)["vocab"]
    return pieces[1:]


if __name__ == "__main__":
    trained = {
        "word_pieces": _word_pieces(),
        "byte_pairs": _byte_pairs(),
        "character_pairs": _character_pairs(),
        "unigrams": _unigrams(),
    }
    WRITTEN.write_text(json.dumps(trained, ensure_ascii=False, separators=(",", ":")) + "\n", encoding="utf-8")
