"""Imports run one way: each room knows those that stand above it in LAYERS, and no module goes round in a circle.

What an import is: any `import` in the file, also in functions and under TYPE_CHECKING. The C++ has a test of its own.
"""

from __future__ import annotations

import ast
import sys
from collections import deque
from typing import TYPE_CHECKING

import pytest

from tests.support.service import ROOT

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

# A line may import from the lines before it, and from itself. Rooms that share a line do not know each other. The
# longest name that fits a module says where it belongs.
LAYERS = (
    ("process", "predictor_packages"),
    ("predictor",),
    ("predictor_client.errors", "predictor_client.vectors"),
    ("predictor_client.types", "predictor_client.wire"),
    ("predictor_client.results", "predictor_client.policy", "predictor_client.options"),
    ("predictor_client.calls",),
    ("predictor_client.asynchronous", "predictor_client.blocking"),
    ("predictor_client",),
    ("rest_proxy.config",),
    ("rest_proxy.http",),
    ("rest_proxy.backend",),
    ("rest_proxy.metrics",),
    ("rest_proxy.openapi",),
    ("rest_proxy.routes",),
    ("rest_proxy.compat",),
    ("rest_proxy.application",),
    ("rest_proxy.lifecycle",),
    ("rest_proxy.__main__", "rest_proxy"),
    ("server.errors", "server.config"),
    ("server.calls",),
    ("server.clients",),
    ("server.security",),
    ("server.transport", "ext"),
    ("server.metrics", "server.tensorflow", "server.hub", "server.upstream"),
    ("server.models",),
    ("server.batch.storage",),
    ("server.batch.state",),
    ("server.batch.pipeline",),
    ("server.batch.methods",),
    ("server.batch.ray",),
    ("server.batch",),
    ("server.rpc", "server.proxy"),
    ("server.lifecycle",),
    ("server.__main__", "server", "ml_services", "smartreply"),
    ("runtime", "smls"),
)
PACKAGES = (
    "predictor_client",
    "process",
    "rest_proxy",
    "server",
    "ext",
    "ml_services",
    "smartreply",
    "predictor_packages",
    "runtime",
    "smls",
)

# What the order alone would allow: the two that know the proxy, and what the proxy's and the extension's users rely on.
KNOW_THE_PROXY = ("server.config", "server.proxy", "rest_proxy")
MOST_ENTRIES = 12
FOLDERS = [
    str(folder.relative_to(ROOT))
    for top in ("rest_proxy", "server/batch")
    for folder in [ROOT / top, *(ROOT / top).rglob("*")]
    if folder.is_dir() and folder.name != "__pycache__"
]


def module_name(path: Path) -> str:
    """The name that a file is imported by."""
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


FILES = {
    module_name(path): path
    for package in PACKAGES
    for pattern in (f"{package}.py", f"{package}/**/*.py", f"{package}/**/*.pyi")
    for path in sorted(ROOT.glob(pattern))
}


def imported(path: Path) -> Iterator[str]:
    """Every module that a file names in an import."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}:{node.lineno}: write out the whole name"
            names = [f"{node.module}.{alias.name}" for alias in node.names]
            yield from (name if name in FILES else str(node.module) for name in names)


IMPORTS = {module: sorted(set(imported(path)) - {module}) for module, path in FILES.items()}


def is_in(module: str, room: str) -> bool:
    """Whether a module is this room, or lies in it."""
    return module == room or module.startswith(f"{room}.")


def room_of(module: str) -> tuple[int, str] | None:
    """The number of a module's line in LAYERS, and its name there; None for what is not ours."""
    fitting = [(len(room), line, room) for line, rooms in enumerate(LAYERS) for room in rooms if is_in(module, room)]
    return max(fitting)[1:] if fitting else None


def circle(graph: Mapping[str, Sequence[str]]) -> list[str]:
    """A shortest way from a module back to itself; empty where there is none."""
    return min((way for start in graph if (way := _way_back(graph, start))), key=len, default=[])


def _way_back(graph: Mapping[str, Sequence[str]], start: str) -> list[str]:
    came_from: dict[str, str] = {}
    waiting = deque([start])
    while waiting:
        module = waiting.popleft()
        for target in graph.get(module, ()):
            if target == start:
                way = [start, module]
                while way[-1] != start:
                    way.append(came_from[way[-1]])
                return way[::-1]
            if target not in came_from:
                came_from[target] = module
                waiting.append(target)
    return []


def test_every_room_is_there() -> None:
    empty = {room for rooms in LAYERS for room in rooms if not any(is_in(module, room) for module in FILES)}
    assert empty == {"predictor"}  # generated: it imports nothing of ours


@pytest.mark.parametrize("package", PACKAGES)
def test_imports_run_one_way(package: str) -> None:
    upward = []
    for module in (module for module in FILES if is_in(module, package)):
        own = room_of(module)
        assert own is not None, f"LAYERS has no place for {module}"
        for target in IMPORTS[module]:
            other = room_of(target)
            if other is not None and other != own and other[0] >= own[0]:
                upward.append(f"{module} imports {target}: {own[1]} stands below {other[1]}, or beside it")
    assert upward == []


def test_no_module_imports_itself_by_way_of_others() -> None:
    assert " -> ".join(circle(IMPORTS)) == ""


@pytest.mark.parametrize(
    ("graph", "found"),
    [
        ({"a": ["b"], "b": ["c"], "c": []}, []),
        ({"a": ["b"], "b": ["c"], "c": ["b"]}, ["b", "c", "b"]),
        ({"a": ["b"], "b": ["c", "d"], "c": ["a"], "d": ["b"]}, ["b", "d", "b"]),
    ],
)
def test_a_circle_is_found(graph: dict[str, list[str]], found: list[str]) -> None:
    assert circle(graph) == found


def test_few_know_the_proxy() -> None:
    """The server runs without it."""
    knowing = [
        f"{module} imports {target}"
        for module, targets in IMPORTS.items()
        for target in targets
        if is_in(target, "rest_proxy") and not any(is_in(module, room) for room in KNOW_THE_PROXY)
    ]
    assert knowing == []


def test_the_client_knows_the_contract_and_thrift_alone() -> None:
    """It is used where the server is not installed; NumPy it does without (tests/predictor_client/test_alone.py)."""
    tops = {
        target.partition(".")[0]
        for module, targets in IMPORTS.items()
        for target in targets
        if is_in(module, "predictor_client")
    }
    assert tops - set(sys.stdlib_module_names) == {"numpy", "predictor", "predictor_client", "thrift"}


def test_nothing_of_the_service_knows_the_client() -> None:
    knowing = [
        module
        for module, targets in IMPORTS.items()
        if not is_in(module, "predictor_client") and any(is_in(target, "predictor_client") for target in targets)
    ]
    assert knowing == []


def test_the_extension_knows_nothing_of_ours() -> None:
    known = [
        target for module, targets in IMPORTS.items() if is_in(module, "ext") for target in targets if room_of(target)
    ]
    assert [target for target in known if not is_in(target, "ext")] == []


@pytest.mark.parametrize("folder", FOLDERS)
def test_a_folder_is_seen_at_a_glance(folder: str) -> None:
    entries = [path.name for path in (ROOT / folder).iterdir() if path.name not in ("__pycache__", "__init__.py")]
    assert len(entries) <= MOST_ENTRIES, sorted(entries)
