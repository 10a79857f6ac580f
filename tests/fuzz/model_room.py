"""Models that a fuzzer spoils: loaded as the server loads them, and asked once."""

from __future__ import annotations

import asyncio
import shutil
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from server.batch.methods.text_methods import TEXT_METHODS
from server.batch.state.errors import RowError
from server.config import Settings
from server.errors import ModelError, PredictionError
from server.models.capabilities import Capability
from server.models.folder import load as folder_load
from server.models.options import NO_OPTIONS
from server.models.requests import RequestContext
from tests.e2e.folders import WRITERS
from tests.server.waiting import result
from tests.support.folders import chats

if TYPE_CHECKING:
    from tests.support.shared import SharedFiles

SETTINGS = Settings(
    replicas=1,
    threads=1,
    slots=1,
    warm_up_tokens=0,
    max_tokens=64,
    max_output_tokens=8,
    cache_bytes=1 << 20,
)

_IN_MEMORY = Path("/dev/shm")
_ANSWER_S = 30
_SAMPLES: dict[Capability, tuple[str, Any]] = {
    Capability.CLASSIFY: ("predict", {"doc": "a boat and a lamp"}),
    Capability.EMBED: ("embed", {"text": "a boat and a lamp"}),
    Capability.CLASSIFY_TOKENS: ("classify_tokens", {"text": "a boat"}),
    Capability.RERANK: ("rerank", {"query": "a", "texts": ["a boat", "b"]}),
    Capability.EMBED_SPARSE: ("embed_sparse", {"text": "a boat"}),
    Capability.EMBED_TOKENS: ("embed_tokens", {"text": "a boat"}),
    Capability.TOKENIZE: ("tokenize", {"text": "a boat <s> [CLS]"}),
    Capability.GENERATE: ("generate", {"prompt": "a boat", "max_tokens": 4, "temperature": 0.0}),
}


class ModelRoom:
    """Copies of folders, in memory where that can be, and the loop that loads them."""

    def __init__(self, files: SharedFiles, *names: str) -> None:
        """`names`: of tests/e2e/folders.py, or `generator`."""
        below = _IN_MEMORY if _IN_MEMORY.is_dir() else None
        self._folder = tempfile.TemporaryDirectory(prefix="predictor-fuzz-", dir=below)
        self.path = Path(self._folder.name)
        self.loop = asyncio.new_event_loop()
        for name in names:
            if name == "generator":
                shutil.copytree(chats.made(files, "smollm"), self.path / name)
                (self.path / name / "chat_template.jinja").unlink()  # it would have a process for each unit
            else:
                shutil.copytree(files.made(f"folders/{name}", WRITERS[name]), self.path / name)

    def works(self, path: Path) -> bool:
        """Load what is there and ask it once: whether it answers. Raises what is no refusal."""
        try:
            return self.loop.run_until_complete(self._works(path))
        except (ModelError, OSError):
            return False
        except BaseException as error:
            if type(error).__name__ == "PanicException":  # of tokenizers, in Rust: kinds.load refuses the file
                return False
            raise

    async def _works(self, path: Path) -> bool:
        model = await folder_load.load(path, SETTINGS, NO_OPTIONS)
        try:
            asked = [_SAMPLES[capability] for capability in model.capabilities if capability in _SAMPLES]
            assert asked, model.capabilities
            for name, line in asked:
                method = TEXT_METHODS[name]
                context = RequestContext(0, time.monotonic_ns() + _ANSWER_S * 10**9, None)
                try:
                    method.result(await result(method.call(model, method.instance(line), context), 2 * _ANSWER_S))
                except (PredictionError, RowError):
                    return False
        finally:
            await model.close()
        return True

    def close(self) -> None:
        """Remove the copies."""
        self.loop.close()
        self._folder.cleanup()
