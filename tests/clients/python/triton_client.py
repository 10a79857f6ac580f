"""tritonclient, NVIDIA's own: tensors in bytes and in JSON, compressed or not, and from asyncio."""

from __future__ import annotations

import asyncio

import numpy as np
import tritonclient.http
import tritonclient.http.aio
from program import run
from tritonclient.utils import InferenceServerException


def tensor(module: object, texts: list[str], *, name: str = "text", binary: bool = True) -> object:
    one = module.InferInput(name, [len(texts)], "BYTES")
    one.set_data_from_numpy(np.array([text.encode() for text in texts], dtype=np.object_), binary_data=binary)
    return one


async def from_asyncio(address: str, texts: list[str]) -> list[list[float]]:
    module = tritonclient.http.aio
    async with module.InferenceServerClient(address) as client:
        assert await client.is_server_ready()
        answer = await client.infer("encoder", [tensor(module, texts)])
    return answer.as_numpy("embeddings").tolist()


def answer(url: str, texts: list[str], query: str) -> dict[str, object]:
    module, address = tritonclient.http, url.removeprefix("http://")
    client = module.InferenceServerClient(address)
    version = client.get_model_metadata("encoder")["versions"][0]

    def infer(model: str, inputs: list[object], output: str, **options: object) -> list[object]:
        found = client.infer(model, inputs, **options).as_numpy(output)
        return [one.decode() for one in found.reshape(-1)] if found.dtype == object else found.tolist()

    in_json = {"outputs": [module.InferRequestedOutput("embeddings", binary_data=False)]}
    labels = {"parameters": {"top_k": 1}}
    refused = {}
    for name, call in {
        "no model": lambda: infer("none", [tensor(module, texts)], "embeddings"),
        "no output": lambda: client.infer(
            "encoder", [tensor(module, texts)], outputs=[module.InferRequestedOutput("scores")]
        ),
        "no version": lambda: infer("encoder", [tensor(module, texts)], "embeddings", model_version="1"),
    }.items():
        try:
            call()
        except InferenceServerException as error:
            refused[name] = error.message()
    return {
        "alive": [client.is_server_live(), client.is_server_ready(), client.is_model_ready("encoder")],
        "not there": client.is_model_ready("none"),
        "server": client.get_server_metadata()["extensions"],
        "index": [one["name"] for one in client.get_model_repository_index()],
        "metadata": client.get_model_metadata("encoder"),
        "config": client.get_model_config("encoder"),
        "vectors": infer("encoder", [tensor(module, texts)], "embeddings"),
        "vectors of a version": infer("encoder", [tensor(module, texts)], "embeddings", model_version=version),
        "vectors in JSON": infer("encoder", [tensor(module, texts, binary=False)], "embeddings", **in_json),
        "vectors by gzip": infer(
            "encoder",
            [tensor(module, texts)],
            "embeddings",
            request_compression_algorithm="gzip",
            response_compression_algorithm="gzip",
        ),
        "vectors by deflate": infer(
            "encoder", [tensor(module, texts)], "embeddings", request_compression_algorithm="deflate"
        ),
        "vectors from asyncio": asyncio.run(from_asyncio(address, texts)),
        "labels": infer("topics", [tensor(module, texts)], "labels", **labels),
        "ranks": infer("reranker", [tensor(module, [query], name="query"), tensor(module, texts)], "scores"),
        "entities": infer("tags", [tensor(module, texts)], "entities"),
        "texts": infer(
            "chat", [tensor(module, [query])], "continuations", parameters={"max_tokens": 8, "temperature": 0.0}
        ),
        "refused": refused,
    }


run(answer)
