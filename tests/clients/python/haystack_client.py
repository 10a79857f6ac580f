"""Haystack: its OpenAI and text-embeddings-inference embedders; Cohere's, Jina's and its rankers."""

from __future__ import annotations

from haystack import Document
from haystack.components.embedders import OpenAIDocumentEmbedder, OpenAITextEmbedder
from haystack.utils import Secret
from haystack_integrations.components.embedders.huggingface_api import (
    HuggingFaceAPIDocumentEmbedder,
    HuggingFaceAPITextEmbedder,
    HuggingFaceTEISparseDocumentEmbedder,
)
from haystack_integrations.components.rankers.cohere import CohereRanker
from haystack_integrations.components.rankers.huggingface_api import HuggingFaceTEIRanker
from haystack_integrations.components.rankers.jina import JinaRanker
from program import run

KEY = Secret.from_token("none")
TEI = "text_embeddings_inference"


def answer(url: str, texts: list[str], query: str, dimensions: int) -> dict[str, object]:
    options = {"api_base_url": f"{url}/v1", "api_key": KEY, "model": "encoder"}
    documents = [Document(content=text, meta={"place": place}) for place, text in enumerate(texts)]
    rankers = {
        "Cohere": CohereRanker(model="reranker", api_base_url=url, api_key=KEY, top_k=5),
        "Jina": JinaRanker(model="reranker", api_key=KEY, base_url=f"{url}/v1/rerank", top_k=5),
        "text-embeddings-inference": HuggingFaceTEIRanker(url=url, top_k=5),
    }

    def vectors(embedder: object, of: list[Document]) -> list[list[float]]:
        return [document.embedding for document in embedder.run(documents=of)["documents"]]

    def ranks(ranker: object) -> list[list[float]]:
        best = ranker.run(query=query, documents=documents)["documents"]
        return [[one.meta["place"], one.score] for one in best]

    tei = {"api_type": TEI, "api_params": {"url": url}}
    sparse = HuggingFaceTEISparseDocumentEmbedder(api_base_url=url)
    return {
        "documents": vectors(OpenAIDocumentEmbedder(**options, batch_size=256), documents),
        "query": OpenAITextEmbedder(**options, max_retries=20).run(text=query)["embedding"],
        "dimensions": vectors(OpenAIDocumentEmbedder(**options, dimensions=dimensions), documents[:10]),
        "documents by text-embeddings-inference": vectors(HuggingFaceAPIDocumentEmbedder(**tei), documents),
        "query by text-embeddings-inference": HuggingFaceAPITextEmbedder(**tei).run(text=query)["embedding"],
        "sparse": [
            [one.sparse_embedding.indices, one.sparse_embedding.values]
            for one in sparse.run(documents=documents[:10])["documents"]
        ],
        "usage": rankers["Jina"].run(query=query, documents=documents)["meta"]["usage"],
        **{f"ranks by {name}": ranks(ranker) for name, ranker in rankers.items()},
    }


run(answer)
