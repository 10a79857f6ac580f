"""Rerankers: both of cohere's clients, litellm's for Cohere, Jina and vLLM; vLLM's own routes by openai."""

from __future__ import annotations

import cohere
import litellm
import openai
from program import run


def answer(url: str, texts: list[str], query: str) -> dict[str, object]:
    asked = {"model": "reranker", "query": query, "documents": texts}
    first = cohere.Client(api_key="none", base_url=url).rerank(**asked, top_n=3, return_documents=True)
    second = cohere.ClientV2(api_key="none", base_url=url).rerank(**asked, top_n=3)

    def by_litellm(provider: str, base: str) -> list[list[float]]:
        options = {"api_base": base, "api_key": "none", "query": query, "documents": texts, "top_n": 3}
        found = litellm.rerank(model=f"{provider}/reranker", **options)
        return [[one["index"], one["relevance_score"]] for one in found.results]

    vllm = openai.OpenAI(base_url=url, api_key="none")

    def post(path: str, **body: object) -> list[dict[str, object]]:
        return vllm.post(path, cast_to=object, body=body)["data"]

    classes = post("/classify", model="topics", input=texts)
    return {
        "ranks by cohere 1": [[one.index, one.relevance_score] for one in first.results],
        "documents": [one.document.text for one in first.results],
        "ranks by cohere 2": [[one.index, one.relevance_score] for one in second.results],
        "ranks by litellm for Cohere": by_litellm("cohere", url),
        "ranks by litellm for Jina": by_litellm("jina_ai", url),
        "ranks by litellm for vLLM": by_litellm("hosted_vllm", url),
        "vectors by litellm": [
            one["embedding"]
            for one in litellm.embedding(model="openai/encoder", input=texts, api_base=f"{url}/v1", api_key="none").data
        ],
        "vectors by litellm for vLLM": [
            one["embedding"]
            for one in litellm.embedding(
                model="hosted_vllm/encoder", input=texts, api_base=f"{url}/v1", api_key="none"
            ).data
        ],
        "scores": [one["score"] for one in post("/score", model="reranker", text_1=query, text_2=texts)],
        "scores of pairs": [one["score"] for one in post("/v1/score", text_1=[query] * len(texts), text_2=texts)],
        "cosines": [one["score"] for one in post("/score", model="encoder", text_1=query, text_2=texts)],
        "labels": [one["label"] for one in classes],
        "probabilities": [one["probs"] for one in classes],
        "vectors": [one["data"] for one in post("/pooling", model="encoder", input=texts)],
        "pooled probabilities": [one["data"] for one in post("/pooling", model="topics", input=texts)],
        "vectors of tokens": [one["data"] for one in post("/pooling", model="colbert", input=texts)],
        "names": {
            model.id: model.created for model in openai.OpenAI(base_url=f"{url}/v1", api_key="none").models.list()
        },
    }


run(answer)
