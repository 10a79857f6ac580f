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
