"""What PyLate writes into config_sentence_transformers.json, in sentence-transformers' own words.

As sentence-transformers reads it (MultiVectorEncoder): PyLate lists no module that leaves words out or scales vectors,
and puts a token before the texts of each kind, which becomes the beginning of their prompt.
"""

from __future__ import annotations

import string
from typing import Any, NamedTuple

from server.errors import ModelError

MODEL_TYPE = "ColBERT"

_TASKS = ("query", "document")
_FIELDS = (
    "query_prefix",
    "document_prefix",
    "query_length",
    "document_length",
    "attend_to_expansion_tokens",
    "do_query_expansion",
    "skiplist_words",
)
_QUERY_LENGTH = 32  # where nothing is said


class PyLate(NamedTuple):
    """What it says."""

    prompts: dict[str, str]
    """Each with its prefix."""
    prefixes: list[str]
    lengths: dict[str, Any]
    """query_length, document_length and query_expansion, as far as there are any."""
    skiplist: list[str] | None
    """Words that documents have no vectors of; vectors then have length 1. None: modules say so."""


def read(config: dict[str, Any], prompts: dict[str, str]) -> PyLate | None:
    """None where there is nothing of it. Raises ModelError."""
    is_whole = config.get("model_type") == MODEL_TYPE
    if not is_whole and all(config.get(name) is None for name in _FIELDS):
        return None
    lengths: dict[str, Any] = {name: _count(config, name) for name in ("query_length", "document_length")}
    if config.get("do_query_expansion") is not False:
        attends = config.get("attend_to_expansion_tokens") is True
        length = lengths.pop("query_length") or _QUERY_LENGTH
        lengths["query_expansion"] = {"strategy": "fixed", "attend": attends, "length": length}
    prefixes = [config.get(f"{task}_prefix") or "" for task in _TASKS]
    if not all(isinstance(prefix, str) for prefix in prefixes):
        raise ModelError(f"query_prefix and document_prefix: expected strings, got {prefixes!r}")
    begun = {
        task: prefix + prompts.get(task, "").removeprefix(prefix) for task, prefix in zip(_TASKS, prefixes, strict=True)
    }
    words = config.get("skiplist_words")
    return PyLate(
        prompts | begun,
        prefixes,
        {name: value for name, value in lengths.items() if value is not None},
        (list(string.punctuation) if words is None else words) if is_whole else None,
    )


def _count(config: dict[str, Any], name: str) -> int | None:
    value = config.get(name)
    if value is not None and (type(value) is not int or value < 1):
        raise ModelError(f"{name}: expected a number from 1, got {value!r}")
    return value
