"""What the document allows is taken, what it forbids is refused, and answers are as it says: cases that were found."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import jsonschema
import pytest

from rest_proxy.http.content import JSON
from tests.rest_proxy.openapi.test_document import check, document_of

if TYPE_CHECKING:
    from tests.rest_proxy.conftest import Proxy
    from tests.rest_proxy.thrift_server import ThriftServer

_CALL = {"type": "function_call", "name": "add", "call_id": "1"}
_SAID = {"role": "assistant", "tool_calls": [{"id": "1", "function": {"name": "add", "arguments": {"a": 1}}}]}
_JOB = {"method": "predict", "input": "/in/", "output": "/out/"}

TAKEN: list[tuple[str, Any]] = [
    ("/generate", {"prompt": "a", "stop": "AAA"}),
    ("/generate", {"prompt": "a", "stop": ["AAA"]}),
    ("/v1/completions", {"prompt": "a", "stop": "AAA"}),
    ("/v1/completions", {"prompt": "a", "stop": ["AAA", ""]}),
    ("/v1/completions", {"prompt": "a", "stop": ""}),
    ("/v1/completions", {"prompt": "a", "stop": None, "response_format": None}),
    ("/v1/chat/completions", {"messages": [{"role": "user", "content": ["a", {"type": "text", "text": "b"}]}]}),
    ("/v1/chat/completions", {"messages": [{"role": "user", "content": [{"type": "refusal", "refusal": "b"}]}]}),
    ("/v1/chat/completions", {"messages": [_SAID], "stop": "AAA"}),
    ("/v1/responses", {"input": "a"}),
    ("/v1/responses", {"input": [{"role": "user", "content": "a"}, {"type": "reasoning", "summary": []}]}),
    ("/v1/responses", {"input": [_CALL, {"type": "function_call_output", "call_id": "1", "output": "2"}]}),
    ("/v1/responses", {"input": [{**_CALL, "arguments": {"a": 1}}]}),
    ("/v1/responses", {"input": [{**_CALL, "arguments": '{"a": 1}'}]}),
    ("/rerank", {"query": "a", "documents": ["b", {"text": "c", "id": 7}]}),
    ("/v1/rerank", {"query": "a", "documents": ["b", {"text": "c"}], "unknown": 1}),
    ("/batches", {**_JOB, "on_error": "FAIL"}),
    ("/batches", {**_JOB, "on_error": "Record"}),
    ("/", {"inputs": [["a"]], "model": "classifier", "raw_scores": True}),
    ("/api/inference", 5),
    ("/api/inference", [1]),
    ("/api/inference", {}),
    ("/api/inference", {"input": 5}),
    ("/api/inference", {"input": None}),
    ("/api/inference", {"input": ["a", "b"]}),
]

REFUSED: list[tuple[str, Any]] = [
    ("/generate", {"prompt": "a", "stop": 5}),
    ("/generate", {"prompt": "a", "stop": [5]}),
    ("/v1/completions", {"prompt": "a", "stop": [""] * 17}),
    ("/v1/completions", {"prompt": "a", "stop": ["a"] * 17}),
    ("/v1/completions", {"prompt": "a", "response_format": "AAA"}),
    ("/v1/completions", {"prompt": "a", "response_format": [1]}),
    ("/v1/chat/completions", {"messages": [{"role": "user", "content": [5]}]}),
    ("/v1/chat/completions", {"messages": [{"role": "user", "content": [{"type": "refusal"}]}]}),
    ("/v1/responses", {"input": 5}),
    ("/v1/responses", {"input": [5]}),
    ("/v1/responses", {"input": [{**_CALL, "arguments": 5}]}),
    ("/v1/responses", {"input": [{"type": "function_call"}]}),
    ("/v1/responses", {"input": "a", "conversation": "c"}),
    ("/v1/responses", {"input": "a", "previous_response_id": "r"}),
    ("/v1/embeddings", {"model": "minilm", "input": []}),
    ("/v1/embeddings", {"model": "minilm", "input": [[]]}),
    ("/v1/embeddings", {"model": "minilm", "input": [-1]}),
    ("/rerank", {"query": "a", "documents": [5]}),
    ("/rerank", {"query": "a", "documents": [{}]}),
    ("/batches", {**_JOB, "on_error": "other"}),
    ("/", {"inputs": "a", "parameters": {"max_new_tokens": 1}, "stream": 0}),
    ("/api/inference", {"input": [5]}),
]

ANSWERS: list[tuple[str, str, dict[str, Any]]] = [
    ("POST", "/", {"json": {"inputs": "a", "model": "classifier"}}),
    ("POST", "/", {"json": {"inputs": [["a"], ["b"]], "model": "classifier"}}),
    ("POST", "/", {"json": {"inputs": "a", "model": "classifier", "parameters": {"top_k": 1}}}),
    ("POST", "/", {"json": {"inputs": "a"}}),
    ("POST", "/", {"json": {"query": "a", "texts": ["a"]}}),
    ("POST", "/", {"json": {"query": "a", "documents": ["a"], "texts": None}}),
    ("POST", "/?doc=a", {}),
    ("POST", "/?doc=a", {"headers": {"Accept": JSON}}),
    ("POST", "/", {}),
    ("POST", "/", {"data": b"a", "headers": {"Accept": JSON}}),
    ("POST", "/classify_tokens", {"json": {"inputs": "a"}}),
    ("POST", "/classify_tokens", {"json": {"inputs": ["a", "b"], "parameters": {"aggregation_strategy": "none"}}}),
    ("POST", "/classify_tokens", {"json": {"text": "a"}}),
    ("POST", "/v1/completions", {"json": {"prompt": "a", "stream": True}}),
    ("POST", "/v1/responses", {"json": {"input": "a", "stream": True}}),
    ("POST", "/v1/chat/completions", {"json": {"messages": [{"role": "user", "content": "a"}], "stream": True}}),
    ("POST", "/generate", {"json": {"prompt": "a", "stream": True}}),
]


def is_allowed(document: dict[str, Any], path: str, body: Any) -> bool:
    """Whether the document has such a body in JSON."""
    schema = document["paths"][path]["post"]["requestBody"]["content"][JSON]["schema"]
    return jsonschema.Draft202012Validator({**schema, "components": document["components"]}).is_valid(body)


@pytest.mark.parametrize(("path", "body"), TAKEN)
async def test_what_is_taken_is_in_the_document(proxy: Proxy, path: str, body: Any) -> None:
    answer = await proxy.ask("POST", path, json=body)
    assert answer.status < 300, answer.body
    document = await document_of(proxy)
    assert is_allowed(document, path, body)
    check(document, "post", path, answer)


@pytest.mark.parametrize(("path", "body"), REFUSED)
async def test_what_is_not_in_the_document_is_refused(proxy: Proxy, path: str, body: Any) -> None:
    answer = await proxy.ask("POST", path, json=body)
    assert answer.status == 400, answer.body
    assert not is_allowed(await document_of(proxy), path, body)


@pytest.mark.parametrize(("method", "path", "options"), ANSWERS)
async def test_answers_are_as_described(proxy: Proxy, method: str, path: str, options: dict[str, Any]) -> None:
    answer = await proxy.ask(method, path, **options)
    check(await document_of(proxy), method.lower(), path.partition("?")[0], answer)


async def test_a_query_and_a_form_have_no_null(proxy: Proxy) -> None:
    for options in ({"params": {"doc": "a", "timeout_ms": "null"}}, {"data": {"doc": "a", "timeout_ms": "null"}}):
        answer = await proxy.ask("GET" if "params" in options else "POST", "/predict", **options)
        assert answer.status == 400
        assert answer.json["error"]["field"] == "timeout_ms"
    described = (await document_of(proxy))["paths"]["/predict"]
    whole = {"type": "integer", "minimum": 1}
    in_query = {parameter["name"]: parameter["schema"] for parameter in described["get"]["parameters"]}
    assert whole.items() <= in_query["timeout_ms"].items()
    bodies = described["post"]["requestBody"]["content"]
    in_form = bodies["application/x-www-form-urlencoded"]["schema"]["properties"]
    assert whole.items() <= in_form["timeout_ms"].items()
    assert {"type": "null"} in bodies[JSON]["schema"]["anyOf"][0]["properties"]["timeout_ms"]["anyOf"]


@pytest.mark.parametrize("path", ["/", "/?doc=a", "/predict?doc=a", "/models", "/no/such?doc=a"])
async def test_nobody_is_told_what_came(proxy: Proxy, server: ThriftServer, path: str) -> None:
    """TRACE is no way to ask for anything, also where any other method is."""
    answer = await proxy.ask("TRACE", path)
    assert answer.status == 405
    assert "GET" in answer.headers["Allow"]
    assert server.named("predict") == []
