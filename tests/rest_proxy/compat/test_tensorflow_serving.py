"""TensorFlow Serving's REST interface, as its documentation shows it; tests/clients/servers.py has its real clients."""

from __future__ import annotations

import base64
import json
from typing import TYPE_CHECKING, Any

import pytest

from tests.support.letters import vector_of

if TYPE_CHECKING:
    from tests.rest_proxy.conftest import Answer, Proxy
    from tests.rest_proxy.thrift_server import ThriftServer

MODEL = "/v1/models/letters"
VERSION = str(int("0123456789ab", 16))
AVAILABLE = {"version": VERSION, "state": "AVAILABLE", "status": {"error_code": "OK", "error_message": ""}}


async def post(proxy: Proxy, verb: str, **fields: Any) -> Answer:
    return await proxy.ask("POST", f"{MODEL}:{verb}", json=fields)


@pytest.mark.parametrize(
    ("signature", "instances", "parameters", "wanted"),
    [
        (None, ["ab", "c"], {}, [vector_of("ab").tolist(), vector_of("c").tolist()]),
        ("serving_default", [{"text": "ab"}], {"dimensions": 1}, [[1.0]]),
        ("", [{"any": ["ab"]}, {"any": "c"}], {}, [vector_of("ab").tolist(), vector_of("c").tolist()]),
        ("embed", [{"b64": base64.b64encode("föb".encode()).decode()}], {}, [vector_of("föb").tolist()]),
        ("classify", [["aaab"]], {}, [{"labels": ["a", "b"], "scores": [0.75, 0.25]}]),
        ("rerank", [{"query": "a", "text": t} for t in ("x", "aa")], {"raw_scores": True}, [0.0, 2.0]),
        ("embed", [], {}, []),
    ],
)
async def test_rows(
    of_letters: Proxy, signature: str | None, instances: list[Any], parameters: dict[str, Any], wanted: list[Any]
) -> None:
    answer = await post(of_letters, "predict", signature_name=signature, instances=instances, parameters=parameters)
    assert answer.status == 200, answer.body
    found = answer.json["predictions"]
    assert found == [pytest.approx(row) if isinstance(row, (list, float)) else row for row in wanted]


@pytest.mark.parametrize(
    ("signature", "inputs", "wanted"),
    [
        ("embed", ["ab"], [vector_of("ab").tolist()]),
        ("embed", "ab", [vector_of("ab").tolist()]),
        ("embed", {"text": ["ab"]}, [vector_of("ab").tolist()]),
        ("embed", {"b64": "YWI="}, [vector_of("ab").tolist()]),
        ("classify", {"text": "aaab"}, {"labels": [["a", "b"]], "scores": [[0.75, 0.25]]}),
        ("rerank", {"query": "a", "text": ["a"]}, [pytest.approx(0.7310586)]),
    ],
)
async def test_columns(of_letters: Proxy, signature: str, inputs: Any, wanted: Any) -> None:
    answer = await post(of_letters, "predict", signature_name=signature, inputs=inputs)
    assert answer.status == 200, answer.body
    found = answer.json["outputs"]
    assert found == ([pytest.approx(row) for row in wanted] if isinstance(wanted, list) else wanted)


async def test_classes_and_scores(of_letters: Proxy) -> None:
    answer = await post(of_letters, "classify", examples=[{"text": "aaab"}, {"text": "c"}], parameters={"top_k": 1})
    assert answer.json == {"result": [[["a", 0.75]], [["c", 1.0]]]}
    examples = [{"text": "x"}, {"text": "aa"}]
    answer = await post(
        of_letters, "regress", examples=examples, context={"query": "a"}, parameters={"raw_scores": True}
    )
    assert answer.json == {"result": [0.0, 2.0]}


async def test_what_a_model_takes_and_gives(proxy: Proxy) -> None:
    for path in ("/v1/models/minilm/metadata", f"/v1/models/minilm/versions/{VERSION}/metadata"):
        answer = (await proxy.ask("GET", path)).json
        assert answer["model_spec"] == {"name": "minilm", "signature_name": "", "version": VERSION}
        signatures = answer["metadata"]["signature_def"]["signature_def"]
        assert signatures.keys() == {"serving_default", "embed"}
        assert signatures["embed"]["inputs"]["text"] == {
            "dtype": "DT_STRING",
            "tensor_shape": {"dim": [{"size": "-1", "name": ""}], "unknown_rank": False},
            "name": "text:0",
        }
        assert signatures["embed"]["outputs"]["embeddings"]["dtype"] == "DT_FLOAT"


async def test_the_state_of_a_model_is_in_openais_answer(proxy: Proxy) -> None:
    """Both ask the same path; each finds what it looks for, and KServe's clients do."""
    answer = await proxy.ask("GET", "/v1/models/minilm")
    assert (answer.json["id"], answer.json["object"]) == ("minilm", "model")
    assert answer.json["model_version_status"] == [AVAILABLE]
    assert (answer.json["name"], answer.json["ready"]) == ("minilm", True)
    loading = (await proxy.ask("GET", "/v1/models/gpt3")).json
    assert (loading["ready"], loading["model_version_status"][0]["state"]) == (False, "LOADING")


@pytest.mark.parametrize("version", [VERSION, "0"])
async def test_the_state_of_a_version(proxy: Proxy, version: str) -> None:
    """OpenVINO's client says 0 where it means no certain one."""
    assert (await proxy.ask("GET", f"/v1/models/minilm/versions/{version}")).json == {
        "model_version_status": [AVAILABLE]
    }
    answer = await proxy.ask("POST", f"/v1/models/minilm/versions/{version}:predict", json={"instances": ["a"]})
    assert answer.status == 200


async def test_the_other_routes_below_v1_models_stay(proxy: Proxy) -> None:
    listed = (await proxy.ask("GET", "/v1/models")).json["data"]
    assert [model["id"] for model in listed if model["id"] in ("minilm", "gpt2", "gpt3")] == ["minilm", "gpt2"]
    answer = await proxy.ask("GET", "/v1/models/none")
    assert (answer.status, answer.json["error"]["code"]) == (404, "model_not_found")
    answer = await proxy.ask("GET", "/v1/models/minilm:predict")
    assert (answer.status, answer.headers["Allow"]) == (405, "POST")


@pytest.mark.parametrize("content_type", ["application/x-www-form-urlencoded", ""])
async def test_as_its_documentation_sends_it(of_letters: Proxy, content_type: str) -> None:
    out = await of_letters.curl(
        "-H", f"Content-Type: {content_type}", "-d", '{"instances": ["ab"]}', "-X", "POST", f"URL{MODEL}:predict"
    )
    assert list(json.loads(out)) == ["predictions"]


@pytest.mark.parametrize(
    ("verb", "fields", "status", "message"),
    [
        ("predict", {}, 400, "instances: give this or inputs"),
        ("predict", {"instances": ["a"], "inputs": ["a"]}, 400, "instances: give this or inputs"),
        ("predict", {"instances": [1]}, 400, 'instances[0]: expected a string, or {"b64": ...}'),
        ("predict", {"instances": [{"b64": "!"}]}, 400, "instances[0]: is not UTF-8 in base64"),
        ("predict", {"instances": [{"b64": "/w=="}]}, 400, "instances[0]: is not UTF-8 in base64"),
        ("predict", {"instances": [{"text": "a"}, {"doc": "a"}]}, 400, "instances[1]: has other inputs"),
        ("predict", {"instances": [{"text": "a", "b": "a"}]}, 400, "instances: expected text, got text, b"),
        ("predict", {"inputs": {"text": [1]}}, 400, "inputs.text[0]: expected a string"),
        ("predict", {"inputs": ["a"] * 2049}, 413, "text: 2049 items are over the limit of 2048"),
        ("predict", {"instances": ["a"], "signature_name": "x"}, 400, "signature_name: the model has no signature 'x'"),
        (
            "predict",
            {"instances": ["a"], "signature_name": "rerank"},
            400,
            "instances[0]: expected an object with query",
        ),
        ("predict", {"instances": ["a"], "parameters": {"x": 1}}, 400, "parameters.x: there is no such field"),
        ("predict", {"instances": ["a"], "instance": 1}, 400, "instance: there is no such field"),
        (
            "classify",
            {"examples": [{"text": "a"}], "signature_name": "embed"},
            400,
            "signature_name: expected classify",
        ),
        ("classify", {"instances": ["a"]}, 400, "examples: this field is required"),
        ("regress", {"examples": [{"text": "a"}]}, 400, "examples: expected query and text, got text"),
    ],
)
async def test_refusals(of_letters: Proxy, verb: str, fields: dict[str, Any], status: int, message: str) -> None:
    answer = await post(of_letters, verb, **fields)
    assert answer.status == status, answer.body
    assert message in answer.json["error"]


async def test_a_model_that_cannot(proxy: Proxy, server: ThriftServer) -> None:
    answer = await proxy.ask("POST", "/v1/models/gpt2:classify", json={"examples": [{"text": "a"}]})
    assert (answer.status, answer.json["error"]) == (
        400,
        "model: the model has no signature 'classify'; it has generate",
    )
    answer = await proxy.ask("POST", "/v1/models/none:predict", json={"instances": ["a"]})
    assert (answer.status, answer.json["error"]) == (404, "no model is named 'none'")
    answer = await proxy.ask("POST", "/v1/models/minilm/versions/7:predict", json={"instances": ["a"]})
    assert (answer.status, answer.json["error"]) == (404, f"the model 'minilm' has the version {VERSION}, not '7'")
