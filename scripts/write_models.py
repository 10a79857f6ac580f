"""Writes the table of docs/models.md anew: what is served, and how far each answer is from the library's.

python scripts/write_models.py [--anew]

An error that is there and larger stays, since another processor rounds otherwise: --anew forgets those.

Makes every folder of tests/support/folders/table.py, asks transformers or sentence-transformers and the server's own
model in each precision, and takes minutes. tests/server/models/folder/test_architectures.py checks what it has written.
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
from server.models.options import PRECISIONS
from tests.support.folders import served, table

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from tests.support.folders.table import Row

DOCUMENT = Path(__file__).resolve().parent.parent / "docs" / "models.md"
BEGIN = "<!-- models: `python scripts/write_models.py` writes this table -->\n"
END = "<!-- end of models -->\n"
LEAST = 1e-7  # what float32 itself loses
HEADROOM = 1.25

Errors = dict[str, dict[str, str]]
"""Name of a row -> precision -> the largest error, as it is written."""


def rows() -> list[Row]:
    """Those of the table, in its order: one for each architecture and kind."""
    return [row for row in table.ROWS if row.basic]


def written(error: float) -> str:
    """An error, rounded up to 1, 2 or 5 times a power of ten."""
    error = max(error * HEADROOM, LEAST)
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


def with_table(document: str, rows_: str) -> str:
    """The document with this table between its marks."""
    before, begin, others = document.partition(BEGIN)
    _, end, after = others.partition(END)
    if not (begin and end):
        raise ValueError("the document has no marks for a table of models")
    return f"{before}{BEGIN}\n{rows_}\n{END}{after}"


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
                    errors[row.name][precision] = written(served.error(row, await served.given(row, model), right))
        print(row.name, errors[row.name], flush=True)
    return errors


def main() -> int:
    """Exit status 0."""
    errors = asyncio.run(measure(rows()))
    document = DOCUMENT.read_text(encoding="utf-8")
    if "--anew" not in sys.argv:
        errors = larger(errors, read_errors(document))
    write_atomically(DOCUMENT, with_table(document, table_of(errors)).encode())
    return 0


if __name__ == "__main__":
    sys.exit(main())
