"""Every architecture and head that is served answers as transformers and sentence-transformers, whatever the mates.

The folders and what is right are made once for a run. Texts are of all kinds and lengths (tests/support/sentences.py).
"""

from __future__ import annotations

import os
import pickle
import random
import shutil
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from ext import _encoder
from scripts import write_models
from server.models.requests import Tagging
from tests.server.waiting import result
from tests.support.folders import reference, served, table

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.support.folders.table import Row
    from tests.support.shared import SharedFiles

pytestmark = pytest.mark.slow

# 1 - cosine of vectors; differences of logits and scores.
EXACT = 1e-6
EXACT_LOGITS = 1e-4
LENGTH = 1e-3  # of a vector, as a share: the mean of 2000 tokens in float32 has no more digits
SEED = 5
OTHER_PROCESSOR = 2  # times as far from the library's as on the one that the documented errors were measured on
TAGGERS = ("BERT", "RoBERTa", "DeBERTa v3")  # a form of the tokenizer each


def _parametrised(rows: list[Row]) -> Any:
    return pytest.mark.parametrize("row", rows, ids=[row.name for row in rows])


@pytest.fixture(scope="module")
def folder_of(shared_files: SharedFiles) -> Callable[[Row], Path]:
    """The row's folder, made by the libraries when it is first asked for."""

    def write(row: Row) -> Callable[[Path], None]:
        def write_into(path: Path) -> None:
            path.mkdir()
            row.write(path)

        return write_into

    return lambda row: shared_files.made(f"folders/{_file_name(row)}", write(row))


@pytest.fixture(scope="module")
def served_folder_of(shared_files: SharedFiles, folder_of: Callable[[Row], Path]) -> Callable[[Row], Path]:
    """The same as the server gets it, which the library may not read."""

    def write(row: Row) -> Callable[[Path], None]:
        def write_into(path: Path) -> None:
            shutil.copytree(folder_of(row), path)
            assert row.change is not None
            row.change(path)

        return write_into

    def folder(row: Row) -> Path:
        return shared_files.made(f"changed/{_file_name(row)}", write(row)) if row.change else folder_of(row)

    return folder


@pytest.fixture(scope="module")
def wanted(shared_files: SharedFiles, folder_of: Callable[[Row], Path]) -> Callable[[Row], list[Any]]:
    """What the libraries answer for the row."""

    def answers(row: Row) -> list[Any]:
        def write(path: Path) -> None:
            path.write_bytes(pickle.dumps(served.wanted(row, folder_of(row))))

        found: list[Any] = pickle.loads(shared_files.made(f"answers/{_file_name(row)}.pickle", write).read_bytes())
        return found

    return answers


def _file_name(row: Row) -> str:
    return "".join(character if character.isalnum() else "-" for character in row.name)


def _exact(row: Row) -> float:
    return EXACT if served.is_of_vectors(row.kind) else EXACT_LOGITS


@_parametrised(table.ROWS)
async def test_float32_answers_as_the_libraries_do(
    row: Row, served_folder_of: Callable[[Row], Path], wanted: Callable[[Row], list[Any]]
) -> None:
    right = wanted(row)
    async with served.loaded(served_folder_of(row)) as model:
        found = await served.given(row, model)
        assert model.stats()["batches"] < len(found), "texts shared batches"
    assert served.error(row, found, right) <= _exact(row)
    assert served.label_shortfall(row, found, right) <= 2 * EXACT_LOGITS
    if served.is_of_vectors(row.kind):  # their lengths too
        for one, other in zip(found, right, strict=True):
            assert np.linalg.norm(one - other) <= LENGTH * np.linalg.norm(other) + EXACT_LOGITS


_BY_OPERATORS = """
import asyncio, pickle, sys
from tests.support.folders import served, table
rows = {row.name: row for row in table.ROWS}
async def errors(asked):
    for name, folder, right in asked:
        async with served.loaded(folder) as model:
            yield name, served.error(rows[name], await served.given(rows[name], model), right)
async def main():
    return [found async for found in errors(pickle.load(sys.stdin.buffer))]
sys.stdout.buffer.write(pickle.dumps(asyncio.run(main())))
"""


def test_what_a_card_runs_answers_as_the_libraries_do(
    served_folder_of: Callable[[Row], Path], wanted: Callable[[Row], list[Any]]
) -> None:
    """libtorch's operators, on the processor. Vectors of every architecture but DeBERTa, which no card is given."""
    rows = [row for row in table.rows(table.VECTORS) if row.basic and not row.architecture.startswith("DeBERTa")]
    given = pickle.dumps([(row.name, served_folder_of(row), wanted(row)) for row in rows])
    environment = os.environ | {"PREDICTOR_OPERATORS": "1"}
    command = [sys.executable, "-c", _BY_OPERATORS]
    done = subprocess.run(command, input=given, env=environment, stdout=subprocess.PIPE, check=True)
    errors = dict(pickle.loads(done.stdout))
    assert len(errors) == len(rows)
    assert max(errors.values()) <= EXACT, errors


@_parametrised([row for row in table.ROWS if row.basic])
async def test_answers_do_not_depend_on_batch_mates(row: Row, folder_of: Callable[[Row], Path]) -> None:
    async with served.loaded(folder_of(row)) as model:
        together = await served.given(row, model)
        some = list(range(0, len(together), 5))
        alone = await served.given(row, model, some, together=False)
        order = random.Random(SEED).sample(range(len(together)), len(together))
        shuffled = await served.given(row, model, order)
    assert served.error(row, alone, [together[number] for number in some]) <= _exact(row)
    assert served.error(row, shuffled, [together[number] for number in order]) <= _exact(row)


@pytest.mark.parametrize("strategy", served.STRATEGIES)
@_parametrised(
    [row for row in table.rows(table.TOKEN_CLASSES) if row.architecture in ("BERT", "RoBERTa", "DeBERTa v3")]
)
async def test_spans_are_those_of_the_pipeline(row: Row, strategy: str, folder_of: Callable[[Row], Path]) -> None:
    texts = served.texts_of(row)[:40]
    right = reference.spans(folder_of(row), texts, strategy)
    async with served.loaded(folder_of(row)) as model:
        requests = [model.classify_tokens(text, Tagging(strategy), served.context()) for text in texts]
        found = [await result(request) for request in requests]
    for text, ours, theirs in zip(texts, found, right, strict=True):
        assert [(span.label, span.start, span.stop) for span in ours] == [
            (span["label"], span["start"], span["end"]) for span in theirs
        ], text
        np.testing.assert_allclose([span.score for span in ours], [span["score"] for span in theirs], atol=1e-4)


@pytest.fixture(scope="module")
def documented() -> dict[tuple[str, str, str], dict[str, float]]:
    """The errors that docs/models.md promises."""
    return write_models.read_errors(write_models.DOCUMENT.read_text(encoding="utf-8"))


@pytest.mark.parametrize("precision", ["bfloat16", "int8"])
@_parametrised(write_models.rows())
async def test_other_precisions_are_as_near_as_documented(
    row: Row,
    precision: str,
    folder_of: Callable[[Row], Path],
    wanted: Callable[[Row], list[Any]],
    documented: dict[tuple[str, str, str], dict[str, float]],
) -> None:
    async with served.loaded(folder_of(row), precision) as model:
        error = served.error(row, await served.given(row, model), wanted(row))
    assert error <= OTHER_PROCESSOR * documented[row.kind, row.architecture, row.head][precision]


def test_every_architecture_has_rows() -> None:
    """One that the engine serves and that is not compared with its library here would be served on trust."""
    assert set(_encoder.architectures()) - {"static"} <= table.MODEL_TYPES
