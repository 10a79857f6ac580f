"""The Open Inference Protocol, version 2, over HTTP, byte by byte; tests/clients/servers.py has its real clients."""

from __future__ import annotations

import json
import struct
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from process.version import VERSION
from tests.support.letters import vector_of

if TYPE_CHECKING:
    from tests.rest_proxy.conftest import Answer, Proxy
    from tests.rest_proxy.thrift_server import ThriftServer

HEAD_BYTES = "Inference-Header-Content-Length"
MODEL = "/v2/models/letters"


def tensor(*texts: str, name: str = "text", **others: Any) -> dict[str, Any]:
    return {"name": name, "shape": [len(texts)], "datatype": "BYTES", "data": list(texts), **others}


def packed(*texts: str) -> bytes:
    return b"".join(struct.pack("<I", len(text.encode())) + text.encode() for text in texts)


async def infer(proxy: Proxy, *inputs: dict[str, Any], path: str = f"{MODEL}/infer", **others: Any) -> Answer:
    return await proxy.ask("POST", path, json={"inputs": inputs, **others})


def outputs(answer: Answer) -> dict[str, Any]:
    assert answer.status == 200, answer.body
    return {output["name"]: output["data"] for output in answer.json["outputs"]}


async def test_the_server(of_letters: Proxy) -> None:
    assert (await of_letters.ask("GET", "/v2")).json == {
        "name": "predictor",
        "version": VERSION,
        "extensions": ["binary_tensor_data", "model_repository", "model_configuration"],
    }
    assert (await of_letters.ask("GET", "/v2/health/live")).json == {"live": True}
    assert (await of_letters.ask("GET", "/v2/health/ready")).json == {"ready": True}
    index = (await of_letters.ask("POST", "/v2/repository/index", json={"ready": True})).json
    assert index == [{"name": "letters", "version": "", "state": "READY", "reason": ""}]


async def test_what_is_not_ready(proxy: Proxy, server: ThriftServer) -> None:
    server.ready = False
    answer = await proxy.ask("GET", "/v2/health/ready")
    assert (answer.status, answer.json) == (503, {"ready": False})
    assert (await proxy.ask("GET", "/v2/health/live")).status == 200
    answer = await proxy.ask("GET", "/v2/models/gpt3/ready")
    assert (answer.status, answer.json) == (503, {"name": "gpt3", "ready": False})
    answer = await infer(proxy, tensor("a"), path="/v2/models/gpt3/infer")
    assert (answer.status, answer.json["error"]) == (503, "the model 'gpt3' is loading")
    assert (await proxy.ask("GET", "/v2/models/none/ready")).status == 404


@pytest.mark.parametrize(
    "path", ["/v2/models/minilm", "/v2/models/minilm/versions/0123456789ab", "//v2/models/minilm/"]
)
async def test_what_a_model_takes_and_gives(proxy: Proxy, path: str) -> None:
    assert (await proxy.ask("GET", path)).json == {
        "name": "minilm",
        "versions": ["0123456789ab"],
        "platform": "encoder",
        "inputs": [{"name": "text", "datatype": "BYTES", "shape": [-1]}],
        "outputs": [{"name": "embeddings", "datatype": "FP32", "shape": [-1, -1]}],
    }
    config = (await proxy.ask("GET", f"{path}/config")).json
    assert config["input"] == [{"name": "text", "data_type": "TYPE_STRING", "dims": [-1]}]
    assert (await proxy.ask("HEAD", path)).status == 200


async def test_a_name_with_a_slash(proxy: Proxy, server: ThriftServer) -> None:
    info = server.list_models()[1]
    info.name = "owner/minilm"
    server.list_models = lambda: [info]  # type: ignore[method-assign]
    for path in (
        "/v2/models/owner/minilm",
        "/v2/models/owner%2Fminilm",
        "/v2/models/owner/minilm/versions/0123456789ab",
    ):
        assert (await proxy.ask("GET", path)).json["name"] == "owner/minilm"
        assert (await proxy.ask("GET", f"{path}/ready")).json == {"name": "owner/minilm", "ready": True}
        answer = await infer(proxy, tensor("a"), path=f"{path}/infer")
        assert (answer.status, answer.json["model_name"]) == (200, "owner/minilm")
        assert server.named("embed_matrix")[-1][1].model == "owner/minilm"


async def test_another_version_is_not_there(proxy: Proxy) -> None:
    answer = await proxy.ask("GET", "/v2/models/minilm/versions/1")
    assert (answer.status, answer.json["error"]) == (404, "the model 'minilm' has the version 0123456789ab, not '1'")


@pytest.mark.parametrize(
    ("signature", "inputs", "parameters", "wanted"),
    [
        ("embed", [tensor("ab", "c")], {}, {"embeddings": [*vector_of("ab").tolist(), *vector_of("c").tolist()]}),
        ("embed", [tensor("ab", name="any")], {"dimensions": 1}, {"embeddings": [1.0]}),
        ("rerank", [tensor("ab", name="query"), tensor("x", "aab")], {"raw_scores": True}, {"scores": [0.0, 3.0]}),
        ("rerank", [tensor("a", "a", name="query"), tensor("x", "a")], {"raw_scores": True}, {"scores": [0.0, 1.0]}),
        ("classify", [tensor("aaab")], {}, {"labels": ["a", "b"], "scores": [0.75, 0.25]}),
        ("classify", [tensor("aaab", "c")], {}, {"labels": ["a", "b", "c", ""], "scores": [0.75, 0.25, 1.0, 0.0]}),
        ("classify", [tensor("aaab")], {"top_k": 1}, {"labels": ["a"], "scores": [0.75]}),
        ("reply", [tensor("hello")], {}, {"replies": ["hello"], "scores": [5.0]}),
        (
            "classify_tokens",
            [tensor("we met Ada")],
            {},
            {"entities": ['[{"label":"NAME","score":0.5,"text":"Ada","start":7,"stop":10}]']},
        ),
        ("embed_sparse", [tensor("aab")], {}, {"vectors": ['{"indices":[97,98],"values":[2.0,1.0]}']}),
    ],
)
async def test_every_signature(
    of_letters: Proxy, signature: str, inputs: list[Any], parameters: dict[str, Any], wanted: dict[str, Any]
) -> None:
    found = outputs(await infer(of_letters, *inputs, parameters={"signature": signature, **parameters}))
    assert found == {name: pytest.approx(values) for name, values in wanted.items()}


async def test_texts_go_on(proxy: Proxy, server: ThriftServer) -> None:
    answer = await infer(
        proxy,
        tensor("a", "b"),
        path="/v2/models/gpt2/infer",
        parameters={"max_tokens": 4, "timeout": 1_500_500},
        id="7",
    )
    assert answer.json == {
        "model_name": "gpt2",
        "model_version": "0123456789ab",
        "id": "7",
        "outputs": [
            {"name": "continuations", "datatype": "BYTES", "shape": [2], "data": [" new föld of 🙂 study"] * 2},
        ],
    }
    assert {(prompt, how.max_tokens, options.timeout_ms) for prompt, how, options in server.named("generate")} == {
        ("a", 4, 1501),
        ("b", 4, 1501),
    }


async def test_tensors_behind_the_json(of_letters: Proxy) -> None:
    texts, tail = ["ab", "föld 🙂", ""], packed("ab", "föld 🙂", "")
    one = {"name": "text", "shape": [3, 1], "datatype": "BYTES", "parameters": {"binary_data_size": len(tail)}}
    head = json.dumps({"inputs": [one], "parameters": {"binary_data_output": True}}).encode()
    headers = {HEAD_BYTES: str(len(head)), "Content-Type": "application/octet-stream"}
    answer = await of_letters.ask("POST", f"{MODEL}/infer", data=head + tail, headers=headers)
    assert (answer.status, answer.headers["Content-Type"]) == (200, "application/octet-stream")
    size = int(answer.headers[HEAD_BYTES])
    [output] = json.loads(answer.body[:size])["outputs"]
    assert output == {
        "name": "embeddings",
        "datatype": "FP32",
        "shape": [3, 8],
        "parameters": {"binary_data_size": 96},
    }
    found = np.frombuffer(answer.body[size:], "<f4").reshape(3, 8)
    np.testing.assert_allclose(found, [vector_of(text) for text in texts])


async def test_each_output_as_it_is_asked_for(of_letters: Proxy) -> None:
    wanted = [{"name": "scores"}, {"name": "labels", "parameters": {"binary_data": True}}]
    answer = await infer(of_letters, tensor("aaab"), parameters={"signature": "classify"}, outputs=wanted)
    size = int(answer.headers[HEAD_BYTES])
    scores, labels = json.loads(answer.body[:size])["outputs"]
    assert scores["data"] == [0.75, 0.25]
    assert labels["parameters"] == {"binary_data_size": 10}
    assert answer.body[size:] == packed("a", "b")


async def test_numbers_of_other_types(of_letters: Proxy) -> None:
    answer = await infer(of_letters, tensor("ab"), parameters={"encoding": "int8"})
    [output] = answer.json["outputs"]
    assert (output["datatype"], output["data"]) == ("INT8", [127, 127, 0, 0, 0, 0, 0, 0])


@pytest.mark.parametrize("content_type", ["application/x-www-form-urlencoded", "", "application/json"])
async def test_whatever_the_content_type(of_letters: Proxy, content_type: str) -> None:
    body = json.dumps({"inputs": [tensor("ab")]})
    out = await of_letters.curl("-H", f"Content-Type: {content_type}", "-d", body, f"URL{MODEL}/infer")
    assert json.loads(out)["outputs"][0]["shape"] == [1, 8]


async def test_no_texts(of_letters: Proxy) -> None:
    assert outputs(await infer(of_letters, tensor())) == {"embeddings": []}
    assert outputs(await infer(of_letters, tensor(), parameters={"signature": "classify"})) == {
        "labels": [],
        "scores": [],
    }


@pytest.mark.parametrize(
    ("asked", "status", "message"),
    [
        ({}, 400, "inputs: this field is required"),
        ({"inputs": []}, 400, "inputs: expected text, got none"),
        ({"inputs": [tensor("a"), tensor("a")]}, 400, "inputs[1].name: 'text' is given twice"),
        ({"inputs": [tensor("a"), tensor("a", name="b")]}, 400, "inputs: expected text, got text, b"),
        ({"inputs": [tensor("a", datatype="FP32")]}, 400, "inputs[0].datatype: expected BYTES, as all inputs are"),
        ({"inputs": [tensor("a", shape=[2])]}, 400, "inputs[0].shape: the shape has 2 elements, and there are 1"),
        ({"inputs": [tensor("a", shape=[-1])]}, 400, "inputs[0].shape[0]: must be at least 0, got -1"),
        ({"inputs": [tensor("a", shape=[1 << 62] * 8)]}, 400, "inputs[0].shape: the shape has "),
        ({"inputs": [tensor("a", data=[1])]}, 400, "inputs[0].data: expected strings"),
        ({"inputs": [tensor("a", data=None)]}, 400, "inputs[0].data: expected strings"),
        ({"inputs": [tensor(*["a"] * 2049)]}, 413, "inputs[0].data: over 2048 elements (setting max_docs)"),
        ({"inputs": [tensor("a")], "parameters": {"signature": "x"}}, 400, "parameters.signature: the model has no"),
        ({"inputs": [tensor("a")], "parameters": {"top": 1}}, 400, "parameters.top: there is no such field"),
        ({"inputs": [tensor("a")], "parameters": {"model": "x"}}, 400, "parameters.model: embed has no such parameter"),
        ({"inputs": [tensor("a")], "parameters": {"timeout": -1}}, 400, "parameters.timeout: expected a whole number"),
        ({"inputs": [tensor("a")], "parameters": {"dimensions": 0}}, 400, "parameters.dimensions: must be at least 1"),
        ({"inputs": [tensor("a")], "outputs": [{"name": "x"}]}, 400, "outputs[0].name: the model has no output 'x'"),
        (
            {"inputs": [tensor("a")], "parameters": {"signature": "classify"}, "outputs": [
                {"name": "scores", "parameters": {"classification": 1}}
            ]},
            400,
            "outputs[0].parameters.classification: classes are in the output labels",
        ),
        ({"inputs": [tensor("a"), tensor("b", "c", name="query")],
          "parameters": {"signature": "rerank"}}, 400, "query: "),
        ({"inputs": [tensor("nan")]}, 500, "gave numbers that are NaN"),
        ({"inputs": [tensor("a", "b" * 21)], "parameters": {"truncate": False}}, 413, "text[1]: the text has"),
    ],
)  # fmt: skip
async def test_refusals(of_letters: Proxy, asked: dict[str, Any], status: int, message: str) -> None:
    answer = await of_letters.ask("POST", f"{MODEL}/infer", json=asked)
    assert answer.status == status, answer.body
    assert message in answer.json["error"]


@pytest.mark.parametrize(
    ("tail", "size", "shape", "message"),
    [
        (packed("ab"), 6, [2], "shape: the shape has 2 elements, and there are 1"),
        (packed("ab"), 5, [1], "binary_data_size: element 0 ends behind the tensor"),
        (packed("ab"), 3, [1], "binary_data_size: element 0 ends behind the tensor"),
        (packed("ab"), 7, [1], "binary_data_size: expected a number of bytes, at most the 6 that there are, got 7"),
        (packed("ab"), "6", [1], "binary_data_size: expected a number of bytes"),
        (packed("ab", "c"), 11, [1], "there are 5 bytes behind the last of 1 elements"),
        (packed("ab") + b"x", 6, [1], "there are 1 bytes behind the last input"),
        (b"\x02\0\0\0\xff\xff", 6, [1], "element 0 is not valid UTF-8"),
        (packed("ab"), 6, [1 << 40], "over 2048 elements (setting max_docs)"),
    ],
)
async def test_bytes_that_are_no_tensors(
    of_letters: Proxy, tail: bytes, size: Any, shape: list[int], message: str
) -> None:
    one = {"name": "text", "shape": shape, "datatype": "BYTES", "parameters": {"binary_data_size": size}}
    head = json.dumps({"inputs": [one]}).encode()
    headers = {HEAD_BYTES: str(len(head)), "Content-Type": "application/octet-stream"}
    answer = await of_letters.ask("POST", f"{MODEL}/infer", data=head + tail, headers=headers)
    assert answer.status in (400, 413), answer.body
    assert message in answer.json["error"]


@pytest.mark.parametrize("said", ["x", "-1", "99999999999999", "1000"])
async def test_a_head_that_is_longer_than_the_body(of_letters: Proxy, said: str) -> None:
    answer = await of_letters.ask("POST", f"{MODEL}/infer", data=b"{}", headers={HEAD_BYTES: said})
    assert answer.status == 400
    assert answer.json["error"] == f"the header {HEAD_BYTES} says '{said}', and the body has 2 bytes"
