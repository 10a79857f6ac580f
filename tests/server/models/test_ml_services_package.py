"""smls's Python API, row by row, and what else one may do with it."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

import ml_services
from ml_services import EmbeddingError, ModelNotFoundError, SentenceEncoder
from tests.support.folders import heads, reference

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

ROOT = Path(__file__).parents[3]
HELLO = ["Hello world!", "How are you today?"]


@pytest.fixture(scope="module")
def runner(encoder: Path) -> Iterator[SentenceEncoder]:
    """The default encoder, as `get` builds it."""
    made = ml_services.get("TFSentenceEncoder", location=encoder)
    yield made
    made.close()


def cosines(found: list[list[float]], wanted: Any) -> Any:
    one, other = np.array(found), np.array(wanted)
    return (one * other).sum(1) / np.linalg.norm(one, axis=1) / np.linalg.norm(other, axis=1)


def test_smls_run_gives_a_list_of_numbers_for_each_text(
    runner: SentenceEncoder, sentence_vectors: Callable[[list[str]], Any]
) -> None:
    vectors = runner.run(HELLO)
    assert [len(vector) for vector in vectors] == [384, 384]
    assert all(type(number) is float for vector in vectors for number in vector)
    assert cosines(vectors, sentence_vectors(HELLO)).min() > 0.99999
    assert runner.run([]) == []


@pytest.mark.slow
@pytest.mark.parametrize("architecture", ["bert", "roberta", "mpnet", "modernbert", "qwen3"])
def test_a_folder_of_another_architecture(tmp_path: Path, architecture: str) -> None:
    folder = tmp_path / architecture
    heads.sentence_encoder(folder, architecture, "mean", ("normalize",))
    runner = ml_services.get("TFSentenceEncoder", location=folder)
    assert np.array(runner.run(HELLO)) == pytest.approx(reference.vectors(folder, HELLO), abs=2e-5)
    runner.close()


def test_smls_get_gives_the_same_object_each_time(runner: SentenceEncoder, encoder: Path) -> None:
    assert ml_services.get("TFSentenceEncoder", location=encoder) is runner


@pytest.mark.parametrize("key", ["NoSuchEncoder", "", "tfsentenceencoder"])
def test_smls_an_unknown_key_is_a_value_error(key: str) -> None:
    with pytest.raises(ValueError) as unknown:  # noqa: PT011 - its arguments are what is tested
        ml_services.get(key)
    assert unknown.value.args == (key,)


def test_smls_register_builder() -> None:
    built: list[dict[str, Any]] = []

    def builder(**options: Any) -> object:
        built.append(options)
        return object()

    ml_services.register_builder("Mine", builder)
    first = ml_services.get("Mine")
    assert ml_services.get("Mine") is first
    assert ml_services.get("Mine", size=2) is not first
    assert built == [{}, {"size": 2}]
    ml_services.register_builder("Mine", builder)
    assert ml_services.get("Mine") is not first


def test_the_default_model_is_where_the_environment_says(encoder: Path) -> None:
    program = (
        "import ml_services; encoder = ml_services.get('TFSentenceEncoder');"
        "print(encoder is ml_services.get('TFSentenceEncoder'), len(encoder.run(['Hello world!'])[0]))"
    )
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", program],
        cwd=ROOT,
        env={**os.environ, "ML_SERVICES_MODEL": str(encoder)},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "True 384\n", "")


def test_a_model_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(ModelNotFoundError, match="does not exist") as missing:
        ml_services.get("TFSentenceEncoder", location=tmp_path / "none")
    assert "make models/encoder" in missing.value.__notes__[0]


def test_a_model_that_does_not_embed(zoo: Callable[[str], Path], tmp_path: Path) -> None:
    with pytest.raises(EmbeddingError, match="the model does not embed; it serves predict, predict_batch"):
        SentenceEncoder(zoo("doc_model"))
    (tmp_path / "encoder.json").write_text("{")
    with pytest.raises(EmbeddingError, match="an earlier version exported"):
        SentenceEncoder(tmp_path)


def test_any_model_that_embeds(zoo: Callable[[str], Path]) -> None:
    encoder = SentenceEncoder(zoo("embedding_tensor"))
    one, other = encoder.run(HELLO)
    assert len(one) == len(other) == 16
    assert one != other
    encoder.close()
    encoder.close()
    with pytest.raises(EmbeddingError, match="the encoder is closed"):
        encoder.run(HELLO)


def test_smls_model_a_saved_model_of_strings_to_vectors(saved_models: Path) -> None:
    encoder = SentenceEncoder(saved_models / "sentence_encoder")
    one, other, again = encoder.run([*HELLO, HELLO[0]])
    assert len(one) == 64
    assert one == again != other
    encoder.close()


@pytest.mark.parametrize(
    ("texts", "message"),
    [
        ("Hello", "texts: expected a list of strings, got a string"),
        (["a", 1], r"texts\[1\]: expected a string, got int"),
        ([None], r"texts\[0\]: expected a string, got NoneType"),
    ],
)
def test_what_is_no_list_of_strings(runner: SentenceEncoder, texts: Any, message: str) -> None:
    with pytest.raises(TypeError, match=message):
        runner.run(texts)


def test_texts_may_come_one_by_one(runner: SentenceEncoder) -> None:
    assert len(runner.run(text for text in HELLO)) == 2


def test_a_text_that_is_too_large_is_cut(runner: SentenceEncoder) -> None:
    one, other = runner.run(["a " * 200_000, "a " * 1000])
    assert one == pytest.approx(other, abs=1e-6)


def test_a_text_that_cannot_be_sent(runner: SentenceEncoder) -> None:
    with pytest.raises(EmbeddingError, match=r"texts\[1\]: not valid Unicode: surrogates not allowed at character 2"):
        runner.run(["a", "ab\ud800"])
    assert len(runner.run(["a"])) == 1


def test_many_texts_from_many_threads(runner: SentenceEncoder) -> None:
    texts = [f"text {number}" for number in range(300)]
    wanted = runner.run(texts)
    found: list[Any] = [None] * 4

    def ask(place: int) -> None:
        found[place] = runner.run(texts)

    threads = [threading.Thread(target=ask, args=(place,)) for place in range(len(found))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(cosines(vectors, wanted).min() > 0.99999 for vectors in found)
