"""One unit: what it may cost, and which faults it may not have."""

from __future__ import annotations

import logging
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from structlog.testing import capture_logs

if TYPE_CHECKING:
    from tests.fuzz.targets import Target

CPU_S = 1.0
"""Seconds of processor time that a unit may take."""


class FaultError(Exception):
    """Something happened that nobody foresaw."""


class _Faults(logging.Handler):
    """What libraries log as errors."""

    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self.records: list[logging.LogRecord] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.records.append(record)


def run(target: Target, data: bytes) -> bool:
    """Whether the bytes were right. Raises FaultError, and whatever the target did not catch."""
    faults = _Faults()
    root = logging.getLogger()
    root.addHandler(faults)
    Path("/proc/self/clear_refs").write_text("5")  # else what took most memory before would hide this one
    memory = _peak_bytes()
    began = time.process_time()
    try:
        with capture_logs() as entries:
            right = target.one(data)
    finally:
        root.removeHandler(faults)
    spent_s, grown = time.process_time() - began, _peak_bytes() - memory
    for entry in entries:
        if entry.get("exc_info"):
            _raise(entry)
    for record in faults.records:
        raise FaultError(f"logged: {record.getMessage()}") from (record.exc_info[1] if record.exc_info else None)
    if spent_s > CPU_S:
        raise FaultError(f"it took {spent_s:.2f} s of processor time; {CPU_S:g} are allowed")
    if grown > target.growth_bytes:
        raise FaultError(f"the process grew by {grown >> 20} MiB; {target.growth_bytes >> 20} are allowed")
    return right


def _raise(entry: Any) -> None:
    cause = entry["exc_info"]
    raise FaultError(f"logged: {entry}") from (cause if isinstance(cause, BaseException) else None)


def _peak_bytes() -> int:
    """The most memory since the last unit began."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) << 10 for line in lines if line.startswith("VmHWM:"))
