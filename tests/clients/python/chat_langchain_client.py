"""langchain-openai: ChatOpenAI whole, streamed and with tools; OpenAI, which continues a prompt; vectors."""

from __future__ import annotations

from langchain_core.messages import convert_to_messages
from langchain_openai import ChatOpenAI, OpenAI, OpenAIEmbeddings
from program import run


def answer(url: str, messages: list[dict], tools: list[dict], tokens: int, schema: dict) -> dict[str, object]:
    options = {"base_url": f"{url}/v1", "api_key": "none", "max_retries": 20}
    chat = ChatOpenAI(**options, model="chat", temperature=0, max_tokens=tokens)
    caller = ChatOpenAI(**options, model="caller", temperature=0).bind_tools(tools)
    called = caller.invoke(messages)
    [call] = called.tool_calls
    whole = None
    for part in caller.stream(messages):
        whole = part if whole is None else whole + part
    [streamed] = whole.tool_calls
    two = ChatOpenAI(**options, model="chat", n=2, seed=5, max_tokens=tokens).generate([convert_to_messages(messages)])
    done = chat.bind(logprobs=True, top_logprobs=2).invoke(messages)
    formed = ChatOpenAI(**options, model="chat", seed=5).with_structured_output(schema, method="json_schema")
    embeddings = OpenAIEmbeddings(**options, model="encoder", check_embedding_ctx_length=False)
    return {
        "chat": done.content,
        "stream": "".join(part.content for part in chat.stream(messages)),
        "usage": [done.usage_metadata],
        "tools": [call["name"], call["args"]],
        "streamed tools": [streamed["name"], streamed["args"]],
        "logprobs": done.response_metadata["logprobs"]["content"],
        "two": [generation.text for generation in two.generations[0]],
        "formed": formed.invoke(messages),
        "prompt": OpenAI(**options, model="chat", temperature=0, max_tokens=4).invoke("The harbour"),
        "vectors": embeddings.embed_documents(["a", "b"]),
    }


run(answer)
