"""Answers that take a request to the model for each pair of texts: labels of a caller's own, and ranks."""

from __future__ import annotations

from typing import TYPE_CHECKING

from server.models import zero_shot
from server.models.answers import best_texts
from server.models.fan_out import answer_all

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from predictor.ttypes import Ranked

    from server.calls import Pending
    from server.models.call_options import Labelling, Ranking
    from server.models.model import Model
    from server.models.requests import Entailment, RequestContext


async def label(
    texts: Sequence[str],
    wanted: Labelling,
    model: Model,
    context: RequestContext,
    check: Callable[[Entailment], object],
) -> list[dict[str, float]]:
    """Scores of the caller's own labels for each text. A PredictionError names the text: `texts[index]: ...`."""
    labels, (truncate, raw_scores, multi_label, _) = wanted.candidate_labels, wanted.classification
    sentences = zero_shot.hypotheses(labels, wanted.hypothesis_template)
    pairs = [(text, sentence) for text in texts for sentence in sentences]
    answers = await answer_all(
        pairs, lambda pair: model.entail(*pair, truncate, context), "texts", check, len(labels), context.client
    )
    of_texts = (answers[first : first + len(labels)] for first in range(0, len(answers), len(labels)))
    return [zero_shot.scores(labels, of_text, bool(multi_label), raw_scores) for of_text in of_texts]


async def rank(
    query: str,
    texts: Sequence[str],
    wanted: Ranking,
    model: Model,
    context: RequestContext,
    check: Callable[[float], object],
) -> list[Ranked]:
    """The texts' places and scores, the best first. A PredictionError names the text: `texts[index]: ...`."""
    requests: list[Pending[float]] = []

    def submit(text: str) -> Pending[float]:
        request = model.score_pair(query, text, wanted.truncate, wanted.raw_scores, context)
        requests.append(request)
        return request

    scores = await answer_all(texts, submit, "texts", check, client=context.client)
    return best_texts(scores, [request.tokens for request in requests], wanted.top_n)
