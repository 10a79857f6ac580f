"""text-embeddings-inference's service (https://huggingface.github.io/text-embeddings-inference), as its clients ask."""
