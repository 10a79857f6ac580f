"""huggingface_hub's InferenceClient for every task that a text has, at one address and at the paths of the tasks."""

from __future__ import annotations

from huggingface_hub import InferenceClient
from huggingface_hub.errors import HfHubHTTPError
from program import run

LABELS = ["boats", "weather"]
CHAT = {"model": "chat"}  # else it says "dummy"


def answer(url: str, texts: list[str], query: str) -> dict[str, object]:
    client, [first, *_] = InferenceClient(model=url), texts
    refused = {}
    try:
        client.zero_shot_classification(first, [])
    except HfHubHTTPError as error:
        refused["no labels"] = str(error)

    def labels(found: list[object]) -> list[list[object]]:
        return [[one.label, one.score] for one in found]

    def entities(found: list[object]) -> list[list[object]]:
        return [[one.entity_group or one.entity, one.word, one.start, one.end, one.score] for one in found]

    return {
        "vectors": client.feature_extraction(texts).tolist(),
        "similarity": client.sentence_similarity(query, texts),
        "similarity by path": InferenceClient(model=f"{url}/similarity").sentence_similarity(query, texts),
        "labels": labels(client.text_classification(first, function_to_apply="softmax")),
        "labels by path": labels(InferenceClient(model=f"{url}/predict").text_classification(first)),
        "best label": labels(InferenceClient(model=f"{url}/predict").text_classification(first, top_k=1)),
        "own labels": labels(client.zero_shot_classification(first, LABELS, multi_label=True)),
        "entities": entities(client.token_classification(first, aggregation_strategy="first")),
        "entities by path": entities(InferenceClient(model=f"{url}/classify_tokens").token_classification(first)),
        "tokens": entities(client.token_classification(first, aggregation_strategy="none")),
        "text": client.text_generation(query, max_new_tokens=8, do_sample=False),
        "whole text": client.text_generation(query, max_new_tokens=8, do_sample=False, return_full_text=True),
        "chat": client.chat_completion([{"role": "user", "content": query}], max_tokens=8, extra_body=CHAT)
        .choices[0]
        .message.content,
        "refused": refused,
    }


run(answer)
