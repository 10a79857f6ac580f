#!/usr/bin/env python3
"""Look for known vulnerabilities in what is installed: `make audit`.

    build/audit/bin/python scripts/audit.py .venv

Asks pip-audit, which must be installed beside this Python, about every package of a virtual environment but our own.
Its database is the package index's, over the network. First it is asked about a package that is known to have
vulnerabilities: where it knows of none, it cannot be reached, and silence would mean nothing.

Exit status: 0 no vulnerability is known, 1 some are, or a package could not be looked up, 2 nothing could be looked up.
"""

from __future__ import annotations

import importlib.metadata
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

OWN = "predictor-service"
KNOWN = "jinja2==2.10"  # CVE-2019-10906 and others
_FOUND, _UNREACHABLE = 1, 2


class AuditError(Exception):
    """The database cannot be asked; the message says why."""


def main(venv: Path) -> int:
    """The exit status."""
    packages = installed(venv)
    try:
        if not any(found.get("vulns") for found in audit([KNOWN])):
            raise AuditError(f"it knows no vulnerability of {KNOWN}, which has some")
        found = audit(packages)
    except AuditError as error:
        print("error: NOTHING WAS AUDITED: the database of vulnerabilities cannot be asked", file=sys.stderr)
        print(f"{error}\nIt needs the network; behind a proxy set HTTPS_PROXY.", file=sys.stderr)
        return _UNREACHABLE
    return report(found, len(packages))


def report(found: list[dict[str, Any]], count: int) -> int:
    """Print what was found of so many packages; the exit status."""
    vulnerable = [package for package in found if package.get("vulns")]
    skipped = [package for package in found if package.get("skip_reason")]
    for package in vulnerable:
        for each in package["vulns"]:
            names = ", ".join([each["id"], *each.get("aliases", ())])
            mended = ", ".join(each.get("fix_versions", ())) or "no version"
            print(f"{package['name']} {package['version']}: {names}; mended in {mended}")
    for package in skipped:
        print(f"{package['name']}: not audited: {package['skip_reason']}")
    missing = count - len(found)
    if missing > 0:
        print(f"{missing} packages: not audited: pip-audit does not say why")
    print(f"{count - len(skipped) - max(0, missing)} packages audited, {len(vulnerable)} with known vulnerabilities")
    return _FOUND if vulnerable or skipped or missing > 0 else 0


def audit(packages: list[str]) -> list[dict[str, Any]]:
    """What pip-audit tells of each of the packages, NAME==VERSION. Raises AuditError."""
    with tempfile.NamedTemporaryFile("w", suffix=".txt") as file:
        file.write("\n".join(packages))
        file.flush()
        program = Path(sys.executable).with_name("pip-audit")
        options = ("--no-deps", "--disable-pip", "--progress-spinner=off", "--format=json")
        done = subprocess.run([program, *options, "-r", file.name], capture_output=True, text=True)
    try:
        found: list[dict[str, Any]] = json.loads(done.stdout)["dependencies"]
    except (ValueError, KeyError, TypeError):
        said = done.stderr.strip().splitlines()[-1:] or ["it says nothing"]
        raise AuditError(f"pip-audit ended with {done.returncode}: {said[0]}") from None
    return found


def installed(venv: Path) -> list[str]:
    """NAME==VERSION of each package; without the local part of a version, such as +cpu, which no index knows."""
    found = {
        (distribution.name.lower(), distribution.version.partition("+")[0])
        for distribution in importlib.metadata.distributions(
            path=[str(path) for path in venv.glob("lib/python*/site-packages")]
        )
    }
    return [f"{name}=={version}" for name, version in sorted(found) if name != OWN]


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
