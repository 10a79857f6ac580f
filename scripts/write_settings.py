"""Writes the tables of settings in README.md and docs/http.md anew, and of options in docs/generation.md.

python scripts/write_settings.py
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import rest_proxy.config
import server.config
from process.files import write_atomically
from process.options import GENERATION_OPTIONS, SEED
from process.settings import declared

if TYPE_CHECKING:
    from collections.abc import Iterable

    from process.options import Option
    from process.settings import Declared

ROOT = Path(__file__).resolve().parent.parent
BEGIN = "<!-- settings: `python scripts/write_settings.py` writes this table -->\n"
END = "<!-- end of settings -->\n"


def table(settings: Iterable[Declared]) -> str:
    """A row for each setting, and one for each group."""
    rows = ["| setting | default | range | what |", "|---|---|---|---|"]
    title = ""
    for about in settings:
        if about.title != title:
            title = about.title
            rows.append(f"| **{title}** | | | |")
        rows.append(f"| `{about.name}` | {about.default} | {about.range} | {about.help} |".replace("|  |", "| |"))
    return "\n".join(rows) + "\n"


def option_table(options: Iterable[Option]) -> str:
    """A row for each option of a method."""
    rows = ["| option | range | default | what |", "|---|---|---|---|"]
    for option in options:
        default = "" if option.default is None else str(option.default).lower()
        rows.append(f"| `{option.name}` | {_range(option)} | {default} | {option.help} |".replace("|  |", "| |"))
    return "\n".join(rows).replace("|  |", "| |") + "\n"


def _range(option: Option) -> str:
    if option is SEED:  # its type's
        return "64 bits"
    units: dict[Any, str] = {str: " characters", list: " items", dict: " items"}
    unit = units.get(option.type, "")
    return option.range and f"{option.range}{unit}"


def tables() -> dict[Path, str]:
    """The table of each document. The proxy's settings have one of their own, and follow the server's by a rule."""
    own = {name: about for name, about in declared(server.config.Settings).items() if about.to != ("proxy",)}
    return {
        ROOT / "README.md": table(own.values()),
        ROOT / "docs" / "http.md": table(declared(rest_proxy.config.Settings).values()),
        ROOT / "docs" / "generation.md": option_table(GENERATION_OPTIONS.values()),
    }


def with_table(document: str, rows: str) -> str:
    """The document with these rows between its marks."""
    before, begin, others = document.partition(BEGIN)
    _, end, after = others.partition(END)
    if not (begin and end):
        raise ValueError("the document has no marks for a table of settings")
    return f"{before}{BEGIN}\n{rows}\n{END}{after}"


def main() -> int:
    """Exit status 0."""
    for path, rows in tables().items():
        write_atomically(path, with_table(path.read_text(encoding="utf-8"), rows).encode())
    return 0


if __name__ == "__main__":
    sys.exit(main())
