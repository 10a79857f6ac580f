"""Labels of parts of a text: token classifiers, their tokens merged as transformers' pipeline merges them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from server.models.capabilities import Capability
from server.models.folder.entities import Tagger
from server.models.folder.text_model import TextModel, pending_of
from server.models.folder.tokens import Encoded
from server.models.requests import Tagging
from server.models.tokenizer import cut_to_bytes

if TYPE_CHECKING:
    from server.calls import Pending
    from server.models.folder.model_folder import ModelFolder
    from server.models.requests import Classification, Entity, RequestContext

_INLINE_CHARACTERS = 2048  # so many are tokenised on the event loop, in less than a millisecond


class TokenClassifierModel(TextModel):
    """Entities; `predict` gives the best score of each label that a token of the text has."""

    kind = "token-classifier"
    capabilities = (Capability.CLASSIFY_TOKENS, Capability.CLASSIFY, Capability.TOKENIZE)

    def __init__(self, native: Any, folder: ModelFolder, *rest: Any) -> None:
        super().__init__(native, folder, *rest)
        self._tagger = Tagger(folder.labels, folder.tokenizer)
        self.details |= {"output": "entities", "labels": ", ".join(folder.labels)}

    def predict(self, doc: str, classification: Classification, context: RequestContext) -> Pending[dict[str, float]]:
        """Label -> the best score of an entity with it; labels that no part of the text has are left out."""

        async def best(outer: Pending[dict[str, float]]) -> dict[str, float]:
            request = self.classify_tokens(doc, Tagging(truncate=classification.truncate), context)
            scores: dict[str, float] = {}
            for entity in await request:
                scores[entity.label] = max(entity.score, scores.get(entity.label, 0.0))
            outer.tokens = request.tokens
            return scores

        return pending_of(best)

    def classify_tokens(self, text: str, tagging: Tagging, context: RequestContext) -> Pending[list[Entity]]:
        """See Model.classify_tokens."""
        if not self._has_few_bytes(text):
            if not tagging.truncate:
                raise self._too_many_bytes()
            text = cut_to_bytes(text, self._max_bytes, self._tokenizer.truncates_left)
        if len(text) <= _INLINE_CHARACTERS:
            return self._tagged(text, self._tokenizer.encode_with_offsets(text), tagging, context)

        async def later(outer: Pending[list[Entity]]) -> list[Entity]:
            encoding = await self._in_thread(self._tokenizer.encode_with_offsets, text)
            request = self._tagged(text, encoding, tagging, context)
            outer.tokens = request.tokens
            return await request

        return pending_of(later)

    def _tagged(self, text: str, encoding: Any, tagging: Tagging, context: RequestContext) -> Pending[list[Entity]]:
        left = self._tokenizer.truncates_left
        tokens = self._tokenizer.single(Encoded(encoding.ids), left)
        begin, end = self._tokenizer.kept(len(encoding.ids), left)
        before = self._tokenizer.before

        def entities(numbers: bytes) -> list[Entity]:
            logits = np.frombuffer(numbers, "<f4").reshape(len(tokens.ids), -1)[before : before + end - begin]
            offsets, names = encoding.offsets[begin:end], encoding.tokens[begin:end]
            return self._tagger.entities(text, logits, names, offsets, before, tagging)

        return self._submit(tokens, tagging.truncate, context, entities)
