"""Files and folders: which kind of model they hold, and their versions."""

from __future__ import annotations

import asyncio
import hashlib
import subprocess
from typing import TYPE_CHECKING

import pytest

from server.config import Settings
from server.errors import ModelError
from server.models import kinds

if TYPE_CHECKING:
    from pathlib import Path


async def test_version_of_a_file(tmp_path: Path) -> None:
    path = tmp_path / "model.pt"
    path.write_bytes(b"abc")
    assert await kinds.version_of(path) == hashlib.sha256(b"abc").hexdigest()[:12]


async def test_version_of_a_folder_is_that_of_all_its_files(tmp_path: Path) -> None:
    (tmp_path / "deep" / "er").mkdir(parents=True)
    (tmp_path / "b").write_bytes(b"first")
    (tmp_path / "deep" / "a").write_bytes(b"second")
    (tmp_path / "deep" / "er" / "c").write_bytes(b"")
    version = await kinds.version_of(tmp_path)
    listed = await asyncio.to_thread(subprocess.check_output, ["sha256sum", "b", "deep/a", "deep/er/c"], cwd=tmp_path)
    assert version == hashlib.sha256(listed).hexdigest()[:12]
    (tmp_path / "deep" / "a").rename(tmp_path / "deep" / "d")
    assert await kinds.version_of(tmp_path) != version


async def test_a_folder_without_a_model_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="no kind of model that this server knows is in this folder"):
        kinds.check(tmp_path)
    with pytest.raises(ModelError, match="no kind of model that this server knows is in this folder"):
        await kinds.load(tmp_path, Settings())
