#!/usr/bin/env python3
"""Download a GPT-2 by its name on a model hub, for the server to generate from.

    python scripts/download_generator.py gpt2                  # to local_model/gpt2/{model,tokenizer}
    python -m server local_model/gpt2

The hub is Hugging Face's, or one that answers as it does (--hub, or the environment variable HF_ENDPOINT). Files come
whole or not at all, and the folder is looked through as the server would before it is put in place. Where no hub can be
reached, copy a folder from somewhere else, or train one: python scripts/train_generator.py.
"""

from __future__ import annotations

import argparse
import http.client
import os
import re
import sys
import urllib.error
import urllib.request
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TransferSpeedColumn

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from process.files import replacing
from server.errors import ModelError
from server.models import gpt2_folder

if TYPE_CHECKING:
    from collections.abc import Sequence

HUB = "https://huggingface.co"
FOLDER = Path("local_model")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*(/[A-Za-z0-9][A-Za-z0-9._-]*)?")
_REVISION = re.compile(r"[A-Za-z0-9][A-Za-z0-9._/-]*")
_TIMEOUT_S = 30
_PIECE = 1 << 20
_MOST_BYTES = 16 << 30

# What is downloaded, each from the first of the lists all of whose files are there; the folder it goes to.
_WANTED: tuple[tuple[str, tuple[tuple[str, ...], ...]], ...] = (
    ("model", (("config.json",),)),
    ("model", (("generation_config.json",), ())),
    ("model", (("model.safetensors",), ("pytorch_model.bin",))),
    ("tokenizer", (("tokenizer.json",), ("vocab.json", "merges.txt"))),
)


class DownloadError(Exception):
    """The model cannot be had; the message says why and what to do."""


class Hub:
    """Files of one model at one revision."""

    def __init__(self, address: str, name: str, revision: str, progress: Progress) -> None:
        self._base = f"{address.rstrip('/')}/{name}/resolve/{revision}"
        self._address, self._name = address, name
        self._progress = progress

    def fetch(self, file: str, folder: Path) -> bool:
        """Write the file into the folder; False when the hub has none of that name. Raises DownloadError."""
        try:
            with urllib.request.urlopen(f"{self._base}/{file}", timeout=_TIMEOUT_S) as answer:
                self._write(answer, folder / file)
        except urllib.error.HTTPError as error:
            error.close()
            if error.code == 404:
                return False
            if error.code in (401, 403):
                raise DownloadError(
                    f"{self._address} gives {self._name!r} not to everybody (status {error.code}): is the name right?"
                ) from None
            raise DownloadError(f"{self._address} answers {error.code} {error.reason} to {file}") from None
        except (OSError, ValueError, http.client.HTTPException) as error:
            reason = getattr(error, "reason", None) or error or type(error).__name__
            raise DownloadError(
                f"no model hub can be reached at {self._address}: {reason}. Name another one with --hub, copy a folder"
                " from a machine that has one, or train a model: python scripts/train_generator.py"
            ) from None
        return True

    def _write(self, answer: http.client.HTTPResponse, path: Path) -> None:
        length = answer.headers.get("Content-Length")
        total = int(length) if length is not None else None
        task = self._progress.add_task(path.name, total=total)
        done = 0
        with path.open("wb") as file:
            while piece := answer.read(_PIECE):
                done += len(piece)
                if done > _MOST_BYTES:
                    raise DownloadError(f"{path.name} has more than {_MOST_BYTES} bytes")
                file.write(piece)
                self._progress.update(task, completed=done)
        if total is not None and done != total:
            raise DownloadError(f"{path.name} ended after {done} of {total} bytes; try again")


def download(hub: Hub, name: str, target: Path) -> None:
    """Make the folder `target`. Raises DownloadError, OSError."""
    if target.exists():
        raise DownloadError(f"{target} is there already")
    with replacing(target) as made:
        for folder, choices in _WANTED:
            (made / folder).mkdir(parents=True, exist_ok=True)
            if not any(all(hub.fetch(file, made / folder) for file in files) for files in choices):
                wanted = " or ".join(" and ".join(files) for files in choices if files)
                raise DownloadError(f"the hub has no {wanted} of {name!r}: is it the name of a GPT-2?")
        try:
            gpt2_folder.read(made)
        except ModelError as error:
            raise DownloadError(f"{name} cannot be served: {error}") from None


def parse_arguments(arguments: Sequence[str] | None) -> argparse.Namespace:
    """The options; ends the program when they are wrong."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("name", metavar="NAME", help="gpt2, distilgpt2, OWNER/NAME ...")
    add("--output", type=Path, metavar="FOLDER", help="default: local_model/NAME")
    add("--revision", default="main", help="branch, tag or commit; default: %(default)s")
    add("--hub", default=os.environ.get("HF_ENDPOINT", HUB), metavar="URL", help="default: %(default)s")
    options = parser.parse_args(arguments)
    if not _NAME.fullmatch(options.name):
        parser.error(f"NAME: {options.name!r} is no name of a model")
    if not _REVISION.fullmatch(options.revision) or ".." in options.revision:
        parser.error(f"--revision: {options.revision!r} is no name of a revision")
    if not options.hub.startswith(("http://", "https://")):
        parser.error("--hub: expected an address that begins with http:// or https://")
    options.output = options.output or FOLDER / options.name.rpartition("/")[2]
    return options


def main(arguments: Sequence[str] | None = None) -> int:
    """Download; the exit status."""
    options = parse_arguments(arguments)
    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn())
    try:
        with Progress(*columns, console=console) as progress:
            download(Hub(options.hub, options.name, options.revision, progress), options.name, options.output)
    except (DownloadError, OSError) as error:
        console.print(str(error), markup=False, highlight=False, style="red", soft_wrap=True)
        return 1
    except KeyboardInterrupt:
        return 130
    print(f"{options.output}: ready for python -m server {options.output}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
