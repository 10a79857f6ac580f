"""Options of a text: the tokens of plain sampling, scores of transformers, and texts that end as they are told."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch

from ext import _generator
from ext._batching import Status
from tests.support.generators import (
    DEADLINE,
    LENGTH,
    STOP,
    VOCABULARY,
    Generators,
    prompts,
    random_model,
    source_of,
)
from tests.support.plain_sampling import Plain

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from tests.support.generators import Source

ENDS = (7, 11, 250)
SAMPLED: dict[str, dict[str, Any]] = {
    "plain": {},
    "min-p": {"min_p": 0.3},
    "min-p and top-p": {"min_p": 0.05, "top_p": 0.95, "temperature": 3.0},
    "min-p and top-k": {"min_p": 0.02, "top_k": 12, "temperature": 3.0},
    "min-p of 1": {"min_p": 1.0},
    "top-p of 0": {"top_p": 0.0},
    "presence": {"presence_penalty": 2.0},
    "frequency": {"frequency_penalty": 1.5},
    "less than none": {"presence_penalty": -2.0, "frequency_penalty": -1.0, "temperature": 2.0},
    "all penalties": {"presence_penalty": 0.7, "frequency_penalty": 0.3, "repetition_penalty": 1.4},
    "greedy penalties": {"presence_penalty": 1.0, "frequency_penalty": 2.0, "temperature": 0.0},
    "bias": {"logit_bias": {3: 8.0, 5: -100.0, 9: 7.5}},
    "bias that decides": {"logit_bias": {42: 100.0}},
    "bias and penalties": {"logit_bias": {3: 9.0, 4: 9.0}, "frequency_penalty": 2.0, "repetition_penalty": 1.2},
    "min tokens": {"min_tokens": 12, "logit_bias": dict.fromkeys(ENDS, 12.0)},
    "stop tokens": {"stop_token_ids": [21, 22, 23, 24, 25], "logit_bias": {22: 6.0}},
    "stop tokens after min tokens": {"stop_token_ids": [21, 22], "logit_bias": {22: 12.0, 21: 11.0}, "min_tokens": 5},
    "ignored ends": {"ignore_eos": True, "logit_bias": dict.fromkeys(ENDS, 12.0)},
    "ignored ends and min tokens": {"ignore_eos": True, "min_tokens": 4, "logit_bias": dict.fromkeys(ENDS, 12.0)},
}


@pytest.mark.parametrize("name", SAMPLED)
def test_tokens_are_those_of_plain_sampling(source: Source, reference: Any, name: str) -> None:
    """Of all prompts at once, which are each other's batch mates."""
    options, asked = SAMPLED[name], prompts()
    plain = Plain(**options)
    with Generators(source, ends=ENDS) as generators:
        for prompt in asked:
            generators.submit(prompt, 20, **{"temperature": 1.0} | options)
        found = [(tokens, finish) for _, (_, tokens, finish, _) in generators.wait()]
    assert found == [plain.text(reference, prompt, 20, ENDS) for prompt in asked]
    if name != "plain":
        assert found != [Plain().text(reference, prompt, 20, ENDS) for prompt in asked]


def test_stop_strings_wait_for_min_tokens(source: Source) -> None:
    with Generators(source) as generators:
        generators.submit([1, 2], 24)
        ((_, (whole, tokens, _, _)),) = generators.wait()
    stop = f"{tokens[3]} "
    with Generators(source) as generators:
        for min_tokens in (0, 4, 5, 24):
            generators.submit([1, 2], 24, stop=[stop], min_tokens=min_tokens)
        early, at_it, later, never = (value for _, value in generators.wait())
    assert (early[1], early[2]) == (at_it[1], at_it[2]) == (tokens[: len(early[1])], STOP)
    assert len(early[1]) <= 4
    assert len(later[1]) >= 5
    assert whole.startswith(later[0])
    assert (never[0], never[2]) == (whole, LENGTH)


# ------------------------------------------------------------------------------------------------------------ scores


def log_shares(model: Any, tokens: list[int]) -> NDArray[np.float64]:
    """Of each next token: float64 [tokens, vocabulary]."""
    with torch.inference_mode():
        logits = model(torch.tensor([tokens])).logits[0].double()
    return torch.log_softmax(logits, -1).numpy()  # type: ignore[no-any-return]


def check_scores(found: Any, shares: NDArray[np.float64], tokens: list[int], top: int) -> None:
    assert [token for token, _, _ in found] == tokens
    for (token, logprob, alternatives), row in zip(found, shares, strict=True):
        assert logprob == pytest.approx(row[token], abs=1e-4)
        best = np.sort(row)[::-1][:top]
        assert [chance for _, chance in alternatives] == pytest.approx(best, abs=1e-4)
        assert [row[other] for other, _ in alternatives] == pytest.approx(best, abs=1e-4)
        assert len({other for other, _ in alternatives}) == top


def test_scores_are_those_of_transformers_whatever_else_is_asked_for(source: Source, reference: Any) -> None:
    """They are the model's own: no temperature, no penalty and no bias changes them."""
    options = {"temperature": 2.0, "frequency_penalty": 2.0, "logit_bias": {5: 9.0}, "top_k": 30}
    asked = prompts()
    with Generators(source) as generators:
        for prompt in asked:
            generators.submit(prompt, 20, logprobs=5, prompt_logprobs=2, **options)
        answers = [value for _, value in generators.wait()]
        plain = generators.tokens(asked, 20, **options)
    assert [tokens for _, tokens, _, _ in answers] == plain, "to score changes no text"
    for prompt, (_, tokens, _, (of_prompt, generated)) in zip(asked, answers, strict=True):
        shares = log_shares(reference, prompt + tokens)
        check_scores(of_prompt, shares[: len(prompt) - 1], prompt[1:], 2)
        check_scores(generated, shares[len(prompt) - 1 : -1], tokens, 5)


def test_a_prompt_alone_is_scored(source: Source, reference: Any) -> None:
    """Also a prompt whose pages are known, beside texts that grow, and with less room than all need together."""
    asked = prompts()
    with Generators(source, cache_bytes=160 * 2**10) as generators:
        assert generators.native.pages < 30
        generators.tokens(asked, 1)
        generators.submitted, generators.outcomes = 0, {}
        for _ in range(2):
            for prompt in asked:
                generators.submit(prompt, 0, prompt_logprobs=0, logprobs=0)
                generators.submit(prompt, 8)
        answers = [value for _, value in generators.wait()]
        assert generators.native.stats()["put_back"] > 0
    for prompt, (text, tokens, finish, scores) in zip(asked * 2, answers[::2], strict=True):
        assert (text, tokens, finish) == ("", [], LENGTH)
        of_prompt = [] if len(prompt) == 1 else scores[0]
        check_scores(of_prompt, log_shares(reference, prompt)[:-1], prompt[1:], 0)


def test_scores_of_a_stream_come_with_its_tokens(source: Source) -> None:
    prompt = prompts()[3]
    with Generators(source) as generators:
        generators.submit(prompt, 12, logprobs=1, prompt_logprobs=1)
        ((_, whole),) = generators.wait()
        request = generators.submit(prompt, 12, logprobs=1, prompt_logprobs=1, streamed=True)
        last = generators.wait()[1][1]
    first, *more = generators.scores[request]
    assert first[0] == whole[3][0], "the prompt's come once"
    assert not any(of_prompt for of_prompt, _ in [*more, last[3]])
    assert [scores[1] for scores in (first, *more, last[3])] == [[score] for score in whole[3][1]]


# --------------------------------------------------------------------------------------------------------- deadlines


@pytest.mark.parametrize("streamed", [False, True])
def test_a_text_whose_deadline_passes_ends_with_what_there_is(source: Source, streamed: bool) -> None:
    """At half of the time that it takes; tried again where the machine was too slow or too fast for that."""
    with Generators(source, slots=2) as generators:
        begin = time.monotonic_ns()
        exact = generators.tokens([[1, 2, 3]] * 2, 120)[0]
        time_ns = (time.monotonic_ns() - begin) // 2
        for _ in range(50):
            generators.submitted, generators.outcomes, generators.progress = 0, {}, {}
            late = time.monotonic_ns() + time_ns
            request = generators.submit([1, 2, 3], 120, streamed=streamed, deadline_ns=late)
            generators.submit([1, 2, 3], 120)
            (status, value), (_, mate) = generators.wait()
            if status == Status.OK and value[2] == DEADLINE:
                break
            time_ns = time_ns * 3 // (4 if status == Status.OK else 2)
        else:
            pytest.fail("the deadline never passed in the middle of the text")
        assert generators.native.stats()["expired"] + generators.native.stats()["failed"] < 50
    text = "".join(part for part, _ in generators.progress.get(request, [])) + value[0]
    assert text == "".join(f"{token} " for token in value[1])
    assert 0 < len(value[1]) < 120
    assert value[1] == exact[: len(value[1])]
    assert mate[1] == exact


def test_a_text_without_a_token_has_nothing_to_keep(tmp_path: Path) -> None:
    slow = source_of(random_model(3, n_layer=2, n_head=12, n_embd=768, n_inner=4 * 768), tmp_path)
    with Generators(slow, cache_bytes=64 << 20) as generators:
        generators.submit([5] * 127, 0, prompt_logprobs=0, deadline_ns=time.monotonic_ns() + 3 * 10**6)
        ((status, message),) = generators.wait()
    assert status == Status.DEADLINE_EXCEEDED
    assert "deadline" in message


# --------------------------------------------------------------------------------------------------------- refusals


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"stop_token_ids": [VOCABULARY]}, "vocabulary"),
        ({"logit_bias": {VOCABULARY: 1.0}}, "vocabulary"),
        ({"no_such": 1}, "unknown setting 'no_such'"),
        ({"top_k": -1}, "top_k is out of range"),
        ({"max_tokens": 0}, "nothing to do"),
    ],
)
def test_wrong_options(shared: Generators, options: dict[str, Any], message: str) -> None:
    with pytest.raises((ValueError, TypeError), match=message):
        shared.submit([1], **options)


def test_what_a_token_writes(shared: Generators) -> None:
    assert shared.native.bytes_of(12) == b"12 "
    with pytest.raises(ValueError, match="vocabulary"):
        shared.native.bytes_of(VOCABULARY)
    assert {reason.name: reason.value for reason in _generator.FinishReason}["DEADLINE"] == DEADLINE
