"""A finished run: its medians, its tables, and the JSON file that keeps every round."""

from __future__ import annotations

import json
import os
import platform
import subprocess
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

from benchmarks.checks import Check, checks
from benchmarks.figures import Figures, InProcess, Row, middle, middle_row
from benchmarks.process import ROOT
from benchmarks.table import check_table, model_table, server_table

RESULTS = Path(__file__).parent / "results"


@dataclass
class Report:
    """What was measured so far, round by round."""

    settings: dict[str, object]
    rows: dict[Row, list[Figures]] = field(default_factory=dict)
    alone: list[dict[str, list[InProcess]]] = field(default_factory=list)

    def add(self, row: Row, figures: Figures) -> None:
        """One row of one round."""
        self.rows.setdefault(row, []).append(figures)

    def model_alone(self) -> dict[str, list[InProcess]]:
        """Medians of the model's own figures, by name of the documents."""
        if not self.alone:
            return {}
        return {
            name: [middle(figures) for figures in zip(*(each[name] for each in self.alone), strict=True)]
            for name in self.alone[0]
        }

    def checks(self) -> list[Check]:
        """The verdict on the medians."""
        return checks({row: middle_row(rounds) for row, rounds in self.rows.items()}, self.model_alone())

    def markdown(self) -> str:
        """All tables."""
        parts = [machine_line(), server_table(self.rows)]
        if self.alone:
            parts += ["The model alone, in one process, no server:", model_table(self.model_alone())]
        if verdict := self.checks():
            parts.append(check_table(verdict))
        return "\n\n".join(parts)

    def save(self, path: Path | None) -> Path:
        """Write every round as JSON, without a path to a new file under benchmarks/results; the file's path."""
        now = datetime.now(UTC)
        content = {
            "time": now.isoformat(timespec="seconds"),
            "machine": machine_line(),
            "commit": _commit(),
            "settings": self.settings,
            "rows": [asdict(row) | {"rounds": [asdict(each) for each in rounds]} for row, rounds in self.rows.items()],
            "model_alone": [{name: [asdict(f) for f in figures] for name, figures in r.items()} for r in self.alone],
            "checks": [asdict(check) for check in self.checks()],
        }
        path = path or RESULTS / f"{now:%Y%m%d-%H%M%S}.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
        return path


def machine_line() -> str:
    """Processor, cores, versions and load, for whoever compares two runs."""
    models = [line for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name")]
    processor = models[0].partition(":")[2].strip() if models else platform.machine()
    return (
        f"{processor}, {os.cpu_count()} cores, Linux {platform.release()}, Python {platform.python_version()}, "
        f"torch {version('torch')}, load average {os.getloadavg()[0]:.1f}"
    )


def _commit() -> str:
    command = ["git", "-C", str(ROOT), "describe", "--always", "--dirty"]
    return subprocess.run(command, capture_output=True, text=True).stdout.strip()
