"""Each method of both clients, against a real server: the answers are those of a generated Thrift client."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from predictor import ttypes

from predictor_client import (
    BatchState,
    ChatMessage,
    FinishReason,
    InvalidArgument,
    ModelState,
    NotFound,
    TooLarge,
    VectorEncoding,
)
from tests.support.service import eventually

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from tests.predictor_client.conftest import Asker
    from tests.support.service import Service

pytestmark = pytest.mark.slow

TEXTS = ["the harbour is small", "", "a boat 🛥 in the harbour"]
MESSAGES = [{"role": "user", "content": "When does the boat leave?"}]


@pytest.fixture
def client(served: Service, asker: Callable[..., Asker]) -> Asker:
    return asker(f"127.0.0.1:{served.port}", timeout=30)


@pytest.fixture
def raw(served: Service) -> Iterator[Any]:
    with served.client() as predictor:
        yield predictor


def options(model: str) -> ttypes.RequestOptions:
    return ttypes.RequestOptions(model=model)


def fields(value: Any) -> Any:
    """A struct of either kind, or a list of them, as plain data."""
    if isinstance(value, list):
        return [fields(item) for item in value]
    if isinstance(value, (bool, int, float, str, bytes, dict)):
        return value
    names = getattr(value, "__dataclass_fields__", None) or vars(value)
    return {name: fields(item) for name in names if (item := getattr(value, name)) is not None}


def test_scores_of_documents(client: Asker, raw: Any) -> None:
    assert client.predict(TEXTS[0], model="topics") == raw.predict(TEXTS[0], options("topics"))
    assert client.predict_batch(TEXTS, model="topics") == raw.predict_batch(TEXTS, options("topics"))
    assert client.predict_batch([]) == []


def test_labels(client: Asker, raw: Any) -> None:
    found = client.classify(TEXTS, model="topics", top_k=2, raw_scores=True)
    wanted = raw.classify(TEXTS, options("topics"), ttypes.ClassifyOptions(top_k=2, raw_scores=True))
    assert fields(found) == fields(wanted)
    assert [len(labels) for labels in found] == [2, 2, 2]


def test_entities(client: Asker, raw: Any) -> None:
    wanted = raw.classify_tokens_batch(TEXTS, None, None)
    assert fields(client.classify_tokens_batch(TEXTS)) == fields(wanted)
    assert fields(client.classify_tokens(TEXTS[2])) == fields(wanted[2])


def test_ranks(client: Asker, raw: Any) -> None:
    wanted = raw.rerank("boats", TEXTS, None, ttypes.RerankOptions(top_n=2))
    assert fields(client.rerank("boats", TEXTS, top_n=2)) == fields(wanted)


def test_replies(client: Asker, raw: Any) -> None:
    wanted = raw.reply("Hello", None, ttypes.ReplyOptions(max_replies=2))
    assert client.reply("Hello", max_replies=2) == wanted
    assert client.reply_batch(["Hello", "Hello"], max_replies=2) == [wanted, wanted]
    assert client.reply_conversation(["Hello"], max_replies=2) == wanted


def test_vectors(client: Asker, raw: Any) -> None:
    wanted = np.array(raw.embed_batch(TEXTS, None, None), np.float32)
    found = client.embed_batch(TEXTS)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, wanted, atol=1e-6)
    np.testing.assert_allclose(client.embed(TEXTS[0]), wanted[0], atol=1e-6)
    assert client.embed(TEXTS[0], dimensions=3).shape == (3,)
    assert client.embed_batch([]).shape[0] == 0
    found[0, 0] = 1  # it is the caller's own


def test_encoded_vectors(client: Asker, raw: Any) -> None:
    full = client.embed_matrix(TEXTS)
    small = client.embed_matrix(TEXTS, encoding=VectorEncoding.INT8)
    bits = client.embed_matrix(TEXTS, encoding=VectorEncoding.BINARY)
    assert (full.rows, full.columns, full.encoding) == (3, full.values.shape[1], VectorEncoding.FLOAT32)
    assert full.tokens == raw.embed_matrix(TEXTS, None, None).tokens
    np.testing.assert_allclose(small.values * small.scales[:, None], full.values, atol=0.01)
    np.testing.assert_array_equal(np.unpackbits(bits.values, axis=1)[:, : full.columns], full.values > 0)


def test_vectors_of_ids(client: Asker) -> None:
    tokens = client.tokenize(TEXTS[:1], model="encoder")
    by_ids = client.embed_ids([[token.id for token in tokens[0]]], model="encoder")
    np.testing.assert_allclose(by_ids.values, client.embed_matrix(TEXTS[:1]).values, atol=1e-5)


def test_vectors_of_tokens(client: Asker, raw: Any) -> None:
    found = client.embed_tokens(TEXTS[:2])
    wanted = raw.embed_tokens(TEXTS[:2], None, None)
    assert [matrix.values.tobytes() for matrix in found] == [matrix.values for matrix in wanted]


def test_sparse_vectors(client: Asker, raw: Any) -> None:
    found = client.embed_sparse(TEXTS[:1], tokens=True, max_active_dims=4)
    (wanted,) = raw.embed_sparse(TEXTS[:1], None, ttypes.SparseOptions(tokens=True, max_active_dims=4))
    assert found[0].indices.tolist() == wanted.indices
    assert found[0].values.tolist() == pytest.approx(wanted.values)
    assert found[0].tokens == wanted.tokens


def test_tokens(client: Asker, raw: Any) -> None:
    found = client.tokenize(TEXTS, model="generator", special_tokens=False)
    assert fields(found) == fields(
        raw.tokenize(TEXTS, options("generator"), ttypes.TokenizeOptions(special_tokens=False))
    )
    ids = [[token.id for token in tokens] for tokens in found]
    assert client.detokenize(ids, model="generator") == TEXTS


def test_texts(client: Asker, raw: Any) -> None:
    found = client.generate("Every evening", max_tokens=8, temperature=0, logprobs=1, model="generator")
    wanted = raw.generate(
        "Every evening", ttypes.GenerationOptions(max_tokens=8, temperature=0, logprobs=1), options("generator")
    )
    assert fields(found) == fields(wanted)
    assert found.finish_reason is FinishReason.LENGTH


def test_a_text_with_a_form(client: Asker) -> None:
    schema: dict[str, Any] = {
        "type": "object",
        "properties": {"a": {"type": "boolean"}},
        "required": ["a"],
        "additionalProperties": False,
    }
    found = client.generate("It is", max_tokens=60, seed=1, json_schema=schema, model="generator")
    assert found.finish_reason is FinishReason.STOP
    assert isinstance(json.loads(found.continuation)["a"], bool)


def test_streams(client: Asker, served: Service) -> None:
    asked = {"max_tokens": 12, "temperature": 0.0, "model": "generator"}
    whole = client.generate("Every evening", **asked)
    stream = client.client.generate_stream("Every evening", **asked)
    chunks = client.chunks(stream)
    assert "".join(chunk.text for chunk in chunks) == stream.text == whole.continuation
    assert [chunk.finish_reason is not None for chunk in chunks] == [False] * (len(chunks) - 1) + [True]
    assert (stream.finish_reason, stream.token_count) == (whole.finish_reason, whole.token_count)
    assert stream.prompt_tokens == whole.prompt_tokens


def test_a_stream_that_is_left_is_cancelled(client: Asker, raw: Any) -> None:
    stream = client.client.generate_stream("Every evening", max_tokens=100, model="generator", ignore_eos=True)
    chunks = client.chunks(stream, most=1)
    assert len(chunks) == 1
    if chunks[0].finish_reason is None:
        eventually(lambda: all(model.running == 0 for model in raw.status().models))
    assert client.chunks(stream) == []


def test_conversations(client: Asker, raw: Any) -> None:
    sampling = ttypes.GenerationOptions(max_tokens=6, temperature=0)
    wanted = raw.chat([ttypes.ChatMessage(**MESSAGES[0])], sampling, options("chat"), None)
    found = client.chat(MESSAGES, max_tokens=6, temperature=0, model="chat")
    assert fields(found) == fields(wanted)
    stream = client.client.chat_stream([ChatMessage(**MESSAGES[0])], max_tokens=6, temperature=0, model="chat")
    assert "".join(chunk.text for chunk in client.chunks(stream)) == wanted.content
    assert found.message == ChatMessage("assistant", wanted.content)


def test_prompts_of_conversations(client: Asker, raw: Any) -> None:
    call = {"id": "c1", "name": "when", "arguments": "{}"}
    messages = [*MESSAGES, {"role": "assistant", "content": "Soon.", "tool_calls": [call]}, *MESSAGES]
    tool = {"type": "function", "function": {"name": "when", "parameters": {}}}
    wanted = raw.chat_prompt(
        [
            ttypes.ChatMessage(**MESSAGES[0]),
            ttypes.ChatMessage(role="assistant", content="Soon.", tool_calls=[ttypes.ToolCall(**call)]),
            ttypes.ChatMessage(**MESSAGES[0]),
        ],
        options("chat"),
        ttypes.ChatOptions(tools=[json.dumps(tool)], template_arguments="{}"),
    )
    assert fields(client.chat_prompt(messages, model="chat", tools=[tool], template_arguments={})) == fields(wanted)


def test_jobs(client: Asker, batch_folder: Path, request: pytest.FixtureRequest) -> None:
    folder = batch_folder / request.node.name
    (folder / "in").mkdir(parents=True)
    (folder / "in" / "a.jsonl").write_text('{"text": "a boat"}\n' * 3)
    job = client.submit_batch("embed", f"{folder}/in/", f"{folder}/out/", model="encoder")
    assert job.request.method == "embed"
    ended = client.wait_batch(job.id, poll=0.02, timeout=60)
    assert (ended.state, ended.rows_done, ended.error) == (BatchState.COMPLETED, 3, None)
    assert client.get_batch(job.id) == ended
    assert client.cancel_batch(job.id).state == BatchState.COMPLETED
    assert client.resume_batch(job.id).state == BatchState.COMPLETED
    assert job.id in [each.id for each in client.list_batches(10)]


def test_models_and_status(client: Asker, raw: Any) -> None:
    models = client.list_models()
    assert fields(models) == fields(raw.list_models())
    assert {model.state for model in models} == {ModelState.READY}
    status = client.status()
    assert status.ready
    assert [model.name for model in status.models] == [model.name for model in models]
    with pytest.raises(InvalidArgument) as refused:
        client.load_model("more", "/nowhere")
    assert refused.value.setting == "model_root"
    with pytest.raises(InvalidArgument, match="model_root"):
        client.unload_model("nobody")


def test_what_an_error_says(client: Asker) -> None:
    with pytest.raises(NotFound) as unknown:
        client.predict("a", model="nobody")
    assert (unknown.value.code, unknown.value.field) == ("NOT_FOUND", "options.model")
    assert str(unknown.value) == unknown.value.message
    with pytest.raises(TooLarge) as large:
        client.classify(["a", "a " * 2000], model="topics", truncate=False)
    assert large.value.field == "texts[1]"
    with pytest.raises(InvalidArgument, match="max_tokens"):
        client.chunks(client.client.generate_stream("a", max_tokens=-1, model="generator"))
    assert client.predict("a", model="topics")


def test_other_defaults(client: Asker) -> None:
    other = client.client.with_options(model="topics", timeout=10)
    assert client.done(other.predict("a")) == client.predict("a", model="topics")
    assert client.done(other.predict("a", model="classifier")) != client.predict("a", model="topics")


@pytest.mark.parametrize(
    ("ask", "message"),
    [
        (lambda client: client.predict("a", modle="topics"), "predict has no option modle; it has timeout, model"),
        (lambda client: client.embed_batch("one string"), "texts are a list of strings, not one string"),
    ],
)
def test_wrong_arguments(client: Asker, ask: Callable[[Any], Any], message: str) -> None:
    with pytest.raises(TypeError, match=message):
        ask(client)


def test_text_that_is_no_unicode_is_refused_before_it_is_sent(client: Asker) -> None:
    with pytest.raises(UnicodeEncodeError):
        client.predict("\ud800", model="topics")
    assert client.predict("a", model="topics")
