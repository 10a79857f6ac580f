"""What every client does: each method of the contract, and what the server answers to it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from predictor.ttypes import PredictionError

from tests.clients.thrift.contract import Kind, method, to_plain, to_structs

if TYPE_CHECKING:
    from pathlib import Path

BEYOND = "a 🛥 in Ποταμός, s'il te plaît 𝄞"
MEGABYTE = 1_000_000
MOST_COMPARED = 12  # items of a list; its size is compared too


class Repeated(str):
    """A string that is one character, so many times: no program has a megabyte of text in it."""

    __slots__ = ()


class RepeatedItem(list[int]):
    """A list of one number, so many times."""


class Stream(str):
    """Stands for the id that generate_begin, chat_begin or submit_batch gave last."""

    __slots__ = ()


ID = Stream("ID")
GIVE_AN_ID = ("generate_begin", "chat_begin")


@dataclass
class Step:
    """A call, and the plain data of its result, or of the PredictionError that it ends with.

    A field that `expected` does not have is not compared.
    """

    name: str
    arguments: dict[str, Any]
    expected: Any = None
    fails: bool = False


def steps(jobs: Path) -> list[Step]:
    """Without what is expected."""
    return [*_predictions_and_vectors(), *_generation(), *_jobs_and_models(jobs)]


def _predictions_and_vectors() -> list[Step]:
    texts = ["", BEYOND, "the harbour is small"]
    return [
        Step("predict", {"doc": BEYOND}),
        Step(
            "predict",
            {"doc": "", "options": {"model": "topics", "timeout_ms": 30_000, "lane": 1, "request_id": BEYOND}},
        ),
        Step("predict", {"doc": Repeated("a" * MEGABYTE), "options": {"model": "nobody"}}),
        Step("predict_batch", {"docs": texts, "options": {"model": "topics"}}),
        Step("predict_batch", {"docs": []}),
        Step("predict_batch", {"docs": ["a", Repeated("é" * (MEGABYTE // 2))], "options": {"model": "topics"}}),
        Step(
            "classify",
            {"texts": texts, "options": {"model": "topics"}, "classify_options": {"top_k": 2, "raw_scores": True}},
        ),
        Step("classify_tokens", {"text": BEYOND, "token_options": {"aggregation": 0, "ignore_labels": []}}),
        Step("classify_tokens_batch", {"texts": texts}),
        Step("rerank", {"query": "boats", "texts": texts, "rerank_options": {"top_n": 2}}),
        Step("reply", {"message": "Hello", "reply_options": {"max_replies": 3, "threshold": 0.25}}),
        Step("reply_batch", {"messages": ["Hello", "Good night"]}),
        Step("reply_conversation", {"messages": ["Hello", "Good night"]}),
        Step("embed", {"text": BEYOND, "embed_options": {"dimensions": 5, "normalize": True}}),
        Step("embed_batch", {"texts": texts}),
        Step("embed_matrix", {"texts": texts, "embed_options": {"encoding": 1}}),
        Step("embed_ids", {"ids": [[1, 2, 3], [4]]}),
        Step("embed_tokens", {"texts": ["a boat"]}),
        Step("embed_sparse", {"texts": texts[2:], "sparse_options": {"tokens": True}}),
        Step("tokenize", {"texts": texts, "options": {"model": "generator"}}),
        Step("detokenize", {"ids": [[], RepeatedItem([0] * 80_000)], "options": {"model": "generator"}}),
    ]


def _generation() -> list[Step]:
    greedy = {
        "max_tokens": 6,
        "temperature": 0.0,
        "logprobs": 2,
        "logit_bias": {5: 0.5},
        "stop": ["zzz"],
        "seed": 1 << 40,
    }
    none = {"max_tokens": 0}
    user = [{"role": "user", "content": BEYOND}]
    tools = {"tools": ['{"type": "function", "function": {"name": "when", "parameters": {}}}']}
    called = [
        *user,
        {"role": "assistant", "content": "", "tool_calls": [{"id": "c", "name": "when", "arguments": "{}"}]},
        *user,
    ]
    return [
        Step("generate", {"prompt": "Every evening", "generation_options": greedy, "options": {"model": "generator"}}),
        Step("generate", {"prompt": "a", "generation_options": {"temperature": 99.0}, "options": {"request_id": "x"}}),
        Step("generate_begin", {"prompt": "a", "generation_options": none, "options": {"model": "generator"}}),
        Step("generate_next", {"stream_id": ID, "wait_ms": 60_000}),
        Step("generate_begin", {"prompt": "a", "options": {"model": "generator"}}),
        Step("generate_cancel", {"stream_id": ID}),
        Step("generate_cancel", {"stream_id": "nobody's"}),
        Step("chat", {"messages": user, "generation_options": {"max_tokens": 4, "temperature": 0.0}}),
        Step("chat_begin", {"messages": called, "generation_options": none, "chat_options": tools}),
        Step("generate_cancel", {"stream_id": ID}),
        Step("chat_prompt", {"messages": called, "chat_options": tools}),
    ]


def _jobs_and_models(jobs: Path) -> list[Step]:
    job = {"method": "embed", "model": "encoder", "input": f"{jobs}/in/", "output": f"{jobs}/out/", "on_error": 1}
    return [
        Step("submit_batch", {"request": job | {"key_field": ""}}),
        Step("get_batch", {"id": "none"}),
        Step("cancel_batch", {"id": "none"}),
        Step("resume_batch", {"id": "none"}),
        Step("list_batches", {"limit": 5}),
        Step("list_models", {}),
        Step("load_model", {"name": "more", "location": "/nowhere"}),
        Step("unload_model", {"name": BEYOND}),
        Step("status", {}),
    ]


def with_expectations(todo: list[Step], predictor: Any) -> list[Step]:
    """The same, with what Apache's Python client gets of a server."""
    stream_id = ""
    for step in todo:
        about = method(step.name)
        given = {
            each.name: stream_id if isinstance(step.arguments.get(each.name), Stream) else step.arguments.get(each.name)
            for each in about.arguments
        }
        arguments = [to_structs(each.kind, given[each.name]) for each in about.arguments]
        try:
            result = getattr(predictor, step.name)(*arguments)
        except PredictionError as error:
            step.fails = True
            step.expected = to_plain(Kind("struct", "PredictionError"), error)
            if error.request_id is not None and error.request_id not in str(given):
                del step.expected["request_id"]  # which the server made
            continue
        if step.name in GIVE_AN_ID:
            stream_id = result
        elif about.result is not None:
            step.expected = _lasting(step.name, to_plain(about.result, result))
    return todo


def _lasting(name: str, expected: Any) -> Any:
    """Without what another call has otherwise."""
    if name == "status":
        return {key: expected[key] for key in ("version", "ready", "reasons")}
    return expected
