"""Text generation over Thrift: whole and streamed, refused, cancelled, abandoned and drained."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
import threading
import time
from typing import TYPE_CHECKING, Any

import pytest
from predictor.ttypes import ErrorCode, FinishReason, GenerationOptions, PredictionError, RequestOptions

from tests.e2e.test_embeddings import blocks
from tests.support.generators import train_tiny
from tests.support.service import Service, eventually

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

PROMPT = "Every evening"
LONG = GenerationOptions(max_tokens=100, temperature=0.8, seed=4)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return train_tiny(tmp_path_factory.mktemp("generators") / "harbour")


@pytest.fixture(scope="module")
def service(folder: Path) -> Iterator[Service]:
    with Service(folder, "--no-rest", "--streams=20", "--client-share=1") as running:
        yield running


def read(predictor: Any, stream: str) -> tuple[list[str], Any]:
    """(texts of the chunks, the last chunk)."""
    texts = []
    while True:
        chunk = predictor.generate_next(stream, 10_000)
        texts.append(chunk.text)
        if chunk.finish_reason is not None:
            return texts, chunk


def error_of(call: Any, *arguments: Any) -> PredictionError:
    with pytest.raises(PredictionError) as caught:
        call(*arguments)
    return caught.value


def test_what_the_model_says_of_itself(service: Service) -> None:
    with service.client() as predictor:
        (info,) = predictor.list_models()
    assert (info.name, info.kind) == ("harbour", "text-generator")
    assert (info.limits.max_tokens, info.limits.max_output_tokens, info.limits.batch_items) == (127, 127, 16)
    assert info.details["precision"] == "float32"
    assert "generate" in info.default_for


def test_a_whole_text(service: Service) -> None:
    with service.client() as predictor:
        greedy = GenerationOptions(max_tokens=12, temperature=0.0)
        done = predictor.generate(PROMPT, greedy, None)
        assert done == predictor.generate(PROMPT, greedy, None)
        assert (done.prompt, done.token_count, done.finish_reason) == (PROMPT, 12, FinishReason.LENGTH)
        assert done.continuation
        assert 0 < done.prompt_tokens < len(PROMPT)
        assert predictor.generate(PROMPT, LONG, None) == predictor.generate(PROMPT, LONG, None)
        usual = predictor.generate(PROMPT, None, None)  # which is sampled, and may end before
        assert usual.token_count == 20 or usual.finish_reason == FinishReason.END_OF_TEXT
        others = {predictor.generate(PROMPT, None, None).continuation for _ in range(3)}
        assert len(others) > 1  # without a seed every call has its own
        assert predictor.generate("", greedy, None).token_count == 12
        stopped = predictor.generate(PROMPT, GenerationOptions(temperature=0.0, stop=[done.continuation[3:6]]), None)
        assert stopped.finish_reason == FinishReason.STOP
        assert stopped.continuation == done.continuation[: done.continuation.index(done.continuation[3:6])]


def test_a_stream_gives_the_same_text_in_parts(service: Service) -> None:
    with service.client() as predictor:
        whole = predictor.generate(PROMPT, LONG, None)
        stream = predictor.generate_begin(PROMPT, LONG, None)
        texts, last = read(predictor, stream)
        assert "".join(texts) == whole.continuation
        told = ("token_count", "finish_reason", "prompt_tokens")
        assert [getattr(last, name) for name in told] == [getattr(whole, name) for name in told]
        assert error_of(predictor.generate_next, stream, 0).code == ErrorCode.NOT_FOUND


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"max_tokens": -1}, "max_tokens: must lie between 0 and 127"),
        ({"max_tokens": 10**9}, "max_tokens: must lie between 0 and 127, got 1000000000"),
        ({"temperature": -1.0}, "temperature: must lie between 0 and 10, got -1.0"),
        ({"temperature": float("nan")}, "temperature: must be a finite number, got nan"),
        ({"top_k": -2}, "top_k: must be at least -1, got -2"),
        ({"top_p": 1.5}, "top_p: must lie between 0 and 1, got 1.5"),
        ({"repetition_penalty": 0.0}, "repetition_penalty: must be over 0 and at most 10, got 0.0"),
        ({"stop": ["a"] * 10_000}, "stop: must have at most 16 items, got 10000"),
        ({"stop": ["a", ""]}, "stop[1]: must have 1 to 256 bytes, got 0"),
        ({"stop": ["a" * 257]}, "stop[0]: must have 1 to 256 bytes, got 257"),
    ],
)
def test_bad_options(service: Service, options: dict[str, Any], message: str) -> None:
    with service.client() as predictor:
        for method in (predictor.generate, predictor.generate_begin):
            error = error_of(method, PROMPT, GenerationOptions(**options), None)
            assert error.code == (
                ErrorCode.TOO_LARGE if message.endswith("items, got 10000") else ErrorCode.INVALID_ARGUMENT
            )
            assert f"generation_options.{message}" in error.message
        assert predictor.generate(PROMPT, None, None).token_count


def test_bad_prompts(service: Service) -> None:
    with service.client() as predictor:
        huge = error_of(predictor.generate, "a" * (1 << 20), None, None)
        assert (huge.code, "setting max_message_bytes" in huge.message) == (ErrorCode.TOO_LARGE, True)
        long = error_of(predictor.generate_begin, "a b " * 1000, None, None)
        assert (long.code, "over the limit of 127" in long.message) == (ErrorCode.TOO_LARGE, True)
        full = error_of(predictor.generate, "a b " * 30, GenerationOptions(max_tokens=127), None)
        assert (full.code, "128 positions" in full.message) == (ErrorCode.TOO_LARGE, True)
        with pytest.raises(Exception, match="prompt"):
            predictor.generate(None, None, None)
    with service.client() as predictor:
        assert predictor.generate(PROMPT, None, None).token_count


def test_streams_that_are_not_there_or_not_right(service: Service) -> None:
    with service.client() as predictor:
        assert error_of(predictor.generate_next, "nonsense", 0).code == ErrorCode.NOT_FOUND
        assert error_of(predictor.generate_cancel, "nonsense").code == ErrorCode.NOT_FOUND
        stream = predictor.generate_begin(PROMPT, LONG, None)
        for wait_ms in (-1, 60_001):
            assert "wait_ms" in error_of(predictor.generate_next, stream, wait_ms).message
        predictor.generate_cancel(stream)


def test_too_many_streams_and_those_that_nobody_reads(service: Service) -> None:
    with service.client() as predictor:
        options = RequestOptions(timeout_ms=60_000)
        streams = [predictor.generate_begin(PROMPT, LONG, options) for _ in range(20)]
        error = error_of(predictor.generate_begin, PROMPT, LONG, options)
        assert (error.code, "setting streams" in error.message) == (ErrorCode.OVERLOADED, True)
        for stream in streams:
            predictor.generate_cancel(stream)
        hurried = RequestOptions(timeout_ms=200)
        streams = [predictor.generate_begin(PROMPT, LONG, hurried) for _ in range(3)]
        time.sleep(1)  # longer than timeout_ms
        assert {error_of(predictor.generate_next, stream, 0).code for stream in streams} == {ErrorCode.NOT_FOUND}
        predictor.generate_cancel(predictor.generate_begin(PROMPT, LONG, options))


def test_the_lines_of_the_documents_run(folder: Path) -> None:
    with Service(folder) as service:
        for name, mark in (("README.md", "run: generation"), ("docs/generation.md", "run")):
            for command in re.findall(r"^\$ (.*)", blocks(name, "console", mark)[0], re.MULTILINE):
                line = command.replace("8080", str(service.rest_port))
                answer = subprocess.run(["sh", "-c", line], capture_output=True, text=True, check=True).stdout
                assert "token_count" in answer
        (program,) = blocks("docs/generation.md", "python", "run")
        program = program.replace("9090", str(service.port))
        shown = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout
        assert len(shown) > 30


def test_cancelling_one_of_eight_streams(service: Service) -> None:
    """The other seven give the texts that they give alone."""
    options = [GenerationOptions(max_tokens=100, seed=seed) for seed in range(8)]
    with service.client() as predictor:
        expected = [predictor.generate(PROMPT, each, None).continuation for each in options]
        streams = [predictor.generate_begin(PROMPT, each, None) for each in options]
        predictor.generate_cancel(streams[3])
        assert error_of(predictor.generate_next, streams[3], 0).code == ErrorCode.NOT_FOUND
        found = ["".join(read(predictor, stream)[0]) for stream in streams[:3] + streams[4:]]
    assert found == expected[:3] + expected[4:]


def test_a_client_that_goes_away(folder: Path) -> None:
    """Its request leaves the queue: held there, so that it is there when the client goes."""
    with Service(folder, "--no-rest", "--hold=2") as held:
        with held.client(timeout_s=0.5) as predictor, pytest.raises(Exception, match="timeout"):
            predictor.generate(PROMPT, LONG, RequestOptions(timeout_ms=60_000))
        eventually(lambda: held.model_status().cancelled == 1, "the request is cancelled")
        assert held.model_status().queue_depth == 0


def test_draining_lets_streams_be_read_to_their_end(folder: Path) -> None:
    with Service(folder, "--no-rest") as service:
        with service.client() as predictor, service.client() as other:
            whole = predictor.generate(PROMPT, LONG, None).continuation
            stream = predictor.generate_begin(PROMPT, LONG, None)
            service.signal(signal.SIGTERM)
            eventually(lambda: '"draining"' in service.log_text, "draining")
            refused = error_of(other.generate_begin, PROMPT, LONG, None)
            assert refused.code == ErrorCode.UNAVAILABLE
            assert "".join(read(predictor, stream)[0]) == whole
        assert service.wait() == 0


def test_draining_ends_streams_that_nobody_reads(folder: Path) -> None:
    with Service(folder, "--no-rest", "--drain-timeout-ms=1000") as service:
        with service.client() as predictor:
            predictor.generate_begin(PROMPT, LONG, RequestOptions(timeout_ms=60_000))
            begin = time.monotonic()
            service.signal(signal.SIGTERM)
            assert service.wait() == 0
        assert time.monotonic() - begin < 20


def test_sixty_four_streams_at_once(folder: Path) -> None:
    """Four times as many as there are slots, each read by a client of its own."""
    with Service(folder, "--no-rest") as service:
        with service.client() as predictor:
            options = [GenerationOptions(max_tokens=40, seed=seed % 4) for seed in range(64)]
            expected = [predictor.generate(PROMPT, each, None).continuation for each in options[:4]]
        found: dict[int, str] = {}

        def ask(index: int) -> None:
            with service.client() as predictor:
                found[index] = "".join(read(predictor, predictor.generate_begin(PROMPT, options[index], None))[0])

        threads = [threading.Thread(target=ask, args=(index,)) for index in range(64)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert [found[index] for index in range(64)] == expected * 16
