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

from process.command_line import called_as
from process.options import KEY_FIELD, MAX_ERRORS, ON_ERROR
from process.version import VERSION_LINE
from server.batch.methods.local_executors import result_fields
from server.batch.methods.text_methods import TEXT_METHODS
from server.batch.state.job import JobRequest
from server.batch.storage.locations import absolute
from server.hub.location import is_hub
from server.tensorflow.location import is_saved_model

if TYPE_CHECKING:
    from collections.abc import Sequence

_STATE = "~/.local/state/predictor/batch"
_ON_ERROR = {"fail": OnError.FAIL, "record": OnError.RECORD}
_USAGE = "{program} --model LOCATION --input LOCATION --output LOCATION [OPTIONS]"
_EPILOG = """
examples:
  {program} --model models/classifier.pt --input in/ --output out/
  {program} --model models/half_plus_two --input gs://bucket/in/ --output gs://bucket/out --on-error record
  {program} --model hf://OWNER/NAME --method embed --input in/ --output out/
  {program} --model models/generator --method generate --input prompts.jsonl --output out --runner ray

A line of the input is JSON: the text itself, or an object that has it as "doc" (predict), "message" (reply), "text"
(embed) or "prompt" (generate); for a SavedModel one instance of TensorFlow Serving's REST API. Files named *.gz are
compressed with gzip, and so are their results. Blank lines are skipped. Settings of the server are read from
PREDICTOR_... variables.

Run the same command again to resume after an interruption or a failure. Exit status: 0 completed, 1 failed, 2 wrong
options, 130 interrupted.
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
    parser = _parser()
    given = parser.parse_args(arguments)
    if given.max_errors is not None and given.on_error != "record":
        parser.error("argument --max-errors: can only be given with --on-error record")
    if given.runner != "ray" and (given.address is not None or given.workers is not None):
        parser.error("arguments --address and --workers: can only be given with --runner ray")
    if given.key_field == "":
        parser.error("argument --key-field: is empty")
    location = absolute(given.model)
    elsewhere = "://" in location and not is_hub(location)
    is_saved_model = given.method == "predict" and (elsewhere or is_saved_model_at(location))
    request = JobRequest(
        method=given.method,
        model=location if is_saved_model else MODEL_NAME,
        input=absolute(given.input),
        output=absolute(given.output),
        on_error=_ON_ERROR[given.on_error],
        max_errors=given.max_errors,
        key_field=given.key_field,
    )
    if request.key_field in (taken := result_fields(request)):
        parser.error(f"argument --key-field: must be none of the results' own fields ({', '.join(taken)})")
    identity = hashlib.sha256(json.dumps([location, asdict(request)]).encode()).hexdigest()[:16]
    try:
        state = (given.state or _state_folder()) / f"{identity}.db"
    except RuntimeError:
        parser.error("argument --state: must be given, as the user has no home folder")
    model = None if is_saved_model else location
    return Options(request, model, state, given.fresh, given.runner, given.address, given.workers)


def _parser() -> argparse.ArgumentParser:
    program = called_as("server.batch", "predictor-batch")
    parser = argparse.ArgumentParser(
        prog=program,
        usage=_USAGE.replace("{program}", program),
        description="Predict every line of every file, without a server.",
        epilog=_EPILOG.replace("{program}", program),
        formatter_class=argparse.RawDescriptionHelpFormatter,
        add_help=False,
    )
    add = parser.add_argument_group("what to predict").add_argument
    add("--model", required=True, metavar="LOCATION", help="A model as the server loads it, or a SavedModel.")
    add("--input", required=True, metavar="LOCATION", help="A file, or everything below a location that ends in /.")
    add("--output", required=True, metavar="LOCATION", help="A folder, where results get their inputs' relative paths.")
    methods = f"{', '.join(TEXT_METHODS)}. Default: predict."
    add("--method", choices=TEXT_METHODS, default="predict", metavar="METHOD", help=methods)
    add("--key-field", metavar="NAME", help=KEY_FIELD.help)
    add = parser.add_argument_group("errors").add_argument
    on_error = f"{ON_ERROR.help} Default: {ON_ERROR.default}."
    add("--on-error", choices=_ON_ERROR, default=ON_ERROR.default, metavar="fail|record", help=on_error)
    add("--max-errors", type=_count, metavar="N", help=MAX_ERRORS.help)
    add = parser.add_argument_group("where it runs").add_argument
    runner = "In this process (the default), or on a Ray cluster."
    add("--runner", choices=("embedded", "ray"), default="embedded", metavar="embedded|ray", help=runner)
    add("--address", metavar="HOST:PORT", help="Of the Ray cluster, or auto. Default: a new one on this machine.")
    add("--workers", type=_count, metavar="N", help="Of a new Ray cluster. Default: one for each core.")
    add = parser.add_argument_group("state").add_argument
    add("--state", type=Path, metavar="FOLDER", help=f"Keep the job's progress here. Default: {_STATE}.")
    add("--fresh", action="store_true", help="Start over instead of resuming.")
    add("--version", action="version", version=VERSION_LINE, help="Print the version and exit.")
    add("--help", "-h", action="help", help="Show this and exit.")
    return parser


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
        raise argparse.ArgumentTypeError(f"must be at least 0, got {text}")
    return number
