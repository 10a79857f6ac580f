"""LangChain, LlamaIndex, Haystack and the clients below them, unchanged, against folders of five architectures.

Run by `make test-libraries` and not by `make test`, because it installs them into an environment of their own. What
they give is compared with sentence-transformers' own answers.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pytest

from tests.support.folders import heads, reference, vocabularies
from tests.support.service import ROOT, Service, free_port

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from tests.support.shared import SharedFiles

FOLDER = ROOT / "tests" / "clients" / "python"
DOCS = ROOT / "docs" / "clients.md"
PYTHON = Path(os.environ.get("LIBRARIES_PYTHON", ROOT / "build" / "libraries" / "bin" / "python"))
PROGRAMS = ("langchain", "llama_index", "haystack", "apis")
# Of the vectors -> of the ranks, of the sparse vectors.
ARCHITECTURES = {
    "bert": ("bert", "bert"),
    "roberta": ("roberta", "roberta"),
    "mpnet": ("mpnet", "mpnet"),
    "modernbert": ("modernbert", "modernbert"),
    "qwen3": ("xlm-roberta", "distilbert"),
}
QUERY = "when does the boat leave the harbour"
DIMENSIONS = 16
_TIMEOUT_S = 300


class Served(NamedTuple):
    """A running service and its folders."""

    service: Service
    folders: dict[str, Path]


def texts() -> list[str]:
    """1,000, all different, of one to some 200 words, and without line breaks: LlamaIndex makes spaces of them."""
    lines = [" ".join(text.split()) for text in vocabularies.corpus()]
    longer = (" ".join(lines[start : start + 1 + start % 20]) for start in range(len(lines)))
    return list(dict.fromkeys(text for text in (*lines, *longer) if text))[:1000]


@pytest.fixture(scope="module", params=ARCHITECTURES)
def served(request: pytest.FixtureRequest, shared_files: SharedFiles) -> Iterator[Served]:
    name = request.param
    ranks, sparse = ARCHITECTURES[name]
    pooling = "lasttoken" if name == "qwen3" else "mean"
    writers = {
        "encoder": lambda path: heads.sentence_encoder(path, name, pooling, ("normalize",)),
        "reranker": lambda path: heads.reranker(path, ranks),
        "splade": lambda path: heads.sparse_encoder(path, sparse),
    }
    folders = {kind: shared_files.made(f"libraries/{name}/{kind}", write) for kind, write in writers.items()}
    with Service(*_models(folders)) as service:
        yield Served(service, folders)


def _models(folders: dict[str, Path]) -> list[str]:
    return [f"--model={kind}={path}" for kind, path in folders.items()]


def ask(program: str, port: int, asked: list[str]) -> dict[str, Any]:
    """What a program of the folder answers; it must exit with 0."""
    return run_program(program, port, texts=asked, query=QUERY, dimensions=DIMENSIONS)


def run_program(program: str, port: int, **question: Any) -> dict[str, Any]:
    """What a program answers to a question; it must exit with 0."""
    question = {"url": f"http://127.0.0.1:{port}", **question}
    assert PYTHON.is_file(), f"there is no {PYTHON}: `make test-libraries` makes it, or LIBRARIES_PYTHON names one"
    done = subprocess.run(
        [PYTHON, f"{program}_client.py"],
        cwd=FOLDER,
        input=json.dumps(question),
        env=environment(),
        capture_output=True,
        text=True,
        timeout=_TIMEOUT_S,
    )
    assert done.returncode == 0, done.stderr[-4000:]
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer


def environment() -> dict[str, str]:
    """Of the programs: nothing of ours is to be found by their environment."""
    quiet = {"HAYSTACK_TELEMETRY_ENABLED": "False", "PYTHONWARNINGS": "ignore"}
    return {name: value for name, value in os.environ.items() if name != "PYTHONPATH"} | quiet


@pytest.mark.parametrize("program", PROGRAMS)
def test_answers_are_those_of_sentence_transformers(served: Served, program: str) -> None:
    asked = texts()
    assert len(asked) == 1000
    answers = ask(program, served.service.rest_port, asked)
    vectors = reference.vectors(served.folders["encoder"], asked)
    query = reference.vectors(served.folders["encoder"], [QUERY])
    for name, found in answers.items():
        if name.startswith(("documents", "normalized")):
            require_close(found, vectors[: len(found)])
        elif name.startswith("query"):
            require_close([found], query)
        elif name == "dimensions":
            shorter = vectors[: len(found), :DIMENSIONS]
            require_close(found, shorter / np.linalg.norm(shorter, axis=1, keepdims=True))
        elif name.startswith("ranks"):
            require_ranks(served.folders["reranker"], asked, found)
        elif name == "sparse":
            require_sparse(served.folders["splade"], asked, found)
    further = {"names", "refused", "usage"} & answers.keys()
    assert len(answers) - len(further) >= 5
    if "usage" in further:
        assert answers["usage"]["total_tokens"] == answers["usage"]["prompt_tokens"] > len(asked)
    if "names" in further:
        assert answers["names"] == ["encoder", "reranker", "splade"]
    if "refused" in further:
        refused = answers["refused"]
        assert "send the text instead" in refused["of openai"]
        assert "no prompt is named 'none'" in refused["of huggingface_hub"]
        assert "'none'" in refused["of cohere"]


def test_clients_wait_for_a_server_that_starts(shared_files: SharedFiles) -> None:
    """Their retries reach over the time in which it is not there, and then loads."""
    folder = shared_files.made("libraries/bert/encoder", lambda path: heads.sentence_encoder(path, "bert", "mean"))
    port = free_port()
    with Service("--model", f"encoder={folder}", "--rest-port", port, wait_ready=False) as service:
        question = (
            "from openai import OpenAI; OpenAI(base_url='http://127.0.0.1:%d/v1', api_key='none', max_retries=30)"
        )
        code = f"{question % port}.embeddings.create(model='encoder', input='a')"
        done = subprocess.run([PYTHON, "-c", code], env=environment(), capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        service.wait_ready()


@pytest.mark.parametrize("served", ["bert"], indirect=True)
@pytest.mark.parametrize("place", range(4))
def test_the_documentation_runs(served: Served, place: int) -> None:
    programs = re.findall(r"<!-- run -->\n```python\n(.*?)```", DOCS.read_text(encoding="utf-8"), re.DOTALL)
    assert len(programs) == 4
    program = programs[place].replace("8080", str(served.service.rest_port))
    done = subprocess.run([PYTHON, "-c", program], env=environment(), capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "2" in done.stdout.splitlines()[0]


def require_close(found: Any, wanted: NDArray[np.float32]) -> None:
    assert np.asarray(found).shape == wanted.shape
    np.testing.assert_allclose(np.asarray(found), wanted, atol=2e-5)


def require_ranks(folder: Path, asked: list[str], found: list[tuple[int, float]]) -> None:
    wanted = reference.scores(folder, [(QUERY, text) for text in asked])
    assert len(found) == 5
    scores = [score for _, score in found]
    assert scores == sorted(scores, reverse=True)
    assert scores == pytest.approx(sorted(wanted.tolist(), reverse=True)[:5], abs=1e-5)
    assert [wanted[index] for index, _ in found] == pytest.approx(scores, abs=1e-5)


def require_sparse(folder: Path, asked: list[str], found: list[tuple[list[int], list[float]]]) -> None:
    wanted = reference.sparse_vectors(folder, asked[: len(found)])
    dense = np.zeros_like(wanted)
    for row, (indices, values) in zip(dense, found, strict=True):
        row[indices] = values
    np.testing.assert_allclose(dense, wanted, atol=1e-4)
