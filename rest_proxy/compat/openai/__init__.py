"""OpenAI's API for embeddings and completions (https://platform.openai.com/docs/api-reference), for its clients."""
