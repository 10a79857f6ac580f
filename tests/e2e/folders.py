"""A folder of each kind, small and with random weights, as tests of the whole service use them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.support.folders import heads

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from tests.support.shared import SharedFiles

WRITERS = {
    "encoder": lambda path: heads.sentence_encoder(
        path, "bert", "mean", ("normalize",), options={"prompts": heads.PROMPTS, "default_prompt_name": None}
    ),
    "topics": lambda path: heads.classifier(path, "distilbert"),
    "nli": lambda path: heads.classifier(path, "roberta", labels=heads.ENTAILMENT),
    "tags": lambda path: heads.tagger(path, "bert"),
    "reranker": lambda path: heads.reranker(path, "bert"),
    "splade": lambda path: heads.sparse_encoder(path, "distilbert"),
    "colbert": lambda path: heads.token_encoder(path, "bert"),
}


def made(shared_files: SharedFiles, names: Sequence[str] = tuple(WRITERS)) -> dict[str, Path]:
    """Name -> folder."""
    return {name: shared_files.made(f"folders/{name}", WRITERS[name]) for name in names}
