"""The options of `python -m server.batch`."""

from __future__ import annotations

import argparse
import hashlib
import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from predictor.ttypes import OnError

from process.version import VERSION_LINE
from server.batch.methods.text_methods import TEXT_METHODS
from server.batch.state.job import JobRequest
from server.batch.storage.locations import absolute
from server.tensorflow.location import is_saved_model

if TYPE_CHECKING:
    from collections.abc import Sequence

_STATE = "~/.local/state/predictor/batch, or below $XDG_STATE_HOME"
_ON_ERROR = {"fail": OnError.FAIL, "record": OnError.RECORD}
_EPILOG = """
Each line of the input is JSON: the text itself, or an object with it as "doc" (predict), "message" (reply), "text"
(embed) or "prompt" (generate); for a SavedModel one instance, as TensorFlow Serving's REST API takes them. Files whose
names end in .gz are packed. Blank lines are skipped.

Interrupted or failed, the same command goes on where the files stand. Exit status: 0 all is done; 1 the job has failed;
2 the options are wrong; 130 interrupted. The server's settings are taken from the environment (PREDICTOR_...).
"""


@dataclass(frozen=True, slots=True)
class Options:
    """What the command line says."""

    request: JobRequest
    model: str | None
    """Of the request: what is loaded; None for a SavedModel, whose location the request has."""
    state: Path
    """Where the job's state is kept until it has completed."""
    fresh: bool
    runner: str
    address: str | None
    """Of a Ray cluster; None: a new one."""
    workers: int | None


def parse_arguments(arguments: Sequence[str] | None = None) -> Options:
    """The options; ends the program when they are wrong."""
    parser = argparse.ArgumentParser(
        prog="python -m server.batch",
        description="Predicts every line of every file, without a server.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("--version", action="version", version=VERSION_LINE)
    add("--model", required=True, metavar="LOCATION", help="a model as the server loads it, or a SavedModel")
    add("--input", required=True, metavar="LOCATION", help="a file, or everything below a location that ends in /")
    add("--output", required=True, metavar="LOCATION", help="a folder: the same paths and names appear below it")
    add("--method", choices=TEXT_METHODS, default="predict", help="(default: predict)")
    add("--on-error", choices=_ON_ERROR, default="fail", help="what a bad line does to the job (default: fail)")
    add("--max-errors", type=_count, metavar="N", help="with record: more of them fail the job (default: any number)")
    add("--key-field", metavar="NAME", help="a field of each line that is carried into its result")
    add("--runner", choices=("embedded", "ray"), default="embedded", help="this process, or a Ray cluster's workers")
    add("--address", metavar="ADDRESS", help="with ray: the cluster's, HOST:PORT or auto (default: a new one, here)")
    add("--workers", type=_count, metavar="N", help="with ray, without --address: workers (default: one for each core)")
    add("--state", type=Path, metavar="FOLDER", help=f"where the job's progress is kept (default: {_STATE})")
    add("--fresh", action="store_true", help="begin anew instead of going on")
    given = parser.parse_args(arguments)
    if given.max_errors is not None and given.on_error != "record":
        parser.error("argument --max-errors: goes with --on-error record only")
    if given.runner != "ray" and (given.address is not None or given.workers is not None):
        parser.error("arguments --address and --workers: go with --runner ray only")
    if given.key_field == "":
        parser.error("argument --key-field: is empty")
    location = absolute(given.model)
    saved = given.method == "predict" and ("://" in location or is_saved_model_at(location))
    request = JobRequest(
        method=given.method,
        model=location if saved else MODEL_NAME,
        input=absolute(given.input),
        output=absolute(given.output),
        on_error=_ON_ERROR[given.on_error],
        max_errors=given.max_errors,
        key_field=given.key_field,
    )
    identity = hashlib.sha256(json.dumps([location, asdict(request)]).encode()).hexdigest()[:16]
    try:
        state = (given.state or _state_folder()) / f"{identity}.db"
    except RuntimeError:
        parser.error("argument --state: must be given, as the user has no home folder")
    loads = None if saved else location
    return Options(request, loads, state, given.fresh, given.runner, given.address, given.workers)


MODEL_NAME = "model"


def is_saved_model_at(location: str) -> bool:
    """Whether a local location is a SavedModel's folder."""
    try:
        return Path(location).is_dir() and is_saved_model(Path(location))
    except OSError:
        return False


def _state_folder() -> Path:
    """As the XDG Base Directory Specification has it. Raises RuntimeError."""
    base = os.environ.get("XDG_STATE_HOME")
    return (Path(base) if base else Path.home() / ".local" / "state") / "predictor" / "batch"


def _count(text: str) -> int:
    number = int(text)
    if number < 0:
        raise argparse.ArgumentTypeError(f"{text} is below 0")
    return number
