"""Results need a place of their own: apart from their input, and from the results of jobs that run at the same time."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from server.batch.storage.errors import LocationError
from server.batch.storage.locations import InputFile, Location, output_of, parse

if TYPE_CHECKING:
    from collections.abc import Sequence


def check_apart(input_location: str, output: str) -> None:
    """Raises LocationError when the results would lie among the input or in its place.

    That is what can be known before the input is listed.
    """
    read, written = parse(input_location), parse(output)
    if (read.scheme, read.bucket) != (written.scheme, written.bucket):
        return
    source, target = _comparable(read), _comparable(written)
    if read.is_folder:
        within = target == source or target.startswith(f"{source}/")
    else:
        within = f"{target}/{read.name}" == source
    if within:
        raise _within(output, input_location)


def result_of(input_location: str, output: str) -> str | None:
    """Where the results of an input that is one file go, None for a folder's. Raises LocationError."""
    read = parse(input_location)
    return None if read.is_folder else output_of(InputFile(input_location, read.name, None), output)


def check_outputs_apart(input_location: str, files: Sequence[InputFile], output: str) -> None:
    """Raises LocationError when one of the files' results would lie among the input or in its place."""
    read, written = parse(input_location), parse(output)
    if (read.scheme, read.bucket) != (written.scheme, written.bucket):
        return
    folder = f"{_comparable(read)}/" if read.is_folder else None
    sources = {_comparable(parse(file.location)) for file in files}
    for file in files:
        location = output_of(file, output)
        target = _comparable(parse(location))
        if target in sources or (folder is not None and target.startswith(folder)):
            raise _within(location, input_location)


def results_place(input_location: str, output: str) -> str:
    """Where a job's results go, for results_overlap. Raises LocationError."""
    read, written = parse(input_location), parse(output)
    path = written.path if written.scheme else os.path.realpath(written.path)
    folder = f"{written.scheme}://{written.bucket}/{path.strip('/')}".rstrip("/")
    return f"{folder}/" if read.is_folder else f"{folder}/{read.name}"


def results_overlap(one: str, other: str) -> bool:
    """Whether results of these two places may go to the same files."""
    return any(
        first == second or (first.endswith("/") and second.startswith(first))
        for first, second in ((one, other), (other, one))
    )


def _within(output: str, source: str) -> LocationError:
    return LocationError(f"output {output!r} lies within input {source!r}; results need a place of their own")


def _comparable(location: Location) -> str:
    return (f"/{location.path}" if location.scheme else str(Path(location.path).resolve())).rstrip("/")
