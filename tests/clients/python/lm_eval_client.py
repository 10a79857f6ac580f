"""lm-eval: the log-likelihoods of continuations, by its model local-completions."""

from __future__ import annotations

from lm_eval.api.instance import Instance
from lm_eval.models.openai_completions import LocalCompletionsAPI
from program import run


def answer(url: str, folder: str, pairs: list[tuple[str, str]], **_: object) -> dict[str, object]:
    """(log-likelihood, whether it is the greedy text) of each continuation after its context."""
    model = LocalCompletionsAPI(
        base_url=f"{url}/v1/completions",
        model="texts",
        tokenizer=folder,
        tokenizer_backend="huggingface",
        tokenized_requests=True,
        batch_size=4,
        max_length=256,
    )
    requests = [Instance("loglikelihood", {}, tuple(pair), place) for place, pair in enumerate(pairs)]
    return {"log_likelihoods": model.loglikelihood(requests)}


run(answer)
