"""KServe's InferenceRESTClient, by version 1 of its protocol, which is TensorFlow Serving's, and by version 2."""

from __future__ import annotations

import asyncio

from kserve import InferenceRESTClient, InferInput, InferRequest, RESTConfig
from program import run


async def asked(url: str, texts: list[str], query: str) -> dict[str, object]:
    first, second = (InferenceRESTClient(RESTConfig(protocol=protocol)) for protocol in ("v1", "v2"))
    request = InferRequest("encoder", [InferInput("text", [len(texts)], "BYTES", data=texts)])
    vectors = await second.infer(url, request, model_name="encoder")
    pairs = [{"query": query, "text": text} for text in texts]
    return {
        "alive": [
            await first.is_server_live(url),
            await first.is_model_ready(url, "encoder"),
            await second.is_server_live(url),
            await second.is_server_ready(url),
            await second.is_model_ready(url, "encoder"),
        ],
        "not there": await second.is_model_ready(url, "none"),
        "vectors": (await first.infer(url, {"instances": texts}, model_name="encoder"))["predictions"],
        "vectors of version 2": vectors.outputs[0].as_numpy().tolist(),
        "ranks": (await first.infer(url, {"instances": pairs}, model_name="reranker"))["predictions"],
    }


def answer(url: str, texts: list[str], query: str) -> dict[str, object]:
    return asyncio.run(asked(url, texts, query))


run(answer)
