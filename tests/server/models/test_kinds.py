"""Files and folders: which kind of model they hold, and their versions."""

from __future__ import annotations

import asyncio
import hashlib
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from server.config import Settings
from server.errors import ModelError
from server.models import kinds
from tests.server.models.test_tflite_model import bits_graph

if TYPE_CHECKING:
    from collections.abc import Callable
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


WITHOUT_TFLITE = """
import asyncio, sys
sys.modules["tflite_runtime"] = sys.modules["ai_edge_litert"] = None
from server.config import Settings
from server.errors import ModelError
from server.models import kinds
print(sorted(name for name in sys.modules if name.startswith("ext._")))

async def main():
    settings = Settings(warm_up_tokens=0, replicas=1)
    model = await kinds.load(sys.argv[1], settings)
    print(model.kind)
    await model.close()
    try:
        await kinds.load(sys.argv[2], settings)
    except ModelError as error:
        print(error)

asyncio.run(main())
"""


def test_a_kind_s_libraries_are_loaded_with_its_first_model(zoo: Callable[[str], Path], tmp_path: Path) -> None:
    """Where the TensorFlow Lite runtime is missing, classifiers are served, and a .tflite file says what is missing."""
    tflite = tmp_path / "any.tflite"
    tflite.write_bytes(bits_graph())
    printed = subprocess.check_output(
        [sys.executable, "-c", WITHOUT_TFLITE, str(zoo("doc_model")), str(tflite)], text=True
    )
    before, *lines, refusal = printed.splitlines()
    assert before == "[]"
    assert "torchscript-classifier" in lines
    assert refusal.startswith(f"{tflite}: a graph other than Smart Reply's needs a")
    assert "pip install" in refusal


async def test_a_folder_without_a_model_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="no kind of model that this server knows is in this folder"):
        kinds.check(tmp_path)
    with pytest.raises(ModelError, match="no kind of model that this server knows is in this folder"):
        await kinds.load(tmp_path, Settings())
