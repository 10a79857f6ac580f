"""Sparse vectors of texts (SPLADE): a weight for each token of the vocabulary, most of them 0."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from server.models.capabilities import Capability
from server.models.folder.encoder import PromptedModel
from server.models.vectors import SPARSE

if TYPE_CHECKING:
    from server.calls import Pending
    from server.models.folder.model_folder import ModelFolder
    from server.models.requests import Reading, RequestContext


class SparseModel(PromptedModel):
    """The numbers that are not 0, with their tokens."""

    kind = "sparse-encoder"
    capabilities = (Capability.EMBED_SPARSE, Capability.TOKENIZE)

    def __init__(self, native: Any, folder: ModelFolder, *rest: Any) -> None:
        super().__init__(native, folder, *rest)
        self._most = folder.module.max_active
        self.details |= {"output": "sparse vectors", "vocabulary": str(native.vocabulary)}

    def embed_sparse(self, text: str, reading: Reading, context: RequestContext) -> Pending[bytes]:
        """See Model.embed_sparse."""
        return self._answer(text, reading, context, None if self._most is None else self._greatest)

    def _greatest(self, numbers: bytes) -> bytes:
        pairs = np.frombuffer(numbers, SPARSE)
        kept = np.sort(np.argsort(-pairs["value"], kind="stable")[: self._most])
        return pairs[kept].tobytes()
