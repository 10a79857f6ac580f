"""vLLM's /tokenize and /detokenize, beside our own /tokenize and text-embeddings-inference's."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from predictor.ttypes import ChatMessage, TokenizeOptions

if TYPE_CHECKING:
    from tests.rest_proxy.conftest import Proxy
    from tests.rest_proxy.thrift_server import ThriftServer

HELLO = [{"role": "user", "content": "hello"}]


async def test_the_tokens_of_a_prompt(proxy: Proxy, server: ThriftServer) -> None:
    body = {"model": "gpt2", "prompt": "hello", "add_special_tokens": False, "return_token_strs": True}
    answer = await proxy.ask("POST", "/tokenize", json=body)
    assert answer.json == {"count": 1, "max_model_len": 512, "tokens": [7], "token_strs": ["hello"]}
    [(texts, options, how)] = server.named("tokenize")
    assert (texts, options.model, how) == (["hello"], "gpt2", TokenizeOptions(False))


async def test_the_tokens_of_a_conversation(proxy: Proxy, server: ThriftServer) -> None:
    body = {"messages": HELLO, "chat_template_kwargs": {"a": 1}, "add_generation_prompt": False}
    answer = await proxy.ask("POST", "/tokenize", json=body)
    assert answer.json == {"count": 3, "max_model_len": 0, "tokens": [7, 8, 9], "token_strs": None}
    [(messages, _, chat_options)] = server.named("chat_prompt")
    assert messages == [ChatMessage("user", "hello")]
    assert json.loads(chat_options.template_arguments) == {"a": 1}
    assert chat_options.add_generation_prompt is False
    answer = await proxy.ask("POST", "/tokenize", json={**body, "return_token_strs": True})
    assert answer.json["token_strs"] == ["7", "8", "9"]


async def test_the_text_of_tokens(proxy: Proxy, server: ThriftServer) -> None:
    answer = await proxy.ask("POST", "/detokenize", json={"model": "gpt2", "tokens": [3, 4]})
    assert answer.json == {"prompt": "3 4"}
    assert server.named("detokenize")[0][0] == [[3, 4]]


async def test_the_other_forms_are_still_there(proxy: Proxy) -> None:
    own = await proxy.ask("POST", "/tokenize", json={"text": "hello"})
    assert own.json == {"tokens": [{"id": 7, "text": "hello", "start": 0, "stop": 5}]}
    tei = await proxy.ask("POST", "/tokenize", json={"inputs": "hello"})
    assert tei.json == [[{"id": 7, "text": "hello", "special": False, "start": 0, "stop": 5}]]
    got = await proxy.ask("GET", "/tokenize?text=hello")
    assert got.json == own.json


@pytest.mark.parametrize(
    ("path", "body", "message"),
    [
        ("/tokenize", {"prompt": "a", "messages": HELLO}, "prompt: give this or messages"),
        ("/tokenize", {"messages": [{"content": "a"}]}, "messages[0].role: this field is required"),
        ("/detokenize", {"tokens": [-1]}, "tokens[0]: must be at least 0"),
        ("/detokenize", {"tokens": "a"}, "tokens: expected a list"),
        ("/detokenize", {}, "tokens: this field is required"),
    ],
)
async def test_what_is_wrong(proxy: Proxy, path: str, body: dict[str, Any], message: str) -> None:
    answer = await proxy.ask("POST", path, json=body)
    assert answer.status == 400
    assert message in answer.json["error"]["message"]


async def test_labels(of_letters: Proxy) -> None:
    """The best label, and the scores in the model's order, in which b comes first here."""
    answer = (
        await of_letters.ask("POST", "/classify", json={"input": ["abbb", "a"], "truncate_prompt_tokens": 5})
    ).json
    assert (answer["object"], answer["model"]) == ("list", "")
    assert answer["data"] == [
        {"index": 0, "label": "b", "probs": [0.25, 0.75], "num_classes": 2},
        {"index": 1, "label": "a", "probs": [1.0], "num_classes": 1},
    ]
    assert answer["usage"]["prompt_tokens"] == 2
    answer = (await of_letters.ask("POST", "/classify", json={"input": "abbb", "use_activation": False})).json
    assert answer["data"][0]["probs"] == [1.0, 3.0]


@pytest.mark.parametrize("path", ["/score", "/v1/score"])
@pytest.mark.parametrize(
    ("fields", "wanted"),
    [
        ({"text_1": "a", "text_2": ["x", "aa"]}, [0.0, 2.0]),
        ({"text_1": ["a"], "text_2": "aa"}, [2.0]),
        ({"queries": ["a", "b", "a"], "documents": ["aa", "b", "x"]}, [2.0, 1.0, 0.0]),
        ({"data_1": "a", "data_2": "a", "model": "letters"}, [1.0]),
    ],
)
async def test_scores(of_letters: Proxy, path: str, fields: dict[str, Any], wanted: list[float]) -> None:
    answer = await of_letters.ask("POST", path, json={**fields, "activation": False})
    assert answer.json["data"] == [
        {"index": index, "object": "score", "score": score} for index, score in enumerate(wanted)
    ]
    assert answer.json["usage"]["total_tokens"] > 0


async def test_an_embedder_says_how_alike_texts_are(proxy: Proxy, server: ThriftServer) -> None:
    answer = await proxy.ask("POST", "/score", json={"model": "minilm", "text_1": ["a", "bb"], "text_2": ["c", "d"]})
    assert [one["score"] for one in answer.json["data"]] == pytest.approx([1.01, 2.01])  # products of the vectors
    assert server.named("embed_matrix")[0][2].normalize is True
    answer = await proxy.ask("POST", "/score", json={"model": "docnn", "text_1": "a", "text_2": "c"})
    assert answer.json["error"]["message"] == "no model 'docnn' serves rerank or embed_matrix"


@pytest.mark.parametrize(
    ("fields", "wanted"),
    [
        ({"task": "embed"}, [1.0, 0.0]),
        ({"task": "embed", "encoding_format": "base64"}, "AACAPwAAAAA="),
        ({"task": "token_embed"}, [[1.0, 0.0], [0.0, 1.0]]),
        ({}, [[1.0, 0.0], [0.0, 1.0]]),
        ({"task": "classify"}, [0.5, 0.5]),
    ],
)
async def test_pooling(of_letters: Proxy, fields: dict[str, Any], wanted: Any) -> None:
    text = "a b" if fields.get("task") != "embed" else "a"
    asked = {"input": text, "dimensions": 2, **fields}
    answer = await of_letters.ask("POST", "/pooling", json=asked)
    assert answer.json["data"] == [{"index": 0, "object": "pooling", "data": wanted}], answer.json


async def test_pooling_does_what_the_model_can(proxy: Proxy) -> None:
    answer = await proxy.ask("POST", "/pooling", json={"model": "minilm", "input": "abc"})
    assert answer.json["data"][0]["data"] == pytest.approx([0.1, 3.0, -1e-9])
    answer = await proxy.ask("POST", "/pooling", json={"model": "gpt2", "input": "abc"})
    assert answer.status == 404
    assert answer.json["error"]["message"] == "no model 'gpt2' serves embed_tokens or embed_matrix or classify"


@pytest.mark.parametrize(
    ("path", "fields", "status", "message"),
    [
        ("/classify", {}, 400, "input: this field is required"),
        ("/classify", {"text": "a"}, 400, "input: this field is required; is it what you sent as text?"),
        ("/classify", {"input": ["a", 1]}, 400, "input[1]: expected a string, got a number"),
        ("/classify", {"input": ["a"] * 2049}, 413, "input: 2049 items are over the limit of 2048"),
        ("/classify", {"input": ["a", "late"]}, 504, "input[1]: "),
        ("/score", {"text_1": "a"}, 400, "text_2: this field is required"),
        ("/score", {"text_1": ["a", "b"], "text_2": ["a"]}, 400, "expected as many texts as text_1 has"),
        ("/score", {"text_1": "a", "text_2": []}, 400, "expected as many texts as text_1 has"),
        ("/score", {"text_1": "a", "text_2": ["b"] * 2049}, 413, "text_2: 2049 items"),
        ("/score", {"text_1": "a", "text_2": ["b", "b" * 21], "truncate": False}, 413, "text_2[1]: "),
        ("/pooling", {"input": [[1]], "task": "classify"}, 400, "input: only vectors of texts are made of token ids"),
        ("/pooling", {"input": "a", "task": "x"}, 400, "task: expected 'embed', 'token_embed' or 'classify'"),
    ],
)
async def test_refusals_of_pooling(
    of_letters: Proxy, path: str, fields: dict[str, Any], status: int, message: str
) -> None:
    answer = await of_letters.ask("POST", path, json=fields)
    assert answer.status == status, answer.json
    assert message in answer.json["error"]["message"]
