"""A vector for each token of a text (ColBERT, late interaction)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from server.errors import ModelError
from server.models.capabilities import Capability
from server.models.folder.encoder import PromptedModel
from server.models.folder.tokens import Tokens

if TYPE_CHECKING:
    from collections.abc import Callable

    from server.calls import Pending
    from server.models.folder.model_folder import ModelFolder
    from server.models.folder.tokens import Encoded
    from server.models.requests import Reading, RequestContext


_MASKS_MORE = "deberta-v2"  # sets what a mask hides to 0, from the embeddings on


class TokenVectorModel(PromptedModel):
    """Of a document: the vectors of its tokens, without those of the words that the folder leaves out.

    A text is a document, with the prompt of that name. One with the prompt named query is read as a query: words are
    not left out, and mask tokens fill it up to the query's length where the folder says so.
    """

    kind = "late-interaction-encoder"
    capabilities = (Capability.EMBED_TOKENS, Capability.TOKENIZE)

    def __init__(self, native: Any, folder: ModelFolder, *rest: Any) -> None:
        super().__init__(native, folder, *rest)
        self._default_prompt = self._default_prompt or self._prompts.get("document", "")
        lengths = folder.module.lengths
        self._expansion = _expansion(lengths.get("query_expansion"), folder)
        self._lengths = {task: lengths.get(f"{task}_length") for task in ("query", "document")}
        mask = folder.module.mask or {}
        words = mask.get("skiplist_words", [])
        self._skipped_tasks = frozenset(mask.get("skiplist_tasks", ()))
        self._skipped_ids = np.array(sorted(self._tokenizer.ids_of(words)), dtype=np.int64)
        self.dimensions = native.columns
        self.normalized = folder.head["modules"][-1:] == [{"type": "normalize"}]
        self.details |= {"output": "vectors of tokens", "dimensions": str(self.dimensions)}

    def embed_tokens(self, text: str, reading: Reading, context: RequestContext) -> Pending[bytes]:
        """See Model.embed_tokens."""
        task = "query" if reading.prompt_name == "query" else "document"
        prompt, left = self._prompt(reading), self._cuts_left(reading)

        def submit(encoded: Encoded) -> Pending[bytes]:
            tokens = self._tokens(encoded, left, task)
            return self._submit(tokens, reading.truncate, context, self._without_skipped(tokens.ids, task))

        return self._read((prompt + text,), submit, reading.truncate, left)

    def _tokens(self, encoded: Encoded, left: bool, task: str) -> Tokens:
        expansion = self._expansion if task == "query" else None
        if expansion is None:
            return self._tokenizer.single(encoded, left, self._lengths[task])
        most = expansion.length if expansion.is_fixed else self._lengths[task]
        query = self._tokenizer.single(encoded, left, most)
        added = max(0, expansion.length - len(query.ids))
        ids = query.ids + [expansion.token] * added
        return Tokens(ids, len(ids), query.is_cut, 0 if expansion.attends else added)

    def _without_skipped(self, ids: list[int], task: str) -> Callable[[bytes], bytes] | None:
        if task not in self._skipped_tasks or not self._skipped_ids.size:
            return None
        kept = ~np.isin(ids, self._skipped_ids)

        def convert(vectors: bytes) -> bytes:
            return np.frombuffer(vectors, "<f4").reshape(len(ids), -1)[kept].tobytes()

        return convert


class _Expansion(NamedTuple):
    """Tokens that fill a query up."""

    length: int
    token: int
    attends: bool
    """Tokens attend to them; they themselves attend to the query's own in any case."""
    is_fixed: bool
    """Longer queries are cut to the length."""


def _expansion(given: Any, folder: ModelFolder) -> _Expansion | None:
    if given is None:
        return None
    tokens = folder.tokenizer.special_tokens
    name = given.get("token") or tokens.get("mask_token") or tokens.get("eos_token")
    id_ = folder.tokenizer.tokenizer.token_to_id(name or "")
    strategy, length = given.get("strategy"), given.get("length")
    if id_ is None or strategy not in ("fixed", "min") or not isinstance(length, int):
        raise ModelError(f"query_expansion is {given!r}, which is not served")
    attends = given.get("attend") is True
    if not attends and folder.config.get("model_type") == _MASKS_MORE:
        raise ModelError(f"query_expansion has attend false, which is not served for {_MASKS_MORE}")
    return _Expansion(length, id_, attends, strategy == "fixed")
