"""/predict with options of classify, and /classify_tokens."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from rest_proxy.config import Address
    from tests.rest_proxy.conftest import Proxy
    from tests.support.letters import Letters

ADA = {"label": "NAME", "score": 0.5, "text": "Ada", "start": 4, "stop": 7}


async def test_options_of_labels(of_letters: Proxy) -> None:
    async def scores(**fields: Any) -> Any:
        return (await of_letters.ask("POST", "/predict", json=fields)).json

    assert await scores(doc="abbb") == {"scores": {"b": 0.75, "a": 0.25}}
    assert await scores(doc="abbb", top_k=1) == {"scores": {"b": 0.75}}
    assert await scores(doc="abbb", raw_scores=True) == {"scores": {"b": 3.0, "a": 1.0}}
    assert list((await scores(doc="abbb", raw_scores=True))["scores"]) == ["b", "a"], "the best first"
    several = await scores(docs=["abbb", "c"], top_k=1, truncate=True)
    assert several == {"results": [{"scores": {"b": 0.75}}, {"scores": {"c": 1.0}}]}


async def test_labels_of_the_callers_own(of_letters: Proxy, letters: tuple[Letters, Address]) -> None:
    fields = {"candidate_labels": ["ab", "cd"], "hypothesis_template": "{}"}
    answer = await of_letters.ask("POST", "/predict", json={"docs": ["abc", "d"], **fields})
    first, second = (result["scores"] for result in answer.json["results"])
    assert list(first) == ["ab", "cd"]
    assert list(second) == ["cd", "ab"]
    assert first["ab"] == pytest.approx(math.exp(2) / (math.exp(2) + math.exp(1)))
    asked = letters[0].asked
    assert [one[:2] for one in asked] == [("abc", "ab"), ("abc", "cd"), ("d", "ab"), ("d", "cd")]
    pairs = [("doc", "abc"), ("candidate_labels", "ab"), ("candidate_labels", "cd"), ("multi_label", "true")]
    answer = await of_letters.ask("GET", "/predict", params=pairs)
    assert answer.json["scores"].keys() == {"ab", "cd"}
    assert asked[-1][1] == "This example is cd."


@pytest.mark.parametrize(
    ("fields", "field", "part"),
    [
        ({"doc": "a", "top_k": 0}, "top_k", "must be at least 1"),
        ({"doc": "a", "candidate_labels": []}, "candidate_labels", "must have at least 1 items, got 0"),
        ({"doc": "a", "candidate_labels": ["a", "a"]}, "candidate_labels", "has a label twice"),
        ({"doc": "a", "hypothesis_template": "{}"}, "hypothesis_template", "only with candidate_labels"),
        ({"doc": "a" * 21, "truncate": False}, "doc", "truncate is false"),
        ({"docs": ["a", "a" * 21], "truncate": False}, "docs[1]", "truncate is false"),
        ({"docs": ["a", "nan"], "top_k": 1}, "docs[1]", "NaN or infinite"),
        ({"doc": "nan"}, None, "the model 'letters' gave numbers that are NaN or infinite"),
    ],
)
async def test_refusals(of_letters: Proxy, fields: Any, field: str | None, part: str) -> None:
    error = (await of_letters.ask("POST", "/predict", json=fields)).json["error"]
    assert error.get("field") == field, error
    assert part in error["message"]


async def test_entities(of_letters: Proxy) -> None:
    async def entities(**fields: Any) -> Any:
        return (await of_letters.ask("POST", "/classify_tokens", json=fields)).json

    assert await entities(text="met Ada") == {"entities": [ADA]}
    assert await entities(texts=["met Ada", ""]) == {"results": [{"entities": [ADA]}, {"entities": []}]}
    assert await entities(text="met Ada", ignore_labels=["NAME"]) == {
        "entities": [{**ADA, "label": "O", "text": "met", "start": 0, "stop": 3}]
    }
    assert await entities(text="met Ada", aggregation="none") == {"entities": [{**ADA, "index": 1}]}
    error = (await entities(text="a", aggregation="all"))["error"]
    assert error["message"].startswith("aggregation: expected 'none', 'simple', 'first', 'average' or 'max', got 'all'")
    error = (await entities(texts=["a", "nan"]))["error"]
    assert (error["field"], error["code"]) == ("texts[1]", "INTERNAL")


async def test_entities_by_query(of_letters: Proxy) -> None:
    pairs = [("text", "met Ada"), ("ignore_labels", "NAME"), ("ignore_labels", "O")]
    assert (await of_letters.ask("GET", "/classify_tokens", params=pairs)).json == {"entities": []}


async def test_tokens(of_letters: Proxy) -> None:
    words = [{"id": 2, "text": "an", "start": 0, "stop": 2}, {"id": 3, "text": "egg", "start": 3, "stop": 6}]
    answer = await of_letters.ask("GET", "/tokenize", params={"text": "an egg"})
    assert answer.json == {"tokens": [{"id": 0, "text": "[CLS]"}, *words]}
    answer = await of_letters.ask("POST", "/tokenize", json={"texts": ["an egg", ""], "special_tokens": False})
    assert answer.json == {"results": [{"tokens": words}, {"tokens": []}]}
