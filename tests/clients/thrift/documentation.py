"""docs/clients.md: its table of languages, and the programs in it."""

from __future__ import annotations

import re

from tests.clients.thrift.languages import table
from tests.support.service import ROOT

DOCS = ROOT / "docs" / "clients.md"
_BEGIN, _END = "<!-- languages: `make test-clients` writes this table -->\n", "<!-- end of languages -->\n"


def with_table(text: str) -> str:
    """The page with the table as it is to be."""
    before, _, rest = text.partition(_BEGIN)
    _, _, after = rest.partition(_END)
    return f"{before}{_BEGIN}{table()}{_END}{after}"


def programs(name: str) -> list[str]:
    """Those that are marked to be run by this name."""
    text = DOCS.read_text(encoding="utf-8")
    return [found[1] for found in re.findall(rf"<!-- run: {name} -->\n```(\w+)\n(.*?)```", text, re.DOTALL)]
