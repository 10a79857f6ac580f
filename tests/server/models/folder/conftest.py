"""Small folders, made once for a module's tests, and models that are closed after a test."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from server.config import Settings
from server.models import kinds

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable
    from pathlib import Path

    Made = Callable[..., Path]
    Open = Callable[..., Awaitable[Any]]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    """made(write, ...): the folder that write(folder, ...) writes; the same for the same arguments."""
    folders: dict[str, Path] = {}

    def make(write: Callable[..., object], *arguments: Any, **options: Any) -> Path:
        key = repr((write.__name__, arguments, options))
        if key not in folders:
            folder = tmp_path_factory.mktemp(write.__name__)
            write(folder, *arguments, **options)
            folders[key] = folder
        return folders[key]

    return make


@pytest.fixture
async def opened() -> AsyncIterator[Open]:
    """opened(folder, options="", ...settings): the loaded model."""
    models: list[Any] = []

    async def load(folder: Path, options: str = "", **settings: Any) -> Any:
        given = {"warm_up_tokens": 0, "replicas": 1} | settings
        models.append(await kinds.load(f"{folder}{options}", Settings(**given)))
        return models[-1]

    yield load
    for model in models:
        await model.close()
