"""llm: a model of its extra-openai-models.yaml, whole, streamed and with tools."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from program import run


def answer(url: str, messages: list[dict], tools: list[dict], tokens: int, schema: dict) -> dict[str, object]:
    with tempfile.TemporaryDirectory() as folder:
        os.environ["LLM_USER_PATH"] = folder
        lines = "".join(
            f"- model_id: our-{name}\n  model_name: {name}\n  api_base: {url}/v1\n  supports_tools: true\n"
            "  supports_schema: true\n"
            for name in ("chat", "caller")
        )
        Path(folder, "extra-openai-models.yaml").write_text(lines)
        import llm

        def get_weather(place: str) -> str:
            """The weather at a place."""
            return f"rain in {place}"

        [system, user] = [message["content"] for message in messages]
        chat, caller = (llm.get_model(f"our-{name}") for name in ("chat", "caller"))
        greedy = {"system": system, "key": "none", "temperature": 0, "max_tokens": tokens}
        called = caller.prompt(user, tools=[get_weather], key="none", temperature=0, stream=False)
        [call] = called.tool_calls()
        streamed = caller.prompt(user, tools=[get_weather], key="none", temperature=0, stream=True)
        [also] = streamed.tool_calls()
        return {
            "chat": chat.prompt(user, stream=False, **greedy).text(),
            "stream": "".join(chat.prompt(user, stream=True, **greedy)),
            "tools": [call.name, call.arguments],
            "streamed tools": [also.name, also.arguments],
        }


run(answer)
