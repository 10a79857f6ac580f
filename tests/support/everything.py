"""A server with a small model for every method of the contract, and for jobs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.e2e.folders import made
from tests.support.folders import chats
from tests.support.generators import train_tiny
from tests.support.service import Service
from tests.support.smart_reply_models import google_model

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.support.shared import SharedFiles


def service(shared_files: SharedFiles, zoo: Callable[[str], Path], folder: Path, *flags: str) -> Service:
    """Not started yet. Jobs may read and write below `folder`."""
    models = {
        "classifier": zoo("doc_model"),
        "replies": google_model(),
        "generator": shared_files.made("tiny_generator", train_tiny),
        "chat": chats.made(shared_files, "smollm"),
        **made(shared_files, ("encoder", "topics", "tags", "reranker", "splade", "colbert")),
    }
    return Service(
        *(f"--model={name}={path}" for name, path in models.items()),
        f"--batch-roots={folder}",
        f"--jobs-db={folder / 'jobs.sqlite'}",
        *flags,
    )
