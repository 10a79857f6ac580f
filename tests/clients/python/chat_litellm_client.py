"""litellm: its openai/ provider, whole, streamed and with tools; vectors."""

from __future__ import annotations

import litellm
from program import run


def answer(url: str, messages: list[dict], tools: list[dict], tokens: int, schema: dict) -> dict[str, object]:
    options = {"api_base": f"{url}/v1", "api_key": "none", "num_retries": 20}
    greedy = {**options, "model": "openai/chat", "messages": messages, "max_tokens": tokens, "temperature": 0}
    calling = {**options, "model": "openai/caller", "messages": messages, "tools": tools, "temperature": 0}
    whole = litellm.completion(**greedy, logprobs=True, top_logprobs=2)
    [call] = litellm.completion(**calling).choices[0].message.tool_calls
    parts = list(litellm.completion(**calling, stream=True))
    [streamed] = litellm.stream_chunk_builder(parts, messages=messages).choices[0].message.tool_calls
    two = litellm.completion(**greedy | {"temperature": 1, "n": 2, "seed": 5})
    form = {"type": "json_schema", "json_schema": {"name": schema["title"], "schema": schema}}
    formed = litellm.completion(**options, model="openai/chat", messages=messages, response_format=form, seed=5)
    vectors = litellm.embedding(model="openai/encoder", input=["a", "b"], **options)
    return {
        "chat": whole.choices[0].message.content,
        "stream": "".join(part.choices[0].delta.content or "" for part in litellm.completion(**greedy, stream=True)),
        "usage": [whole.usage.model_dump()],
        "tools": [call.function.name, call.function.arguments],
        "streamed tools": [streamed.function.name, streamed.function.arguments],
        "logprobs": [token.model_dump() for token in whole.choices[0].logprobs.content],
        "two": [choice.message.content for choice in two.choices],
        "formed": formed.choices[0].message.content,
        "vectors": [one["embedding"] for one in vectors.data],
    }


run(answer)
