"""Models behind openai://: llama.cpp's server, and ours behind ours."""

from __future__ import annotations

import json
import re
import signal
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import numpy as np
import openai
import pytest
from predictor.ttypes import (
    BatchRequest,
    BatchState,
    ChatMessage,
    ErrorCode,
    FinishReason,
    Generation,
    GenerationOptions,
    PredictionError,
    RequestOptions,
    RerankOptions,
)

from tests.support.llama_cpp.models import CONTEXT, HIDDEN, write_llama
from tests.support.llama_cpp.server import LlamaServer
from tests.support.service import Answer, Service, eventually, free_port, run_server

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.support.shared import SharedFiles

PROMPT = "the same and the"
GREEDY = GenerationOptions(max_tokens=20, temperature=0)
RUNNING = (BatchState.QUEUED, BatchState.RUNNING)
LONG = GenerationOptions(max_tokens=1024, temperature=0, ignore_eos=True)


@pytest.fixture(scope="module")
def gguf(shared_files: SharedFiles) -> Path:
    return shared_files.made("tiny.gguf", write_llama)


@pytest.fixture(scope="module")
def ranking_gguf(shared_files: SharedFiles) -> Path:
    return shared_files.made("ranks.gguf", lambda path: write_llama(path, ranks=True))


@pytest.fixture(scope="module")
def llama(gguf: Path) -> Iterator[LlamaServer]:
    with LlamaServer(gguf) as server:
        yield server
        server.kill()


@pytest.fixture(scope="module")
def reader(gguf: Path) -> Iterator[LlamaServer]:
    with LlamaServer(gguf, "embed", key="sk-e2e") as server:
        yield server
        server.kill()


@pytest.fixture(scope="module")
def ranker(ranking_gguf: Path) -> Iterator[LlamaServer]:
    with LlamaServer(ranking_gguf, "rerank") as server:
        yield server
        server.kill()


@pytest.fixture(scope="module")
def jobs_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("jobs")


@pytest.fixture(scope="module")
def front(llama: LlamaServer, reader: LlamaServer, ranker: LlamaServer, jobs_folder: Path) -> Iterator[Service]:
    with Service(
        llama.location,
        f"--model=reader={reader.location},serves=embed",
        f"--model=ranker={ranker.location},serves=rerank",
        "--upstream-keys=reader=E2E_KEY",
        f"--jobs-db={jobs_folder / 'jobs.db'}",
        f"--batch-roots={jobs_folder}",
        env={"E2E_KEY": "sk-e2e"},
    ) as service:
        yield service


def post(service: Service, path: str, body: Any) -> Answer:
    return service.http(path, method="POST", body=json.dumps(body), headers={"Content-Type": "application/json"})


def test_what_is_listed(front: Service, llama: LlamaServer) -> None:
    with front.client() as predictor:
        models = {model.name: model for model in predictor.list_models()}
    assert {name: model.kind for name, model in models.items()} == dict.fromkeys(
        ("tiny", "reader", "ranker"), "upstream"
    )
    assert models["tiny"].version == "tiny"
    assert {"generate", "generate_begin"} <= set(models["tiny"].methods)
    assert models["tiny"].details == {
        "server": "llama.cpp",
        "address": f"127.0.0.1:{llama.port}",
        "upstream_model": "tiny",
        "context": str(CONTEXT),
    }
    assert models["reader"].details["dimensions"] == str(HIDDEN)
    assert models["ranker"].methods == ["rerank"]
    assert "sk-e2e" not in front.log_text + str(front.command) + str(models)


def test_a_text_is_that_of_the_upstream(front: Service, llama: LlamaServer) -> None:
    body = {"prompt": PROMPT, "max_tokens": 20, "temperature": 0}
    its_own = llama.ask("/v1/completions", json.dumps(body))
    with front.client() as predictor:
        whole = predictor.generate(PROMPT, GREEDY, None)
        stream_id = predictor.generate_begin(PROMPT, GREEDY, None)
        chunks = [predictor.generate_next(stream_id, 10_000)]
        while chunks[-1].finish_reason is None:
            chunks.append(predictor.generate_next(stream_id, 10_000))
    assert whole.continuation == its_own["choices"][0]["text"]
    assert whole.token_count == its_own["usage"]["completion_tokens"]
    assert whole.prompt_tokens == its_own["usage"]["prompt_tokens"]
    assert "".join(chunk.text for chunk in chunks) == whole.continuation
    assert (chunks[-1].finish_reason, chunks[-1].token_count) == (whole.finish_reason, whole.token_count)
    over_http = post(front, "/v1/completions", body | {"model": "tiny"})
    assert over_http.json()["choices"][0]["text"] == whole.continuation


def test_an_answer_is_that_of_the_upstream(front: Service, llama: LlamaServer) -> None:
    messages = [{"role": "system", "content": "the one"}, {"role": "user", "content": "and the other"}]
    body = {"messages": messages, "max_tokens": 20, "temperature": 0}
    its_own = llama.ask("/v1/chat/completions", json.dumps(body))
    said = [ChatMessage(**message) for message in messages]
    with front.client() as predictor:
        whole = predictor.chat(said, GREEDY, None, None)
        stream_id = predictor.chat_begin(said, GREEDY, None, None)
        assert read(predictor, stream_id) == whole.content
        with pytest.raises(PredictionError, match="the upstream server has the model's chat template"):
            predictor.chat_prompt(said, None, None)
        room = predictor.chat(said, GenerationOptions(temperature=0), None, None)
        assert room.token_count > 20 or room.finish_reason == FinishReason.END_OF_TEXT
    assert whole.content == its_own["choices"][0]["message"]["content"]
    assert (whole.token_count, whole.prompt_tokens) == (
        its_own["usage"]["completion_tokens"],
        its_own["usage"]["prompt_tokens"],
    )
    over_http = post(front, "/v1/chat/completions", body | {"model": "tiny"}).json()
    assert over_http["choices"][0]["message"]["content"] == whole.content
    client = openai.OpenAI(base_url=f"http://127.0.0.1:{front.rest_port}/v1", api_key="none")
    with client:
        events = client.chat.completions.create(model="tiny", stream=True, **body)
        assert "".join(event.choices[0].delta.content or "" for event in events) == whole.content


def test_scores_are_those_of_the_upstream(front: Service, llama: LlamaServer) -> None:
    body = {"prompt": PROMPT, "max_tokens": 5, "temperature": 0, "logprobs": 3}
    its_own = llama.ask("/v1/completions", json.dumps(body))["choices"][0]["logprobs"]["content"]
    with front.client() as predictor:
        done = predictor.generate(PROMPT, GenerationOptions(max_tokens=5, temperature=0, logprobs=3), None)
    assert [one.id for one in done.logprobs] == [one["id"] for one in its_own]
    assert [one.logprob for one in done.logprobs] == pytest.approx([one["logprob"] for one in its_own], abs=1e-4)
    assert [[top.id for top in one.top] for one in done.logprobs] == [
        [top["id"] for top in one["top_logprobs"]] for one in its_own
    ]


def test_options_mean_what_they_mean(front: Service) -> None:
    sampled = GenerationOptions(max_tokens=30, temperature=1, seed=7)
    with front.client() as predictor:
        texts = {predictor.generate(PROMPT, sampled, None).continuation for _ in range(3)}
        assert len(texts) == 1
        sampled.seed = 8
        assert predictor.generate(PROMPT, sampled, None).continuation not in texts
        greedy = predictor.generate(PROMPT, GREEDY, None).continuation
        likeliest = GenerationOptions(max_tokens=20, temperature=1.5, top_k=1)
        assert predictor.generate(PROMPT, likeliest, None).continuation == greedy
        likeliest = GenerationOptions(max_tokens=20, temperature=1.5, top_p=1e-6)
        assert predictor.generate(PROMPT, likeliest, None).continuation == greedy
        stop = re.findall("[ -~]+", greedy)[-1]
        ended = predictor.generate(PROMPT, GenerationOptions(max_tokens=20, temperature=0, stop=[stop]), None)
        assert ended.continuation == greedy[: greedy.index(stop)]
        assert ended.finish_reason == FinishReason.STOP


def test_limits_are_ours(front: Service) -> None:
    with front.client() as predictor:
        for prompt, options, request, field in [
            ("a" * 200_000, GREEDY, None, "prompt"),
            (PROMPT, GenerationOptions(max_tokens=1025), None, "generation_options.max_tokens"),
            ("the " * 3000, GREEDY, None, "prompt"),  # over the upstream's context: it says so itself
        ]:
            with pytest.raises(PredictionError) as caught:
                predictor.generate(prompt, options, request)
            assert caught.value.field == field
        with pytest.raises(PredictionError) as caught:
            predictor.rerank("a", ["b"], RequestOptions(model="ranker"), RerankOptions(raw_scores=True))
        assert caught.value.field == "rerank_options.raw_scores"


def test_deadlines_and_cancelling_free_the_upstreams_slots(front: Service, llama: LlamaServer) -> None:
    with front.client() as predictor:
        stream_id = predictor.generate_begin(PROMPT, LONG, None)
        assert predictor.generate_next(stream_id, 10_000).text
        assert llama.busy_slots() == 1
        predictor.generate_cancel(stream_id)
        eventually(lambda: llama.busy_slots() == 0, "the slot is free")
        done = late_text(predictor)
        assert 0 < done.token_count < 1024
        assert done.continuation
        eventually(lambda: llama.busy_slots() == 0, "the slot is free")
    with front.client() as predictor:  # whoever goes away
        predictor.send_generate(PROMPT, LONG, RequestOptions(timeout_ms=60_000))
        eventually(lambda: llama.busy_slots() == 1, "it works")
    eventually(lambda: llama.busy_slots() == 0, "the slot is free")


def test_vectors_and_ranks_are_those_of_the_upstream(front: Service, reader: LlamaServer, ranker: LlamaServer) -> None:
    texts = ["the one", "an other", "", "ü" * 50]
    with front.client() as predictor:
        found = predictor.embed_matrix(texts[:2], RequestOptions(model="reader"), None)
        ranked = predictor.rerank("the", texts, RequestOptions(model="ranker"), None)
    assert np.frombuffer(found.values, "<f4").reshape(2, HIDDEN).shape == (2, HIDDEN)
    over_http = post(front, "/v1/embeddings", {"model": "reader", "input": texts[:2]}).json()
    same = np.array([item["embedding"] for item in over_http["data"]], dtype=np.float32)
    np.testing.assert_allclose(np.frombuffer(found.values, "<f4").reshape(2, HIDDEN), same, atol=1e-6)
    np.testing.assert_allclose(np.linalg.norm(same, axis=1), 1, atol=1e-3)
    its_own = ranker.ask("/v1/rerank", json.dumps({"query": "the", "documents": texts}))["results"]
    expected = {result["index"]: result["relevance_score"] for result in its_own}
    for one in ranked:
        assert one.score == pytest.approx(expected[one.index], abs=1e-4)


def test_batch_jobs(front: Service, jobs_folder: Path) -> None:
    source, target = jobs_folder / "in.jsonl", jobs_folder / "out"
    lines = [{"prompt": f"the {number}", "max_tokens": 5, "temperature": 0} for number in range(40)]
    source.write_text("".join(json.dumps(line) + "\n" for line in lines))
    with front.client() as predictor:
        request = BatchRequest(method="generate", model="tiny", input=str(source), output=str(target))
        job_id = predictor.submit_batch(request).id
        ended = eventually(lambda: (job := predictor.get_batch(job_id)).state not in RUNNING and job, "the job ends")
    assert ended.state == BatchState.COMPLETED, ended
    (part,) = target.glob("*.jsonl")
    results = [json.loads(line) for line in part.read_text().splitlines()]
    assert len(results) == len(lines)
    assert all(1 <= result["token_count"] <= 5 for result in results)
    assert {result["finish_reason"] for result in results} <= {"LENGTH", "END_OF_TEXT"}


class Answers:
    """What many clients got."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.texts = 0
        self.errors: list[PredictionError] = []

    def count(self, error: PredictionError | None = None) -> None:
        with self.lock:
            if error is None:
                self.texts += 1
            else:
                self.errors.append(error)


def test_a_kill_and_a_restart_in_the_middle(gguf: Path) -> None:
    port = free_port()
    first = LlamaServer(gguf, port=port)
    with first, Service(f"openai://127.0.0.1:{port}/tiny", "--no-rest", "--upstream-retry-ms=20000") as service:
        answers = Answers()

        def ask(number: int) -> None:
            with service.client(timeout_s=120) as predictor:
                for turn in range(12):
                    options = GenerationOptions(max_tokens=60, temperature=0)
                    try:
                        if (number + turn) % 2:
                            predictor.generate(f"{PROMPT} {number}", options, RequestOptions(timeout_ms=60_000))
                        else:
                            read_stream(predictor, f"{PROMPT} {number}", options)
                    except PredictionError as error:
                        answers.count(error)
                    else:
                        answers.count()

        with ThreadPoolExecutor(16) as clients:
            asked = [clients.submit(ask, number) for number in range(16)]
            eventually(lambda: answers.texts > 20, "some are answered")
            first.kill()
            time.sleep(0.5)  # requests come meanwhile
            with LlamaServer(gguf, port=port) as second:
                for each in asked:
                    each.result()
                second.kill()
        assert answers.texts + len(answers.errors) == 16 * 12
        assert answers.texts > 16 * 12 // 2
        # only a stream that had begun cannot be made again
        assert {error.code for error in answers.errors} <= {ErrorCode.UNAVAILABLE}
        assert len(answers.errors) <= 16
        status = service.model_status()
        assert status.running == 0
        assert status.queue_depth == 0


def late_text(predictor: Any) -> Generation:
    """A text that its deadline ends, however fast the machine is."""
    for timeout_ms in (20, 30, 40, 60, 80, 120, 160, 240, 480):
        try:
            done: Generation = predictor.generate(PROMPT, LONG, RequestOptions(timeout_ms=timeout_ms))
        except PredictionError as error:
            if error.code != ErrorCode.DEADLINE_EXCEEDED:  # nothing has come
                raise
        else:
            assert done.finish_reason == FinishReason.DEADLINE
            return done
    raise AssertionError("no text has begun")


def read_stream(predictor: Any, prompt: str, options: GenerationOptions) -> str:
    return read(predictor, predictor.generate_begin(prompt, options, RequestOptions(timeout_ms=60_000)))


def read(predictor: Any, stream_id: str) -> str:
    text = ""
    while True:
        chunk = predictor.generate_next(stream_id, 60_000)
        text += chunk.text
        if chunk.finish_reason is not None:
            return text


def test_away_for_longer_than_the_patience(gguf: Path) -> None:
    port = free_port()
    with (
        LlamaServer(gguf, port=port) as llama,
        Service(f"openai://127.0.0.1:{port}/tiny", "--upstream-retry-ms=100") as service,
    ):
        llama.kill()
        with service.client() as predictor:
            for _ in range(3):
                with pytest.raises(PredictionError) as caught:
                    predictor.generate(PROMPT, GREEDY, None)
                assert caught.value.code == ErrorCode.UNAVAILABLE
                assert caught.value.retry_after_ms
            answer = post(service, "/v1/completions", {"model": "tiny", "prompt": "a"})
            assert (answer.status, answer.headers["Retry-After"]) == (503, "1")
            with LlamaServer(gguf, port=port) as again:
                assert predictor.generate(PROMPT, GREEDY, None).token_count == 20
                again.kill()


def test_ours_behind_ours(front: Service, llama: LlamaServer) -> None:
    upstream = f"openai://127.0.0.1:{front.rest_port}"
    with (
        Service(
            f"gen={upstream}/tiny", f"--model=emb={upstream}/reader", f"--model=rank={upstream}/ranker,serves=rerank"
        ) as second,
        second.client() as predictor,
        front.client() as straight,
    ):
        models = {model.name: model for model in predictor.list_models()}
        assert models["gen"].details["server"] == "predictor"
        assert models["emb"].methods == ["embed", "embed_batch", "embed_matrix"]
        options = GenerationOptions(max_tokens=20, temperature=0.9, top_k=5, repetition_penalty=1.2, seed=3)
        one, two = (each.generate(PROMPT, options, None) for each in (predictor, straight))
        assert one == two
        assert read_stream(predictor, PROMPT, options) == two.continuation
        said = [ChatMessage("user", PROMPT)]
        one, two = (each.chat(said, options, None, None) for each in (predictor, straight))
        assert one == two
        assert read(predictor, predictor.chat_begin(said, options, None, None)) == two.content
        for name in ("emb", "reader"):
            each = predictor if name == "emb" else straight
            vectors = each.embed_matrix(["the one"], RequestOptions(model=name), None)
            assert vectors.tokens
        ranked = predictor.rerank("the", ["the", "b"], RequestOptions(model="rank"), None)
        assert [one.index for one in ranked] == [
            one.index for one in straight.rerank("the", ["the", "b"], RequestOptions(model="ranker"), None)
        ]
        stream_id = predictor.generate_begin(PROMPT, LONG, None)
        assert predictor.generate_next(stream_id, 10_000).text
        predictor.generate_cancel(stream_id)
        eventually(lambda: llama.busy_slots() == 0, "the slot is free")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["openai://localhost/tiny"], "is not of the form openai://HOST:PORT/MODEL"),
        (["openai://localhost:1/tiny", "--upstream-start-s=0.1"], "no answer from localhost:1 in 0.1 s"),
        (["openai://localhost:1/tiny", "--upstream-keys=other=A"], "no model is named 'other' (setting upstream_keys)"),
        (["openai://localhost:1/tiny", "--upstream-keys=tiny"], "'tiny' is not of the form NAME=VARIABLE"),
        (["openai://localhost:1/tiny", "--upstream-keys=tiny=NO_SUCH"], "variable NO_SUCH is not set"),
    ],
)
def test_what_cannot_be_served_ends_the_start(arguments: list[str], message: str) -> None:
    done = run_server(*arguments, "--port=0", "--rest-port=0")
    assert done.returncode != 0
    assert message in done.stderr


def test_the_server_ends_while_its_upstream_is_silent(gguf: Path) -> None:
    with LlamaServer(gguf) as llama, Service(llama.location, "--no-rest", "--drain-timeout-ms=300") as service:
        llama.signal(signal.SIGSTOP)
        with service.client() as predictor:
            predictor.send_generate(PROMPT, GREEDY, None)
            eventually(lambda: service.model_status().running == 1, "it waits")
            service.signal()
            assert service.wait() in (0, 1)
        llama.signal(signal.SIGCONT)
        llama.kill()
