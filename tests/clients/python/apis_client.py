"""The clients that the frameworks build on: openai, cohere, huggingface_hub."""

from __future__ import annotations

import cohere
import openai
from huggingface_hub import InferenceClient
from huggingface_hub.errors import HfHubHTTPError
from program import run


def answer(url: str, texts: list[str], query: str, dimensions: int) -> dict[str, object]:
    client = openai.OpenAI(base_url=f"{url}/v1", api_key="none", max_retries=20)
    embeddings = client.embeddings

    def vectors(**fields: object) -> list[list[float]]:
        return [one.embedding for one in embeddings.create(model="encoder", **fields).data]

    refused = {}
    try:
        vectors(input=[[9906, 1917]])  # "Hello world", as tiktoken has it
    except openai.BadRequestError as error:
        refused["of openai"] = error.message
    try:
        InferenceClient(model=url).feature_extraction(["a", ""], prompt_name="none")
    except HfHubHTTPError as error:
        refused["of huggingface_hub"] = str(error)
    ranked = cohere.ClientV2(api_key="none", base_url=url).rerank(
        model="reranker", query=query, documents=texts, top_n=5
    )
    try:
        cohere.ClientV2(api_key="none", base_url=url).rerank(model="none", query=query, documents=texts)
    except cohere.NotFoundError as error:
        refused["of cohere"] = error.body["message"]
    return {
        "documents": vectors(input=texts),
        "documents as numbers": vectors(input=texts[:10], encoding_format="float"),
        "query": vectors(input=query)[0],
        "dimensions": vectors(input=texts[:10], dimensions=dimensions),
        "normalized": InferenceClient(model=url).feature_extraction(texts).tolist(),
        "normalized by path": InferenceClient(model=f"{url}/embed").feature_extraction(texts[:10]).tolist(),
        "ranks": [[one.index, one.relevance_score] for one in ranked.results],
        "names": [model.id for model in client.models.list()],
        "refused": refused,
    }


run(answer)
