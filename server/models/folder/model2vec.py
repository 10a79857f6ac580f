"""Model2Vec's folders without modules.json, as its own library reads them.

With a modules.json they are sentence-transformers' StaticEmbedding, which reads unknown tokens too.
"""

from __future__ import annotations

import json
import statistics
from typing import TYPE_CHECKING, Any, NamedTuple

from server.errors import ModelError
from server.models.folder.fields import refuse_unknown
from server.models.folder.sentence_transformers import SentenceTransformer, count
from server.models.formats import read_json

if TYPE_CHECKING:
    from collections.abc import Collection
    from pathlib import Path

    from server.models.folder.tokenizer_files import TokenizerFiles

CONFIG = "config.json"
MODEL_TYPE = "model2vec"

_MAX_TOKENS = 512  # where config.json does not say


class Words(NamedTuple):
    """What its library does to a text beside tokenising it."""

    unknown: int | None
    """The token that is left out, after the text was cut."""
    characters: int | None
    """All that is looked at of a text."""


def read(path: Path, ignored: Collection[str]) -> SentenceTransformer:
    """The folder as if modules.json said it. Raises ModelError, OSError."""
    config = read_json(path / CONFIG)
    refuse_unknown(CONFIG, config, ignored)
    if config.get("head_config") is not None:
        raise ModelError(f"{CONFIG}: head_config: Model2Vec's classifiers are not served")
    model = SentenceTransformer(path, static=True, head=[{"type": "normalize"}] if config.get("normalize") else [])
    if config.get("max_length", _MAX_TOKENS) is not None:  # null: nothing is cut
        model.max_tokens = count(config, "max_length") or _MAX_TOKENS
    return model


def words(files: TokenizerFiles, max_tokens: int | None) -> Words:
    """Of a tokenizer; so many tokens of a text are read, all where it is None."""
    tokenizer = files.tokenizer
    if max_tokens is None:
        return Words(_unknown(tokenizer), None)
    lengths = map(len, tokenizer.get_vocab())
    return Words(_unknown(tokenizer), max_tokens * int(statistics.median(lengths)))


def _unknown(tokenizer: Any) -> int | None:
    if hasattr(tokenizer.model, "unk_token"):
        token = tokenizer.model.unk_token
        found: int | None = None if token is None else tokenizer.token_to_id(token)
    else:
        found = json.loads(tokenizer.to_str())["model"].get("unk_id")
    return found
