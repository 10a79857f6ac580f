"""Labels of texts: sequence classifiers, and labels of a caller's own by models of natural language inference."""

from __future__ import annotations

from array import array
from typing import TYPE_CHECKING, Any

from server.models.capabilities import Capability
from server.models.folder.labels import as_they_are, scores_name, scores_of, sigmoid, softmax
from server.models.folder.text_model import TextModel
from server.models.requests import Entailment

if TYPE_CHECKING:
    from server.calls import Pending
    from server.models.folder.labels import Scores
    from server.models.folder.model_folder import ModelFolder
    from server.models.folder.tokens import Encoded
    from server.models.requests import Classification, RequestContext

_SHOWN_LABELS = 100


class ClassifierModel(TextModel):
    """Label -> score. With a single label it also says how well a text answers a query."""

    kind = "text-classifier"

    def __init__(self, native: Any, folder: ModelFolder, *rest: Any) -> None:
        super().__init__(native, folder, *rest)
        self.labels = folder.labels
        self._scores = scores_of(folder.config, len(folder.labels))
        self._entailment = entailment_of(folder.labels) if self._tokenizer.pairs else None
        is_pair_score = len(folder.labels) == 1 and self._tokenizer.pairs
        further = (Capability.RERANK,) if is_pair_score else ()
        self.capabilities = (Capability.CLASSIFY, *further, Capability.TOKENIZE)
        self.takes = frozenset(
            {"raw_scores", "multi_label"} | ({"candidate_labels"} if self._entailment is not None else set())
        )
        shown = folder.labels[:_SHOWN_LABELS]
        self.details |= {
            "output": "labels",
            "labels": ", ".join(shown) + (", ..." if len(folder.labels) > len(shown) else ""),
            "scores": scores_name(self._scores),
        }

    def predict(self, doc: str, classification: Classification, context: RequestContext) -> Pending[dict[str, float]]:
        """See Model.predict."""
        scores = self._scores_asked_for(classification)

        def labelled(numbers: bytes) -> dict[str, float]:
            return dict(zip(self.labels, scores(array("f", numbers)), strict=True))

        def submit(encoded: Encoded) -> Pending[dict[str, float]]:
            tokens = self._tokenizer.single(encoded, self._tokenizer.truncates_left)
            return self._submit(tokens, classification.truncate, context, labelled)

        return self._read((doc,), submit, classification.truncate, self._tokenizer.truncates_left)

    def score_pair(
        self, query: str, text: str, truncate: bool, raw_scores: bool, context: RequestContext
    ) -> Pending[float]:
        """See Model.score_pair."""
        scores = as_they_are if raw_scores else self._scores

        def submit(first: Encoded, second: Encoded) -> Pending[float]:
            tokens = self._tokenizer.pair(first, second, self._tokenizer.truncates_left)
            return self._submit(tokens, truncate, context, lambda numbers: scores(array("f", numbers))[0])

        return self._read((query, text), submit, truncate, self._tokenizer.truncates_left)

    def entail(self, text: str, hypothesis: str, truncate: bool, context: RequestContext) -> Pending[Entailment]:
        """See Model.entail. Of a pair that is too long the text is cut, not the hypothesis."""
        assert self._entailment is not None
        entailment = self._entailment
        contradiction = len(self.labels) - 1 if entailment == 0 else 0

        def entailed(numbers: bytes) -> Entailment:
            logits = array("f", numbers)
            return Entailment(logits[contradiction], logits[entailment])

        def submit(first: Encoded, second: Encoded) -> Pending[Entailment]:
            tokens = self._tokenizer.pair(first, second, self._tokenizer.truncates_left, only_first=True)
            return self._submit(tokens, truncate, context, entailed)

        return self._read((text, hypothesis), submit, truncate, self._tokenizer.truncates_left)

    def _scores_asked_for(self, classification: Classification) -> Scores:
        if classification.raw_scores:
            return as_they_are
        if classification.multi_label is None:
            return self._scores
        return sigmoid if classification.multi_label else softmax


def entailment_of(labels: list[str]) -> int | None:
    """The label that says that one text follows from another, as transformers' zero-shot pipeline finds it."""
    found = (index for index, label in enumerate(labels) if label.lower().startswith("entail"))
    return next(found, None) if len(labels) > 1 else None
