"""Sentence vectors over Thrift: numbers and bytes alike, cut texts in the metric, wrong input refused."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import urllib.request
from typing import TYPE_CHECKING

import numpy as np
import pytest
from predictor.ttypes import EmbedOptions, ErrorCode, PredictionError, RequestOptions
from thrift.Thrift import TApplicationException

from tests.support.sentences import texts
from tests.support.service import ROOT, Service, free_port

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path
    from typing import Any

METRICS_PORT = free_port()
LONG = "word " * 1000


@pytest.fixture(scope="module")
def serving(encoder: Path, zoo: Callable[[str], Path]) -> Iterator[Service]:
    """The encoder, and a classifier beside it."""
    with Service(encoder, f"--model=labels={zoo('doc_model')}", f"--metrics-port={METRICS_PORT}") as running:
        yield running


def truncated() -> float:
    page = urllib.request.urlopen(f"http://127.0.0.1:{METRICS_PORT}/metrics", timeout=10).read().decode()
    (line,) = [line for line in page.splitlines() if line.startswith("predictor_model_truncated_total{")]
    assert 'model="encoder"' in line
    return float(line.rpartition(" ")[2])


def test_the_three_forms_give_the_same(serving: Service, sentence_vectors: Any) -> None:
    given = texts(60)
    wanted = sentence_vectors(given)
    with serving.client() as predictor:
        matrix = predictor.embed_matrix(given, None, None)
        lists = predictor.embed_batch(given, None, None)
        one = predictor.embed(given[1], None, None)
    assert (matrix.rows, matrix.columns) == (60, 384)
    found = np.frombuffer(matrix.values, "<f4").reshape(60, 384)
    assert (found * wanted).sum(1).min() > 0.99999
    assert np.allclose(found, lists, atol=1e-5)
    assert np.allclose(found[1], one, atol=1e-5)


def test_many_texts_in_one_call(serving: Service) -> None:
    with serving.client(timeout_s=120) as predictor:
        options = RequestOptions(timeout_ms=100_000)
        matrix = predictor.embed_matrix([f"text number {i}" for i in range(1500)], options, None)
        last = predictor.embed("text number 1499", None, None)
    assert matrix.rows == 1500
    assert np.allclose(np.frombuffer(matrix.values, "<f4").reshape(1500, 384)[-1], last, atol=1e-5)


def test_a_list_has_more_time_than_a_text(encoder: Path) -> None:
    """As bulk clients ask for them, without a deadline of their own."""
    texts = [f"text number {number}: " + "some words of it, " * 50 for number in range(40)]
    with Service(encoder, "--timeout-ms=50", "--replicas=1") as service:
        body = json.dumps({"model": "encoder", "input": texts, "encoding_format": "base64"})
        answer = service.http("/v1/embeddings", method="POST", body=body, headers={"Content-Type": "application/json"})
        assert answer.status == 200, answer.text
        assert len(answer.json()["data"]) == len(texts)
        with service.client(timeout_s=120) as predictor:
            assert predictor.embed_matrix(texts, None, None).rows == len(texts)
            with pytest.raises(PredictionError) as caught:
                predictor.embed_matrix(texts, RequestOptions(timeout_ms=50), None)
        assert caught.value.code == ErrorCode.DEADLINE_EXCEEDED


def test_one_text_over_the_limit_of_bytes_does_not_fail_its_list(serving: Service) -> None:
    texts = ["short", "word " * (1 << 18)]
    with serving.client() as predictor:
        assert predictor.embed_matrix(texts, None, None).rows == 2
        with pytest.raises(PredictionError) as caught:
            predictor.embed_matrix(texts, None, EmbedOptions(truncate=False))
        assert (caught.value.code, caught.value.field) == (ErrorCode.TOO_LARGE, "texts[1]")


def test_the_tokens_that_were_read_are_told(serving: Service) -> None:
    """[CLS] and [SEP] among them; of a text that is cut those that were read, whoever tokenises it."""
    unbroken = "語" * 40_000
    with serving.client() as predictor:
        assert predictor.embed_matrix(["Hello world!"], None, None).tokens == 5
        assert predictor.embed_matrix(["Hello", LONG, unbroken], None, None).tokens == 3 + 256 + 256


def test_cut_texts_are_counted_or_refused(serving: Service) -> None:
    before = truncated()
    with serving.client() as predictor:
        predictor.embed_matrix([LONG, "short", LONG], None, None)
        predictor.embed(LONG, None, EmbedOptions(truncate=True))
        for refused in (
            lambda: predictor.embed(LONG, None, EmbedOptions(truncate=False)),
            lambda: predictor.embed_batch(["short", LONG], None, EmbedOptions(truncate=False)),
        ):
            with pytest.raises(PredictionError) as caught:
                refused()
            assert caught.value.code == ErrorCode.TOO_LARGE
            assert "more than 256 tokens, the model's limit" in caught.value.message
        assert caught.value.message.startswith("texts[1]: ")
        predictor.embed("short", None, EmbedOptions(truncate=False))
    assert truncated() == before + 3


def test_wrong_input(serving: Service) -> None:
    with serving.client() as predictor:
        with pytest.raises(PredictionError) as caught:
            predictor.embed("x" * (1 << 20), None, EmbedOptions(truncate=False))
        assert caught.value.code == ErrorCode.TOO_LARGE
        assert "setting max_message_bytes" in caught.value.message
        with pytest.raises(PredictionError) as caught:
            predictor.embed("a", RequestOptions(model="labels"), None)
        assert caught.value.code == ErrorCode.INVALID_ARGUMENT
    for call in (lambda client: client.embed(None, None, None), lambda client: client.embed(b"\xff", None, None)):
        with serving.client() as predictor, pytest.raises((PredictionError, TApplicationException)):
            call(predictor)
    with serving.client() as predictor:
        assert len(predictor.embed("", None, None)) == 384


def blocks(name: str, language: str, mark: str) -> list[str]:
    """The code blocks of a document that are marked to be run."""
    found = re.findall(rf"<!-- {mark} -->\n```{language}\n(.*?)```", (ROOT / name).read_text(), re.DOTALL)
    assert found
    return found


@pytest.mark.parametrize(("name", "mark"), [("README.md", "run: embeddings"), ("docs/embeddings.md", "run")])
def test_curl_lines_answer_what_the_documents_show(serving: Service, name: str, mark: str) -> None:
    for command in re.split(r"^\$ ", blocks(name, "console", mark)[0], flags=re.MULTILINE)[1:]:
        line, _, shown = command.partition("\n")
        line = line.replace("8080", str(serving.rest_port))
        answer = subprocess.run(["sh", "-c", line], capture_output=True, text=True, check=True).stdout
        assert answer[:24] == shown[:24], "digits beyond depend on the processor"


def test_python_lines_of_the_documents_run(serving: Service) -> None:
    (program,) = blocks("docs/embeddings.md", "python", "run")
    program = program.replace("9090", str(serving.port))
    shown = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout
    likeness = np.array([[float(number) for number in re.findall(r"[-\d.]+", row)] for row in shown.splitlines()])
    assert likeness[0, 1] > 0.5 > likeness[0, 2]
