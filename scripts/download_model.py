#!/usr/bin/env python3
"""Download a model by its name on a model hub, as a folder that the server serves as it is.

    python scripts/download_model.py BAAI/bge-small-en-v1.5            # to models/bge-small-en-v1.5
    python scripts/download_model.py OWNER/NAME FOLDER --revision v1.0
    python scripts/download_model.py OWNER/NAME --dry-run              # which files, how large, and is it served?

The configuration comes first: what the server would refuse is refused before any weights come. Then come the files that
the server reads, and no copies for other frameworks. Each is compared with the hub's checksum. The folder appears when
all are there; after an interruption the same command goes on where it was.

--file takes files as they are, and looks at nothing: python scripts/download_model.py OWNER/NAME --file NAME-Q8_0.gguf

The environment says more, as for Hugging Face's own tools: HF_TOKEN for gated and private models, HF_ENDPOINT for
another hub, HF_HUB_DOWNLOAD_TIMEOUT for the seconds of silence that are too many. `python -m server hf://OWNER/NAME`
does the same by itself, into a cache.

Exit status: 0 done, 1 it cannot be had or served, 2 wrong options, 130 interrupted.
"""

from __future__ import annotations

import argparse
import os
import shutil
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, TextColumn, TimeRemainingColumn, TransferSpeedColumn
from rich.progress import Progress as Bar

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from process import logs
from process.files import replacing
from server.config import Settings
from server.errors import ModelError
from server.hub import location as hub
from server.hub.progress import LOG_EVERY_S, Progress
from server.hub.stop import Stop
from server.models import kinds
from server.models.from_hub import Download

if TYPE_CHECKING:
    from collections.abc import Sequence

    from server.hub.files import HubFile

_BAR_EVERY_S = 0.25
_REFRESHES = 4
_MODELS = Path("models")


def download(options: argparse.Namespace, progress: Progress) -> None:
    """Make the folder. Raises ModelError, OSError."""
    target: Path = options.output
    if target.exists():
        raise ModelError(f"{target} is there already: move it away, or name another folder")
    beginnings = target.parent / f".{target.name}.download"
    loader = _download(options, beginnings, progress)
    files = loader.named(options.file) if options.file else loader.fetched().files
    with replacing(target) as made:
        for file in files:
            (made / file.name).parent.mkdir(parents=True, exist_ok=True)
            os.link(loader.blob(file), made / file.name)
    shutil.rmtree(beginnings)


def show_plan(options: argparse.Namespace, progress: Progress) -> None:
    """Print which files would come. Raises ModelError, OSError."""
    with tempfile.TemporaryDirectory() as beginnings:
        loader = _download(options, Path(beginnings), progress)
        files: Sequence[HubFile] = loader.listed(options.file) if options.file else loader.planned()
    for file in files:
        print(f"{file.size:15,}  {file.name}")
    print(f"{sum(file.size for file in files):15,}  bytes in all, to {options.output}")


def _download(options: argparse.Namespace, cache: Path, progress: Progress) -> Download:
    settings = Settings.model_construct()  # no variable of a server's is about this
    return Download(
        hub.parse(options.name, options.revision),
        lambda folder: kinds.check_folder(folder, settings),
        Stop(),
        cache=cache,
        max_bytes=sys.maxsize,
        progress=progress,
    )


def parse_arguments(arguments: Sequence[str] | None) -> argparse.Namespace:
    """The options; ends the program when they are wrong."""
    first, _, rest = (__doc__ or "").partition("\n\n")
    parser = argparse.ArgumentParser(
        description=first, epilog=rest, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("name", metavar="NAME", help="OWNER/NAME, or hf://OWNER/NAME[@REVISION]")
    add("output", type=Path, nargs="?", metavar="FOLDER", help="default: models/NAME")
    add("--revision", help=f"branch, tag or commit; default: {hub.MAIN}")
    add("--file", action="append", metavar="NAME", help="this file alone; may be given more than once")
    add("--dry-run", action="store_true", help="list the files and their sizes")
    options = parser.parse_args(arguments)
    try:
        named = hub.parse_location(options.name) if hub.is_hub(options.name) else hub.parse(options.name)
        if options.revision is not None and named.revision not in (hub.MAIN, options.revision):
            parser.error(f"--revision is {options.revision}, and NAME says {named.revision}")
        model = hub.parse(named.name, options.revision or named.revision)
    except ModelError as error:
        parser.error(str(error))
    options.name, options.revision = model
    options.output = options.output or _MODELS / model.short_name
    return options


def main(arguments: Sequence[str] | None = None) -> int:
    """Download; the exit status."""
    options = parse_arguments(arguments)
    logs.configure(logs.LogSettings(log_level="error"))
    console = Console(stderr=True)
    try:
        _run(options, console)
    except ModelError as error:
        console.print(f"{options.name}: {error}", markup=False, highlight=False, style="red", soft_wrap=True)
        return 1
    except OSError as error:
        where = error.filename or options.output
        console.print(f"{where}: {error.strerror or error}", markup=False, highlight=False, style="red", soft_wrap=True)
        return 1
    except KeyboardInterrupt:
        console.print("interrupted: the same command goes on from here", style="red")
        return 130
    return 0


def _run(options: argparse.Namespace, console: Console) -> None:
    if options.dry_run:
        show_plan(options, Progress(lambda _: None, LOG_EVERY_S))
        return
    if console.is_terminal:
        columns = (
            TextColumn("{task.description}"),
            BarColumn(),
            DownloadColumn(),
            TransferSpeedColumn(),
            TimeRemainingColumn(),
        )
        with Bar(*columns, console=console, refresh_per_second=_REFRESHES) as bar:
            task = bar.add_task(options.name, total=None)
            show = Progress(lambda now: bar.update(task, completed=now.done, total=now.total), _BAR_EVERY_S)
            download(options, show)
            bar.update(task, completed=show.done, total=show.total)
    else:
        download(options, Progress(_print, LOG_EVERY_S))
    print(f"{options.output}: " + ("written" if options.file else f"ready for python -m server {options.output}"))


def _print(progress: Progress) -> None:
    """A line for a log."""
    print(
        f"{progress}, {100 * progress.done / max(progress.total, 1):.0f} %, {progress.bytes_per_s / 1e6:.1f} MB/s",
        file=sys.stderr,
        flush=True,
    )


if __name__ == "__main__":
    sys.exit(main())
