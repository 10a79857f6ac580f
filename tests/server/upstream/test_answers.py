"""Fields of answers, right and wrong."""

from __future__ import annotations

import base64
import json
from typing import Any

import numpy as np
import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from server.upstream import answers
from server.upstream.errors import AnswerError
from tests.support.upstream_server import completion, embeddings

USAGE = {"prompt_tokens": 2, "completion_tokens": 3}
ANY_JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)


def test_a_text() -> None:
    for part, expected in (
        (completion("a", "stop", USAGE, stop_reason="b"), ("a", "stop", "b", (2, 3))),
        (completion("a", None, None, matched_stop=7), ("a", None, 7, None)),
        ({"choices": [], "usage": USAGE}, ("", None, None, (2, 3))),
    ):
        assert answers.completion(part)[:4] == expected


@pytest.mark.parametrize(
    ("answer", "problem"),
    [
        ([], "the answer is a list, not an object"),
        ({}, "choices is missing, not a list"),
        ({"choices": {}}, "choices is an object, not a list"),
        ({"choices": [1]}, r"choices\[0\] is 1, not an object"),
        ({"choices": [{}, {}]}, "choices has 2 items, not 1"),
        ({"choices": [{}]}, r"choices\[0\].text is missing, not a string"),
        (completion(["a"], "stop"), r"choices\[0\].text is a list"),  # type: ignore[arg-type]
        (completion("a", 1), r"choices\[0\].finish_reason is 1, not a string"),  # type: ignore[arg-type]
        (completion("a", "stop", []), "usage is a list, not an object"),
        (completion("a", "stop", {"prompt_tokens": True}), "usage has True prompt_tokens"),
        (completion("a", "stop", {"prompt_tokens": -1}), "usage has -1 prompt_tokens"),
        (completion("a", "stop", USAGE | {"completion_tokens": 2**31}), "2147483648 completion_tokens"),
        (completion("a", "stop", USAGE | {"completion_tokens": 1.5}), "1.5 completion_tokens"),
    ],
)
def test_what_is_no_text(answer: Any, problem: str) -> None:
    with pytest.raises(AnswerError, match=problem):
        answers.completion(answer)


@pytest.mark.parametrize("encoding", ["float", "base64"])
def test_vectors_are_in_the_order_of_their_texts(encoding: str) -> None:
    texts = ["a", "b", "c"]
    answer = embeddings({"input": texts, "encoding_format": encoding})
    straight = answers.vectors(answer, 3, 8)
    answer["data"].reverse()
    assert answers.vectors(answer, 3, None) == straight
    assert straight[1] == 3


def vectors_with(value: Any) -> dict[str, Any]:
    return {"data": [{"index": 0, "embedding": [1, 2]}, {"index": 1, "embedding": value}]}


@pytest.mark.parametrize(
    ("answer", "problem"),
    [
        ({"data": []}, "data has 0 items for 2 texts"),
        (vectors_with([1]), r"data\[1\].embedding has 1 numbers, not 2"),
        (vectors_with([]), r"data\[1\].embedding is a list, not a list of numbers"),
        (vectors_with([1, "2"]), "not a list of numbers"),
        (vectors_with([1, True]), "not a list of numbers"),
        (vectors_with([1, None]), "not a list of numbers"),
        (vectors_with([1, [2]]), "not a list of numbers"),
        (vectors_with([1, 10**400]), "over the range of float32"),
        (vectors_with("AAA"), "is no base64 of float32"),
        (vectors_with("€"), "is no base64 of float32"),
        (vectors_with(base64.b64encode(b"12345").decode()), "is no base64 of float32"),
        (vectors_with(None), r"data\[1\].embedding is missing"),
        ({"data": [{"index": 0, "embedding": [1]}] * 2}, r"data\[1\].index is 0, not one of the 2 that are left"),
        ({"data": [{"index": -1, "embedding": [1]}] * 2}, r"data\[0\].index is -1"),
        ({"data": [{"index": True, "embedding": [1]}] * 2}, r"data\[0\].index is True"),
        ({"data": [1, 2]}, r"data\[0\] is 1, not an object"),
    ],
)
def test_what_are_no_vectors(answer: Any, problem: str) -> None:
    with pytest.raises(AnswerError, match=problem):
        answers.vectors(answer, 2, None)


def test_a_number_over_float32_is_infinite() -> None:
    (vector,), _ = answers.vectors({"data": [{"index": 0, "embedding": [1e39, 1]}]}, 1, 2)
    assert np.frombuffer(vector, "<f4").tolist() == [np.inf, 1]


def test_scores_in_either_form() -> None:
    results = [{"index": 1, "relevance_score": 2}, {"index": 0, "relevance_score": -0.5}]
    assert answers.scores({"results": results}, 2) == [-0.5, 2]
    assert answers.scores([{"index": 0, "score": 1.5}], 1) == [1.5]


@pytest.mark.parametrize(
    ("answer", "problem"),
    [
        ({"results": []}, "0 scores came for 1 texts"),
        ({"results": [{"index": 0}]}, "relevance_score is missing"),
        ({"results": [{"index": 0, "relevance_score": "1"}]}, "is '1', not a number"),
        ({"results": [{"index": 0, "relevance_score": 1e999}]}, "is inf, not a number"),
        ({"results": [{"index": 1, "relevance_score": 1}]}, r"results\[0\].index is 1"),
        ("", "the answer is '', not an object"),
    ],
)
def test_what_are_no_scores(answer: Any, problem: str) -> None:
    with pytest.raises(AnswerError, match=problem):
        answers.scores(answer, 1)


def test_a_model_in_the_list() -> None:
    vllm = {"id": "a", "owned_by": "vllm", "max_model_len": 4096}
    llama = {"id": "b", "aliases": ["c"], "owned_by": "llamacpp", "meta": {"n_ctx": 2048, "n_ctx_train": 9}}
    listing = {"data": [vllm, llama, {"id": "d", "meta": None, "max_model_len": "x"}]}
    assert answers.listed(listing, "a") == ("vllm", 4096)
    assert answers.listed(listing, "b") == answers.listed(listing, "c") == ("llamacpp", 2048)
    assert answers.listed(listing, "d") == (None, None)
    assert answers.listed(listing, "e") is None
    assert answers.names(listing) == ["a", "b", "d"]


@settings(max_examples=50)
@given(ANY_JSON)
def test_any_json_is_an_answer_or_an_error(value: Any) -> None:
    value = json.loads(json.dumps(value))
    for read in (
        lambda: answers.completion(value),
        lambda: answers.completion({"choices": [value], "usage": value}),
        lambda: answers.completion(completion(value, value, value)),
        lambda: answers.message({"choices": [{"delta": value}]}),
        lambda: answers.message({"choices": [{"message": {"content": value, "tool_calls": [value]}}]}),
        lambda: answers.message({"choices": [{"message": {}, "logprobs": {"content": [value]}}]}),
        lambda: answers.vectors({"data": [value], "usage": value}, 1, None),
        lambda: answers.vectors({"data": [{"index": 0, "embedding": value}]}, 1, None),
        lambda: answers.scores([value], 1),
        lambda: answers.scores({"results": [{"index": 0, "score": value}]}, 1),
        lambda: answers.listed({"data": [value]}, "a"),
    ):
        try:
            read()
        except AnswerError as error:
            assert len(orjson.dumps(str(error))) < 500  # noqa: PT017 - any of them may raise it
