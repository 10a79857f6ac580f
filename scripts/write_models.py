"""Writes the tables of docs/models.md anew: what is served, and how far each answer is from the library's.

python scripts/write_models.py [--anew]        # the table of generators, too
python scripts/write_models.py generators      # that one alone

An error that is there and larger stays, since another processor rounds otherwise: --anew forgets those.

Makes every folder of tests/support/folders/table.py and language_models.py, asks transformers or sentence-transformers
and the server's own model in each precision, and takes minutes. test_architectures.py and test_generators.py of
tests/server/models/folder check what it has written.
"""

from __future__ import annotations

import asyncio
import math
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from process.files import write_atomically
from server.models.options import GENERATOR_PRECISIONS, PRECISIONS
from tests.support.folders import generated, language_models, served, table

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from tests.support.folders.language_models import LanguageModel
    from tests.support.folders.table import Row

DOCUMENT = Path(__file__).resolve().parent.parent / "docs" / "models.md"
BEGIN = "<!-- models: `python scripts/write_models.py` writes this table -->\n"
END = "<!-- end of models -->\n"
BEGIN_GENERATORS = "<!-- generators: `python scripts/write_models.py generators` writes this table -->\n"
END_GENERATORS = "<!-- end of generators -->\n"
NOT_MEASURED = "-"
LEAST = 1e-7  # what float32 itself loses
HEADROOM = 1.25  # for other processors; not of float32, which has a bound of its own in the tests

Errors = dict[str, dict[str, str]]
"""Name of a row -> precision -> the largest error, as it is written."""


def rows() -> list[Row]:
    """Those of the table, in its order: one for each architecture and kind."""
    return [row for row in table.ROWS if row.basic]


def written(error: float, precision: str = "") -> str:
    """An error, rounded up to 1, 2 or 5 times a power of ten."""
    error = max(error * (1 if precision == "float32" else HEADROOM), LEAST)
    power = 10.0 ** math.floor(math.log10(error))
    factor = next(factor for factor in (1, 2, 5, 10) if error <= factor * power * (1 + 1e-9))
    return _short(factor * power)


def _short(error: float) -> str:
    return f"{error:.0e}".replace("e-0", "e-").replace("e+00", "")


def table_of(errors: Mapping[str, Mapping[str, str]]) -> str:
    """The table, a part for each kind of answer."""
    lines = []
    for kind in dict.fromkeys(row.kind for row in rows()):
        measure = "1 - cosine" if served.is_of_vectors(kind) else "difference"
        lines.append(f"| **{kind}** ({measure}) | |" + " |" * len(PRECISIONS))
        for row in rows():
            if row.kind == kind:
                numbers = " | ".join(errors[row.name][precision] for precision in PRECISIONS)
                lines.append(f"| {row.architecture} | {row.head} | {numbers} |")
    head = ["| architecture | head | " + " | ".join(PRECISIONS) + " |", "|---|---|" + "---|" * len(PRECISIONS)]
    return "\n".join([*head, *lines]) + "\n"


def read_errors(document: str) -> dict[tuple[str, str, str], dict[str, float]]:
    """(kind, architecture, head) -> precision -> the largest error, from what `table_of` wrote."""
    found: dict[tuple[str, str, str], dict[str, float]] = {}
    kind = ""
    for line in document.partition(BEGIN)[2].partition(END)[0].splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if cells[0].startswith("**"):
            kind = cells[0].split("**")[1]
        elif kind and len(cells) == 2 + len(PRECISIONS):
            numbers = map(float, cells[2:])
            found[kind, cells[0], cells[1]] = dict(zip(PRECISIONS, numbers, strict=True))
    return found


def with_table(document: str, rows_: str, first: str = BEGIN, last: str = END) -> str:
    """The document with this table between its marks."""
    before, begin, others = document.partition(first)
    _, end, after = others.partition(last)
    if not (begin and end):
        raise ValueError("the document has no marks for a table of models")
    return f"{before}{first}\n{rows_}\n{last}{after}"


# ---------------------------------------------------------------------------------------------------------- generators


def generator_table(errors: Mapping[str, Mapping[str, str]]) -> str:
    """A line for each row of language_models."""
    lines = [
        "| family | form | " + " | ".join(GENERATOR_PRECISIONS) + " |",
        "|---|---|" + "---|" * len(GENERATOR_PRECISIONS),
    ]
    for row in language_models.ROWS:
        numbers = " | ".join(errors[row.name].get(precision, NOT_MEASURED) for precision in GENERATOR_PRECISIONS)
        lines.append(f"| {row.family} | {row.variation or 'usual'} | {numbers} |")
    return "\n".join(lines) + "\n"


def read_generator_errors(document: str) -> dict[str, dict[str, float]]:
    """Name of a row -> precision -> the error, from what `generator_table` wrote."""
    found = {}
    for line in document.partition(BEGIN_GENERATORS)[2].partition(END_GENERATORS)[0].splitlines():
        family, variation, *numbers = ["", "", *(cell.strip() for cell in line.strip("|").split("|"))][
            -2 - len(GENERATOR_PRECISIONS) :
        ]
        if numbers and numbers[0][:1].isdigit():
            name = family if variation == "usual" else f"{family}: {variation}"
            measured = dict(zip(GENERATOR_PRECISIONS, numbers, strict=True))
            found[name] = {precision: float(number) for precision, number in measured.items() if number != NOT_MEASURED}
    return found


def measure_generators(chosen: Sequence[LanguageModel]) -> Errors:
    """In float32 the largest difference of a logit; in the others the mean divergence of the next token, in nats."""
    errors: Errors = {}
    for row in chosen:
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            row.write(folder)
            right = generated.wanted(folder, generated.LOGITS)
            errors[row.name] = {
                precision: written(generated.error(folder, right, precision), precision)
                for precision in GENERATOR_PRECISIONS
            }
        print(row.name, errors[row.name], flush=True)
    return errors


def larger(errors: Errors, documented: Mapping[tuple[str, str, str], Mapping[str, float]]) -> Errors:
    """Of each error the documented one, where that is larger."""
    kept: Errors = {}
    for row in rows():
        there = documented.get((row.kind, row.architecture, row.head), {})
        kept[row.name] = {
            precision: max(error, _short(there.get(precision, 0)), key=float)
            for precision, error in errors[row.name].items()
        }
    return kept


async def measure(chosen: Iterable[Row]) -> Errors:
    """The errors of these rows."""
    errors: Errors = {}
    for row in chosen:
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            row.write(folder)
            right = served.wanted(row, folder)
            errors[row.name] = {}
            for precision in PRECISIONS:
                async with served.loaded(folder, precision) as model:
                    errors[row.name][precision] = written(
                        served.error(row, await served.given(row, model), right), precision
                    )
        print(row.name, errors[row.name], flush=True)
    return errors


def main(arguments: Sequence[str] | None = None) -> int:
    """Exit status 0."""
    given = sys.argv[1:] if arguments is None else arguments
    document = DOCUMENT.read_text(encoding="utf-8")
    if "generators" not in given:
        errors = asyncio.run(measure(rows()))
        if "--anew" not in given:
            errors = larger(errors, read_errors(document))
        document = with_table(document, table_of(errors))
    lines = generator_table(measure_generators(language_models.ROWS))
    write_atomically(DOCUMENT, with_table(document, lines, BEGIN_GENERATORS, END_GENERATORS).encode())
    return 0


if __name__ == "__main__":
    sys.exit(main())
