"""docs/models.md names what is served, as scripts/write_models.py wrote it."""

from __future__ import annotations

import pytest

from scripts import write_models
from tests.support.folders import language_models, served

DOCUMENT = write_models.DOCUMENT.read_text(encoding="utf-8")
EXACT = {"1 - cosine": 1e-6, "difference": 1e-4}


def test_every_row_is_there_and_no_other() -> None:
    rows = [(row.kind, row.architecture, row.head) for row in write_models.rows()]
    assert list(write_models.read_errors(DOCUMENT)) == rows, "run python scripts/write_models.py"


def test_float32_is_exact() -> None:
    for (kind, *_), errors in write_models.read_errors(DOCUMENT).items():
        assert errors["float32"] <= (EXACT["1 - cosine"] if served.is_of_vectors(kind) else EXACT["difference"])


@pytest.mark.parametrize(
    ("error", "written"),
    [(0, "1e-7"), (1e-7, "2e-7"), (3.9e-5, "5e-5"), (4.1e-5, "1e-4"), (0.7, "1"), (0.9, "2"), (9, "2e+01")],
)
def test_errors_are_rounded_up(error: float, written: str) -> None:
    assert write_models.written(error) == written


def test_a_table_is_read_as_it_was_written() -> None:
    errors = {row.name: {"float32": "1e-7", "bfloat16": "2e-3", "int8": "5e-2"} for row in write_models.rows()}
    document = write_models.with_table(DOCUMENT, write_models.table_of(errors))
    assert set(map(str, write_models.read_errors(document).values())) == {
        "{'float32': 1e-07, 'bfloat16': 0.002, 'int8': 0.05}"
    }


def test_every_generator_is_there_and_no_other() -> None:
    found = write_models.read_generator_errors(DOCUMENT)
    assert list(found) == [row.name for row in language_models.ROWS], "run python scripts/write_models.py generators"
    assert all(errors["float32"] <= EXACT["difference"] for errors in found.values())


def test_a_table_of_generators_is_read_as_it_was_written() -> None:
    errors = {row.name: {"float32": "1e-7", "bfloat16": "2e-3", "int8": "5e-2"} for row in language_models.ROWS}
    marks = (write_models.BEGIN_GENERATORS, write_models.END_GENERATORS)
    document = write_models.with_table(DOCUMENT, write_models.generator_table(errors), *marks)
    found = write_models.read_generator_errors(document)
    assert found == {name: {"float32": 1e-7, "bfloat16": 2e-3, "int8": 5e-2} for name in errors}
    with pytest.raises(ValueError, match="no marks"):
        write_models.with_table("", "", *marks)
