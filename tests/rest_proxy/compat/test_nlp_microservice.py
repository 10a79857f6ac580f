"""NLP-Microservice's HTTP service, row by row of the compatibility table."""

from __future__ import annotations

import json
import math
from typing import TYPE_CHECKING, Any

import jsonschema
import pytest
from openapi_spec_validator import OpenAPIV2SpecValidator
from predictor.ttypes import ErrorCode, GenerationOptions, PredictionError

from tests.rest_proxy.thrift_server import WORDS, ThriftServer

if TYPE_CHECKING:
    from tests.rest_proxy.conftest import Answer, Proxy

PATH = "/text-generation/generate"
TEXT = "Artificial Intelligence is a"


async def post(proxy: Proxy, **fields: Any) -> Answer:
    return await proxy.ask("POST", PATH, json=fields)


async def test_nlp_microservice_generates(proxy: Proxy, server: ThriftServer) -> None:
    body = json.dumps({"text": TEXT})
    out = await proxy.curl("-H", "Content-Type: application/json", "-d", body, f"URL{PATH}")
    assert json.loads(out) == {"input": TEXT, "generated": "".join(WORDS)}
    assert "".join(WORDS).startswith(" "), "the leading space is kept"
    [(prompt, wanted, _)] = server.named("generate")
    assert (prompt, wanted) == (TEXT, GenerationOptions()), "by the contract: 20 new tokens, sampled"


async def test_nlp_microservice_get_is_405(proxy: Proxy) -> None:
    answer = await proxy.ask("GET", PATH)
    assert (answer.status, answer.headers["Allow"]) == (405, "POST")
    assert answer.json == {"message": "The method is not allowed for the requested URL."}


async def test_nlp_microservice_swagger_describes_it(proxy: Proxy) -> None:
    document = (await proxy.ask("GET", "/swagger.json")).json
    OpenAPIV2SpecValidator(document).validate()
    assert document["swagger"] == "2.0"
    operation = document["paths"][PATH]["post"]
    fields = document["definitions"]["Text"]
    request = jsonschema.Draft4Validator(fields)  # what Swagger 2.0's schemas are made after
    request.validate({"text": TEXT, "top_p": 0.5, "stop": ["."]})
    for wrong in (
        {},
        {"text": None},
        {"text": "a", "temperature": -1},
        {"text": "a", "top_p": -1},
        {"text": "a", "seed": "x"},
    ):
        assert not request.is_valid(wrong), wrong
    good, bad = await post(proxy, **fields["example"]), await post(proxy)
    jsonschema.validate(good.json, operation["responses"]["200"]["schema"])
    jsonschema.validate(bad.json, operation["responses"]["default"]["schema"])


async def test_nlp_microservice_swagger_page(proxy: Proxy) -> None:
    answer = await proxy.ask("GET", "/swagger")
    assert (answer.status, answer.headers["Content-Type"]) == (200, "text/html; charset=utf-8")
    assert answer.body.count(b"://") == answer.body.count(b"http://www.w3.org") == 1, "no external resources"
    assert b'"swagger.json"' in answer.body, "relative, as the page may lie behind a prefix"
    assert "script-src 'self' 'sha256-" in answer.headers["Content-Security-Policy"]


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({}, "text: this field is required"),
        ({"text": None}, "text: expected a string"),
        ({"text": ["a", 1]}, "text: expected a string"),
        ({"text": "a", "max_tokens": -1}, "max_tokens: must be at least 0"),
        ({"text": "a", "temperature": -1}, "temperature: must be at least 0"),
        ({"text": "a", "temperature": math.nan}, "temperature: must be a finite number"),
        ({"text": "a", "stop": ["x"] * 10_000}, "stop: must have at most 16 items"),
        ({"text": "a", "length": 3}, "length: there is no such field"),
    ],
)
async def test_nlp_microservice_better_a_wrong_request_is_400(
    proxy: Proxy, server: ThriftServer, fields: dict[str, Any], message: str
) -> None:
    answer = await post(proxy, **fields)
    assert answer.status == 400
    assert list(answer.json) == ["message"]
    assert answer.json["message"].startswith(message)
    assert server.calls == []


@pytest.mark.parametrize("body", [b"", b"{", b'{"text":"\xff"}', b'{"text":"\\ud800"}', b"[" * 50_000])
async def test_nlp_microservice_better_malformed_json_is_400(proxy: Proxy, body: bytes) -> None:
    headers = {"Content-Type": "application/json", "Content-Length": str(len(body))}
    answer = await proxy.ask("POST", PATH, data=body, headers=headers)
    assert (answer.status, list(answer.json)) == (400, ["message"])


@pytest.mark.parametrize("content_type", ["text/plain", "application/x-www-form-urlencoded"])
async def test_nlp_microservice_better_another_content_type_is_415(proxy: Proxy, content_type: str) -> None:
    answer = await proxy.ask("POST", PATH, data=b"text=a", headers={"Content-Type": content_type})
    assert (answer.status, list(answer.json)) == (415, ["message"])


async def test_nlp_microservice_better_length_and_sampling_are_parameters(proxy: Proxy, server: ThriftServer) -> None:
    options = {"max_tokens": 7, "temperature": 0.5, "top_k": 40, "top_p": 0.9, "seed": 17, "stop": ["\n"]}
    assert (await post(proxy, text="a", **options)).status == 200
    assert server.named("generate")[0][1] == GenerationOptions(**options)


async def test_nlp_microservice_errors_of_the_server_keep_their_status(proxy: Proxy, server: ThriftServer) -> None:
    def no_model(*_arguments: Any) -> None:
        raise PredictionError(ErrorCode.NOT_FOUND, "no loaded model serves generate")

    server.generate = no_model
    answer = await post(proxy, text="a")
    assert (answer.status, answer.json) == (404, {"message": "no loaded model serves generate"})


async def test_nlp_microservice_errors_of_the_server_name_the_text(proxy: Proxy, server: ThriftServer) -> None:
    def too_long(*_arguments: Any) -> None:
        raise PredictionError(ErrorCode.TOO_LARGE, "prompt: 9 tokens", field="prompt")

    server.generate = too_long
    answer = await post(proxy, text="a")
    assert (answer.status, answer.json) == (413, {"message": "text: 9 tokens"})
