"""What vLLM's server answers beside OpenAI's routes (https://docs.vllm.ai), for models that embed, rank or classify."""
