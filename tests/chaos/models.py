"""The models that are served meanwhile: a small one with random weights for every method."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.e2e.folders import made
from tests.support.folders import chats
from tests.support.generators import train_tiny
from tests.support.shared import SharedFiles
from tests.support.smart_reply_models import small_parts
from tests.support.zoo import save_named

if TYPE_CHECKING:
    from pathlib import Path

RELOADED = ("classifier", "encoder", "reranker", "generator", "chat", "replies")


def models(folder: Path) -> dict[str, Path]:
    """Name -> file or folder, all of them below `folder`, where they stay for the next run."""
    folder.mkdir(parents=True, exist_ok=True)
    files = SharedFiles(folder)
    return {
        "classifier": files.made("zoo/doc_model.pt", lambda path: save_named("doc_model", path.parent)),
        "poison": files.made("zoo/poison.pt", lambda path: save_named("poison", path.parent)),
        "replies": files.made("replies.tflite", lambda path: path.write_bytes(small_parts().graph())),
        "generator": files.made("tiny_generator", train_tiny),
        "chat": chats.made(files, "smollm"),
        **made(files, ("encoder", "tags", "reranker", "splade")),
    }
