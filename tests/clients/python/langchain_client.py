"""LangChain: langchain-openai's vectors, langchain-cohere's ranks."""

from __future__ import annotations

from langchain_cohere import CohereRerank
from langchain_core.documents import Document
from langchain_openai import OpenAIEmbeddings
from program import run


def answer(url: str, texts: list[str], query: str, dimensions: int) -> dict[str, object]:
    options = {"base_url": f"{url}/v1", "api_key": "none", "model": "encoder", "check_embedding_ctx_length": False}
    embeddings = OpenAIEmbeddings(**options, max_retries=20)
    reranker = CohereRerank(base_url=url, cohere_api_key="none", model="reranker", top_n=5)
    documents = [Document(page_content=text) for text in texts]
    best = reranker.compress_documents(documents, query)
    return {
        "documents": embeddings.embed_documents(texts),
        "documents, 64 a request": OpenAIEmbeddings(**options, chunk_size=64).embed_documents(texts),
        "query": embeddings.embed_query(query),
        "dimensions": OpenAIEmbeddings(**options, dimensions=dimensions).embed_documents(texts),
        "ranks": [[texts.index(one.page_content), one.metadata["relevance_score"]] for one in best],
    }


run(answer)
