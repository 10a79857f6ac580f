"""A classifier and a reranker by transformers and sentence-transformers, without a server; and their folders.

    python -m benchmarks.classification_alone make FOLDER
    python -m benchmarks.classification_alone measure FOLDER --texts FILE

The second prints JSON: name -> texts or pairs a second. A program of its own, with torch's threads as by default.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import warnings
from pathlib import Path

import torch
from sentence_transformers import CrossEncoder
from transformers import AutoTokenizer, DistilBertConfig, DistilBertForSequenceClassification, pipeline
from transformers.utils import logging

from benchmarks.embeddings import default_folder
from benchmarks.encoder_alone import BATCH, rate

SPECIAL_TOKENS = {
    "cls_token": "[CLS]",
    "mask_token": "[MASK]",
    "pad_token": "[PAD]",
    "sep_token": "[SEP]",
    "unk_token": "[UNK]",
}
LABELS = ("negative", "neutral", "positive")


def make(folder: Path) -> None:
    """`folder`/classifier and `folder`/reranker: 66 million random weights each, and BERT's own tokenizer.

    The tokenizer's files are copied: libraries of any age read them.
    """
    torch.manual_seed(1)
    tokenizer = AutoTokenizer.from_pretrained(default_folder(), local_files_only=True)
    for name, labels in (("classifier", LABELS), ("reranker", ("relevance",))):
        config = DistilBertConfig(
            vocab_size=len(tokenizer),
            id2label=dict(enumerate(labels)),
            label2id={label: number for number, label in enumerate(labels)},
        )
        DistilBertForSequenceClassification(config).save_pretrained(folder / name)
        for file in ("tokenizer.json", "vocab.txt"):
            shutil.copy(default_folder() / file, folder / name)
        settings = {"tokenizer_class": "BertTokenizer", "model_max_length": config.max_position_embeddings}
        (folder / name / "tokenizer_config.json").write_text(json.dumps(settings | SPECIAL_TOKENS), encoding="utf-8")


def measure(folder: Path, texts: list[str], seconds: float) -> dict[str, float]:
    """What is printed."""
    classify = pipeline("text-classification", str(folder / "classifier"), device="cpu")
    reranker = CrossEncoder(str(folder / "reranker"), device="cpu", local_files_only=True)
    some, many = texts[:BATCH], texts[: 4 * BATCH]
    pairs = [(texts[0], text) for text in many]

    def one_by_one() -> None:
        for text in some:
            classify(text, truncation=True)

    def rerank() -> None:
        reranker.predict(pairs, batch_size=BATCH, show_progress_bar=False)

    return {
        "transformers' pipeline, one text a call": rate(one_by_one, seconds) * len(some),
        f"transformers' pipeline, batches of {BATCH}": len(many)
        * rate(lambda: classify(many, truncation=True, batch_size=BATCH), seconds),
        f"CrossEncoder.predict, batches of {BATCH}, pairs": rate(rerank, seconds) * len(pairs),
    }


def main() -> None:
    """Do what the command line asks for."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.classification_alone", description=__doc__)
    parser.add_argument("task", choices=("make", "measure"))
    parser.add_argument("folder", type=Path)
    parser.add_argument("--texts", type=Path, help="one text a line")
    parser.add_argument("--seconds", type=float, default=2.0, help="time for each figure (default: %(default)s)")
    arguments = parser.parse_args()
    logging.disable_progress_bar()
    torch.set_grad_enabled(False)
    if arguments.task == "make":
        make(arguments.folder)
        return
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        json.dump(measure(arguments.folder, arguments.texts.read_text().splitlines(), arguments.seconds), sys.stdout)


if __name__ == "__main__":
    main()
