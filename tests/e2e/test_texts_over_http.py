"""Embeddings and generated texts over HTTP end to end: real models behind the real server, asked by OpenAI's client,
by curl and by plain requests. The models have learned nothing: what is tested is the way of the text, not its sense."""

from __future__ import annotations

import json
import math
import socket
import time
from typing import TYPE_CHECKING, Any

import openai
import pytest
from openai import OpenAI
from predictor.ttypes import GenerationOptions, RequestOptions

from tests.support.service import Service, eventually

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from tests.support.service import Answer

HELLO = ["Hello world!", "How are you today?"]
PROMPT = "Artificial Intelligence is a"
PATIENT = RequestOptions(timeout_ms=60_000)
FORM = {"Content-Type": "application/x-www-form-urlencoded"}


@pytest.fixture(scope="module")
def service(slow_generator: Path, zoo: Callable[[str], Path]) -> Iterator[Service]:
    with Service("--model", f"vectors={zoo('embedding_tensor')}", "--model", f"gpt2={slow_generator}") as running:
        yield running


@pytest.fixture(scope="module")
def client(service: Service) -> Iterator[OpenAI]:
    with OpenAI(base_url=f"http://127.0.0.1:{service.rest_port}/v1", api_key="none", max_retries=0) as made:
        yield made


def post(service: Service, path: str, **fields: Any) -> Answer:
    headers = {"Content-Type": "application/json"}
    return service.http(path, method="POST", body=json.dumps(fields).encode(), headers=headers)


def vectors(service: Service, texts: list[str]) -> list[list[float]]:
    """As the server gives them, over Thrift."""
    with service.client() as predictor:
        return predictor.embed_batch(texts, None, None)


def events(answer: Answer) -> list[Any]:
    """The JSON of each event."""
    return [json.loads(line.removeprefix("data: ")) for line in answer.text.splitlines() if line.startswith("data: ")]


# ----------------------------------------------------------------------------------------------------- embeddings


def test_smls_curl_line_gives_two_vectors(service: Service) -> None:
    answer = service.http("/embed", method="POST", body=b"message=" + json.dumps(HELLO).encode(), headers=FORM)
    found = answer.json()["embeddings"]
    assert len(found) == 2
    for one, other in zip(found, vectors(service, HELLO), strict=True):
        assert one == pytest.approx(other, rel=1e-6)
    alone = service.http("/embed", method="POST", body=b"message=", headers=FORM).json()["embeddings"]
    assert len(alone) == 1


def test_openai_client_gets_the_vectors(client: OpenAI, service: Service) -> None:
    answer = client.embeddings.create(model="vectors", input=HELLO)
    for item, vector in zip(answer.data, vectors(service, HELLO), strict=True):
        assert item.embedding == pytest.approx(vector, rel=1e-6)


# ----------------------------------------------------------------------------------------------------- generation


def test_openai_client_gets_the_text_whole_and_in_parts(client: OpenAI, service: Service) -> None:
    asked = {"model": "gpt2", "prompt": PROMPT, "max_tokens": 900, "temperature": 0}
    whole = client.completions.create(**asked).choices[0]
    started = time.perf_counter()
    first, parts = 0.0, []
    for part in client.completions.create(**asked, stream=True):
        first = first or time.perf_counter() - started
        parts.append(part.choices[0])
    assert first < time.perf_counter() - started
    assert len(parts) > 2
    assert "".join(part.text for part in parts) == whole.text
    assert [part.finish_reason for part in parts][-2:] == [None, whole.finish_reason]
    with service.client() as predictor:
        generation = predictor.generate(PROMPT, GenerationOptions(max_tokens=900, temperature=0), PATIENT)
    assert generation.continuation == whole.text, "and it is the server's own"


def test_openai_client_lists_the_models(client: OpenAI) -> None:
    assert [model.id for model in client.models.list()] == ["vectors", "gpt2"]


def test_openai_client_is_told_what_is_wrong(client: OpenAI) -> None:
    with pytest.raises(openai.NotFoundError) as unknown:
        client.completions.create(model="davinci", prompt="a")
    assert unknown.value.code == "model_not_found"
    with pytest.raises(openai.BadRequestError, match="'gpt2' does not serve embed"):
        client.embeddings.create(model="gpt2", input="a")
    with pytest.raises(openai.BadRequestError, match="max_tokens"):
        client.completions.create(model="gpt2", prompt="a", max_tokens=-1)


def test_nlp_microservice_gives_twenty_sampled_tokens_at_most(service: Service) -> None:
    first, second = (post(service, "/text-generation/generate", text=PROMPT).json() for _ in range(2))
    assert first["input"] == PROMPT
    assert first["generated"] != second["generated"], "sampled"
    seeded = [post(service, "/text-generation/generate", text=PROMPT, seed=3).json() for _ in range(2)]
    assert seeded[0] == seeded[1]
    same = post(service, "/generate", prompt=PROMPT, seed=3).json()
    assert same["continuation"] == seeded[0]["generated"]
    assert same["token_count"] == 20 or same["finish_reason"] == "END_OF_TEXT"


def test_characters_are_never_cut(service: Service) -> None:
    """An untrained model gives bytes of any kind: where they are cut shows in the joined text."""
    for seed in range(5):
        asked = {"prompt": "Zürich 🙂", "seed": seed, "max_tokens": 100, "temperature": 2}
        whole = post(service, "/generate", **asked).json()["continuation"]
        assert "".join(event["text"] for event in events(post(service, "/generate", **asked, stream=True))) == whole


def test_a_client_that_goes_away_frees_its_slot(service: Service) -> None:
    """The likeliest token each time never ends this model's text; sampling may end it at any token."""
    before = generator_status(service)
    body = json.dumps({"prompt": PROMPT, "stream": True, "max_tokens": 1000, "temperature": 0}).encode()
    with socket.create_connection(("127.0.0.1", service.rest_port)) as connection:
        head = f"POST /generate HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: {len(body)}"
        connection.sendall(f"{head}\r\n\r\n".encode() + body)
        received = b""
        while b"data: " not in received:
            received += connection.recv(65_536)
        assert generator_status(service).running == 1
    eventually(lambda: generator_status(service).running == 0, "the slot is free")
    after = generator_status(service)
    assert (after.cancelled, after.completed) == (before.cancelled + 1, before.completed)


def test_a_stream_is_finished_when_the_server_drains(slow_generator: Path) -> None:
    with (
        Service("--model", f"gpt2={slow_generator}") as service,
        OpenAI(base_url=f"http://127.0.0.1:{service.rest_port}/v1", api_key="none", max_retries=0) as client,
    ):
        stream = client.completions.create(model="gpt2", prompt=PROMPT, max_tokens=900, temperature=0, stream=True)
        parts = [next(stream).choices[0]]
        service.signal()
        parts += [part.choices[0] for part in stream]
        assert parts[-1].finish_reason == "length"
        assert len(parts) > 2
        assert service.wait() == 0


def generator_status(service: Service) -> Any:
    [status] = [model for model in service.status().models if model.name == "gpt2"]
    return status


# ------------------------------------------------------------------------------------------------------ bad input


# A list of prompts, more tokens than there is room for, and a stop string that is empty: as OpenAI's clients send them.
TAKEN_BY_OPENAI = ({"prompt": ["a", 1]}, {"prompt": "a", "max_tokens": 10**9}, {"prompt": "a", "stop": [""]})


@pytest.mark.parametrize(
    ("fields", "status", "message"),
    [
        ({}, 400, "prompt: this field is required"),
        ({"prompt": None}, 400, "prompt: "),
        ({"prompt": ["a", 1]}, 400, "prompt: "),
        ({"prompt": "a " * 60_000}, 413, "prompt: 60001 tokens, over the limit of 1023"),
        ({"prompt": "a" * (1 << 24)}, 413, "the body is over 8388608 bytes (setting max_body_bytes)"),
        (
            {"prompt": "a " * 600_000},
            413,
            "prompt: 1200000 bytes, over the limit of 131072 (setting max_message_bytes)",
        ),
        ({"prompt": "a", "max_tokens": -1}, 400, "max_tokens: "),
        ({"prompt": "a", "max_tokens": 10**9}, 400, "max_tokens: must lie between 0 and 1023, got 1000000000"),
        ({"prompt": "a", "temperature": -1}, 400, "temperature: must be at least 0"),
        ({"prompt": "a", "temperature": math.nan}, 400, "temperature: "),
        ({"prompt": "a", "stop": ["x"] * 10_000}, 400, "stop: "),
        ({"prompt": "a", "stop": [""]}, 400, "stop[0]: must have 1 to 256 bytes, got 0"),
        ({"prompt": "a", "stop": ["x" * 257]}, 400, "stop[0]: must have 1 to 256 bytes, got 257"),
        ({"prompt": "a", "model": "vectors"}, 400, "model: 'vectors' does not serve generate"),
    ],
)
def test_bad_input_has_a_clear_error_and_the_server_goes_on(
    service: Service, fields: dict[str, Any], status: int, message: str
) -> None:
    for path, text in (("/generate", "prompt"), ("/v1/completions", "prompt"), ("/text-generation/generate", "text")):
        if path == "/v1/completions" and fields in TAKEN_BY_OPENAI:
            continue
        message = message.replace("prompt", text)
        named = {text if name == "prompt" else name: value for name, value in fields.items()}
        if path == "/v1/completions":
            named.setdefault("model", "gpt2")
        answer = post(service, path, **named)
        error = answer.json()
        said = error["message"] if "message" in error else error["error"]["message"]
        too_long = path == "/v1/completions" and "tokens, over the limit" in message  # OpenAI's context_length_exceeded
        assert (answer.status, said[: len(message)]) == (400 if too_long else status, message), path
    assert post(service, "/generate", prompt="a", max_tokens=1).status == 200


@pytest.mark.parametrize(
    ("body", "content_type", "status", "message"),
    [
        (b"{}", "application/json", 400, "give either message, text or texts"),
        (b'{"text":null}', "application/json", 400, "give either message, text or texts"),
        (b'{"texts":["a",1]}', "application/json", 400, "texts[1]: "),
        (b"message=[1]", FORM["Content-Type"], 400, "message[0]: expected a string, got a number"),
        (b'{"text":"' + b"a" * (1 << 24) + b'"}', "application/json", 413, "the body is over 8388608 bytes"),
        (b'{"text":"\xff"}', "application/json", 400, "Invalid JSON: "),
        (b"message=%FF", FORM["Content-Type"], 400, "the form is not valid UTF-8"),
        (b"message=a", "text/plain", 415, "content type 'text/plain' is not supported by this path"),
        (b'{"text":"a","model":"gpt2"}', "application/json", 400, "model: 'gpt2' does not serve embed"),
    ],
)
def test_bad_texts_to_embed_have_a_clear_error_and_the_server_goes_on(
    service: Service, body: bytes, content_type: str, status: int, message: str
) -> None:
    answer = service.http("/embed", method="POST", body=body, headers={"Content-Type": content_type})
    assert (answer.status, answer.json()["error"]["message"][: len(message)]) == (status, message)
    assert post(service, "/embed", text="a").status == 200


@pytest.mark.parametrize(
    ("path", "fields", "field", "setting"),
    [
        ("/generate", {"prompt": "a", "max_tokens": 10**9}, "max_tokens", None),
        ("/generate", {"prompt": "a " * 600_000}, "prompt", "max_message_bytes"),
        ("/embed", {"texts": ["a", "b " * 600_000]}, "texts[1]", "max_tokens"),
        ("/embed", {"text": "b " * 600_000}, "text", "max_tokens"),
        ("/embed", {"message": ["a", "b " * 600_000]}, "message[1]", "max_tokens"),
        ("/embed", {"text": "a", "model": "gpt2"}, "model", None),
        ("/predict", {"doc": "a", "model": "gpt2"}, "model", None),
        ("/v1/embeddings", {"model": "vectors", "input": ["a", "b " * 600_000]}, "input[1]", "max_tokens"),
        ("/v1/completions", {"model": "gpt2", "prompt": ["a", "b " * 600_000]}, "prompt[1]", "max_message_bytes"),
        ("/v1/completions", {"model": "gpt2", "prompt": "a", "stop": ["a", "b" * 257]}, "stop[1]", None),
    ],
)
def test_field_and_setting_are_data_of_an_error(
    service: Service, path: str, fields: dict[str, Any], field: str, setting: str | None
) -> None:
    error = post(service, path, **fields).json()["error"]
    assert error.get("field", error.get("param")) == field
    assert error.get("setting") == setting
    assert error["message"].startswith(f"{field}: ")
