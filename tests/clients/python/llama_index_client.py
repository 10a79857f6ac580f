"""LlamaIndex: its OpenAI-like and text-embeddings-inference embeddings; Cohere's, Jina's and its reranker."""

from __future__ import annotations

from llama_index.core.schema import NodeWithScore, QueryBundle, TextNode
from llama_index.embeddings.openai_like import OpenAILikeEmbedding
from llama_index.embeddings.text_embeddings_inference import TextEmbeddingsInference
from llama_index.postprocessor.cohere_rerank import CohereRerank
from llama_index.postprocessor.jinaai_rerank import JinaRerank
from llama_index.postprocessor.tei_rerank import TextEmbeddingInference
from program import run


def answer(url: str, texts: list[str], query: str, dimensions: int) -> dict[str, object]:
    options = {"api_base": f"{url}/v1", "api_key": "none", "model_name": "encoder"}
    openai = OpenAILikeEmbedding(**options, embed_batch_size=100, max_retries=20)
    tei = TextEmbeddingsInference(model_name="encoder", base_url=url, embed_batch_size=50)
    rerankers = {
        "Cohere": CohereRerank(base_url=url, api_key="none", model="reranker", top_n=5),
        "Jina": JinaRerank(base_url=f"{url}/v1", api_key="none", model="reranker", top_n=5),
        "text-embeddings-inference": TextEmbeddingInference(base_url=url, top_n=5),
    }
    nodes = [NodeWithScore(node=TextNode(text=text, id_=str(place))) for place, text in enumerate(texts)]

    def ranks(reranker: object) -> list[list[float]]:
        return [[int(one.node.id_), one.score] for one in reranker.postprocess_nodes(nodes, QueryBundle(query))]

    return {
        "documents": openai.get_text_embedding_batch(texts),
        "query": openai.get_query_embedding(query),
        "dimensions": OpenAILikeEmbedding(**options, dimensions=dimensions).get_text_embedding_batch(texts[:10]),
        "normalized": tei.get_text_embedding_batch(texts),
        **{f"ranks by {name}": ranks(reranker) for name, reranker in rerankers.items()},
    }


run(answer)
