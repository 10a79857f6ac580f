"""Small tokenizers of the kinds that folders have, saved by transformers."""

from __future__ import annotations

import json
import string
from typing import TYPE_CHECKING

from tokenizers import Tokenizer, models, pre_tokenizers, processors, trainers
from tokenizers.implementations import ByteLevelBPETokenizer

from tests.support.sentences import texts

if TYPE_CHECKING:
    from pathlib import Path

BERT_SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
ROBERTA_SPECIAL = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]
LETTERS = string.ascii_lowercase
WORDS = [
    *BERT_SPECIAL,
    *LETTERS,
    *(f"##{letter}" for letter in LETTERS),
    "the",
    "weather",
    ".",
    ",",
    "?",
    "Ü",
    "é",
    "A",
]


def write_vocabulary(folder: Path, model_type: str = "bert", words: list[str] = WORDS) -> None:
    """vocab.txt as the first BERT had it, and nothing else."""
    (folder / "vocab.txt").write_text("\n".join(words) + "\n")
    write_config(folder, model_type)


def write_byte_level(folder: Path, model_type: str = "roberta") -> None:
    """vocab.json and merges.txt as RoBERTa has them."""
    tokenizer = ByteLevelBPETokenizer()
    tokenizer.train_from_iterator(texts(200), vocab_size=400, special_tokens=ROBERTA_SPECIAL)
    tokenizer.save_model(str(folder))
    write_config(folder, model_type)


def write_unigram(folder: Path, model_type: str = "xlm-roberta") -> None:
    """tokenizer.json as converted from SentencePiece, without a tokenizer_config.json."""
    tokenizer = Tokenizer(models.Unigram())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Metaspace()])
    trainer = trainers.UnigramTrainer(vocab_size=300, special_tokens=ROBERTA_SPECIAL, unk_token="<unk>")
    tokenizer.train_from_iterator(texts(200), trainer)
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>", pair="<s> $A </s> </s> $B </s>", special_tokens=[("<s>", 0), ("</s>", 2)]
    )
    tokenizer.save(str(folder / "tokenizer.json"))
    write_config(folder, model_type)


def write_config(folder: Path, model_type: str) -> None:
    (folder / "config.json").write_text(json.dumps({"model_type": model_type}))


def change(folder: Path, file: str, **fields: object) -> None:
    """Set fields of a JSON file; None takes one out."""
    path = folder / file
    content = json.loads(path.read_text()) | fields
    path.write_text(json.dumps({name: value for name, value in content.items() if value is not None}))
