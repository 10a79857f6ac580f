"""How well texts answer a query: cross-encoders that sentence-transformers saved."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from server.errors import ModelError
from server.models.capabilities import Capability
from server.models.folder.classifier import ClassifierModel
from server.models.folder.labels import as_they_are, scores_name, sigmoid

if TYPE_CHECKING:
    from server.models.folder.labels import Scores
    from server.models.folder.model_folder import ModelFolder

_ACTIVATIONS: dict[str, Scores] = {
    "torch.nn.modules.activation.Sigmoid": sigmoid,
    "torch.nn.modules.linear.Identity": as_they_are,
}


class RerankerModel(ClassifierModel):
    """A score for each pair; with more labels than one, a classifier of texts."""

    kind = "cross-encoder"

    def __init__(self, native: Any, folder: ModelFolder, *rest: Any) -> None:
        super().__init__(native, folder, *rest)
        if not self._tokenizer.pairs:
            raise ModelError("the tokenizer reads no pairs of texts")
        if folder.module.prompts.get(folder.module.default_prompt or ""):
            raise ModelError(f"a default prompt ({folder.module.default_prompt}) before pairs of texts is not served")
        self._scores = _activation(folder)
        if len(folder.labels) == 1:
            self.capabilities = (Capability.RERANK, Capability.TOKENIZE)
            self.takes = frozenset({"raw_scores"})
        self.details |= {"output": "scores", "scores": scores_name(self._scores)}


def _activation(folder: ModelFolder) -> Scores:
    """As sentence-transformers finds it: in its own settings, in config.json, else by the number of labels."""
    name = folder.activation
    if name is None:
        return sigmoid if len(folder.labels) == 1 else as_they_are
    if name not in _ACTIVATIONS:
        raise ModelError(f"activation_fn is {name!r}; served are {', '.join(_ACTIVATIONS)}")
    return _ACTIVATIONS[name]
