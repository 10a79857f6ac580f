"""Writes the table of routes in docs/http.md anew.

python scripts/write_routes.py
"""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from typing import TYPE_CHECKING

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
sys.path.insert(1, str(Path(__file__).resolve().parent.parent / "gen-py"))

from process.files import write_atomically
from rest_proxy.application import Application
from rest_proxy.backend.thrift_pool import ThriftPool
from rest_proxy.config import Settings
from rest_proxy.openapi.operation import documented_methods

if TYPE_CHECKING:
    from collections.abc import Iterable

    from rest_proxy.http.route import Route

DOCUMENT = Path(__file__).resolve().parent.parent / "docs" / "http.md"
BEGIN = "<!-- routes: `python scripts/write_routes.py` writes this table -->\n"
END = "<!-- end of routes -->\n"

OURS = "ours"
_VERSION = "/versions/{version}"
DIALECTS = {
    "pytext": "PyText",
    "predictions": OURS,
    "ranking": OURS,
    "embeddings": OURS,
    "generation": OURS,
    "batches": OURS,
    "operations": OURS,
    "smartreply": "smartreply",
    "text-generation": "NLP-Microservice",
    "embedded-tf": "embedded-tf",
    "openai": "OpenAI",
    "cohere": "Cohere and Jina",
    "vllm": "vLLM",
    "text-embeddings-inference": "text-embeddings-inference",
    "open-inference": "Open Inference Protocol 2 (Triton, KServe)",
    "tensorflow-serving": "TensorFlow Serving (KServe 1)",
}
"""Tag of routes -> whose they are, in the order of the table."""


def routes() -> list[Route]:
    """Every route of the proxy."""

    async def found() -> list[Route]:
        settings = Settings()
        return Application(settings, ThriftPool(settings)).routes

    return asyncio.run(found())


def table(routes: Iterable[Route]) -> str:
    """A row for each path, those of a dialect together, and one for each dialect."""
    rows = ["| route | what |", "|---|---|"]
    by_dialect: dict[str, list[Route]] = {name: [] for name in dict.fromkeys(DIALECTS.values())}
    listed = list(routes)
    paths = {route.path for route in listed}
    for route in listed:
        if route.path.replace(_VERSION, "") in paths - {route.path}:  # the document says so once
            continue
        by_dialect[DIALECTS.get(route.tag, OURS)].append(route)
    for dialect, found in by_dialect.items():
        rows.append(f"| **{dialect}** | |")
        rows += [f"| `{_methods(route)} {_path(route)}` | {route.summary} |" for route in found]
    return "\n".join(rows) + "\n"


def _methods(route: Route) -> str:
    return ", ".join(documented_methods(route))


def _path(route: Route) -> str:
    """PyText's and embedded-tf's routes are found by their query."""
    if route.path != "/" or "POST" in route.methods:
        return route.path
    first = next(iter(route.example.fields), "doc")
    return f"/?{first}="


def with_table(document: str, rows: str) -> str:
    """The document with these rows between its marks."""
    before, begin, others = document.partition(BEGIN)
    _, end, after = others.partition(END)
    if not (begin and end):
        raise ValueError("the document has no marks for a table of routes")
    return f"{before}{BEGIN}\n{rows}\n{END}{after}"


def main() -> int:
    """Exit status 0."""
    write_atomically(DOCUMENT, with_table(DOCUMENT.read_text(encoding="utf-8"), table(routes())).encode())
    return 0


if __name__ == "__main__":
    sys.exit(main())
