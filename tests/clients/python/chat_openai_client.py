"""openai: conversations whole and streamed, tools, several answers; the Responses API; vectors."""

from __future__ import annotations

import openai
from program import run


def answer(url: str, messages: list[dict], tools: list[dict], tokens: int, schema: dict) -> dict[str, object]:
    client = openai.OpenAI(base_url=f"{url}/v1", api_key="none", max_retries=20)
    greedy = {"model": "chat", "messages": messages, "max_completion_tokens": tokens, "temperature": 0}
    whole = client.chat.completions.create(**greedy, logprobs=True, top_logprobs=2)
    parts = list(client.chat.completions.create(**greedy, stream=True, stream_options={"include_usage": True}))
    called = client.chat.completions.create(model="caller", messages=messages, tools=tools, temperature=0)
    [call] = called.choices[0].message.tool_calls
    again = [
        *messages,
        called.choices[0].message,
        {"role": "tool", "tool_call_id": call.id, "content": '{"rain": true}'},
    ]
    after = client.chat.completions.create(model="caller", messages=again, tools=tools, max_tokens=4)
    with client.chat.completions.stream(model="caller", messages=messages, tools=tools, temperature=0) as stream:
        for _ in stream:
            pass
        [streamed] = stream.get_final_completion().choices[0].message.tool_calls
    form = {"type": "json_schema", "json_schema": {"name": schema["title"], "schema": schema, "strict": True}}
    formed = client.chat.completions.create(model="chat", messages=messages, response_format=form, seed=5)
    report = {"type": "function", "function": {"name": "report", "parameters": schema}}
    forced = client.chat.completions.create(
        model="chat", messages=messages, tools=[report], tool_choice="required", seed=5
    )
    two = client.chat.completions.create(**greedy | {"temperature": 1, "n": 2, "seed": 5})
    response = client.responses.create(model="chat", input=messages, max_output_tokens=tokens, temperature=0)
    return {
        "chat": whole.choices[0].message.content,
        "stream": "".join(part.choices[0].delta.content or "" for part in parts if part.choices),
        "usage": [whole.usage.to_dict(), parts[-1].usage.to_dict()],
        "tools": [call.function.name, call.function.arguments],
        "streamed tools": [streamed.function.name, streamed.function.arguments],
        "after tools": after.usage.completion_tokens,
        "logprobs": [token.to_dict() for token in whole.choices[0].logprobs.content],
        "formed": formed.choices[0].message.content,
        "forced": [call.function.to_dict() for call in forced.choices[0].message.tool_calls],
        "two": [choice.message.content for choice in two.choices],
        "response": response.output_text,
        "vectors": [one.embedding for one in client.embeddings.create(model="encoder", input=["a", "b"]).data],
        "names": [model.id for model in client.models.list()],
    }


run(answer)
