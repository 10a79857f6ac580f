#!/usr/bin/env python3
"""List what serving installs, as CycloneDX has it (a software bill of materials): `make sbom`.

    build/audit/bin/python scripts/sbom.py .venv build/sbom.json

cyclonedx-py, which must be installed beside this Python, lists a virtual environment; what is there for building and
tests alone is taken out again: what stays is what pyproject.toml's dependencies need, and theirs.
"""

from __future__ import annotations

import importlib.metadata
import json
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parent.parent


def main(venv: Path, output: Path) -> None:
    """Write the list, and say how many packages it has."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    needed = closure(project["dependencies"], venv)
    bom = pruned(listed(venv), needed)
    output.parent.mkdir(parents=True, exist_ok=True)
    output.write_text(json.dumps(bom, indent=2) + "\n")
    print(f"{output}: {len(bom['components'])} packages that {project['name']} needs")


def closure(requirements: list[str], venv: Path) -> set[str]:
    """The names of the packages that these need, and so on. Raises SystemExit where one is not installed."""
    path = [str(folder) for folder in venv.glob("lib/python*/site-packages")]
    found = {canonicalize_name(each.name): each for each in importlib.metadata.distributions(path=path)}
    seen: set[tuple[str, str]] = set()
    left = [(Requirement(text), "") for text in requirements]
    while left:
        requirement, extra = left.pop()
        if requirement.marker is not None and not requirement.marker.evaluate({"extra": extra}):
            continue
        name = canonicalize_name(requirement.name)
        if name not in found:
            sys.exit(f"error: {name} is needed and not installed in {venv}")
        for wanted in ("", *requirement.extras):
            if (name, wanted) not in seen:
                seen.add((name, wanted))
                left += [(Requirement(text), wanted) for text in found[name].requires or ()]
    return {name for name, _ in seen}


def listed(venv: Path) -> dict[str, Any]:
    """Everything in the environment."""
    program = Path(sys.executable).with_name("cyclonedx-py")
    options = ["environment", "--pyproject", str(ROOT / "pyproject.toml"), "--output-reproducible", "--of", "JSON"]
    done = subprocess.run([program, *options, venv / "bin" / "python"], capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"error: cyclonedx-py ended with {done.returncode}: {done.stderr}")
    bom: dict[str, Any] = json.loads(done.stdout)
    return bom


def pruned(bom: dict[str, Any], needed: set[str]) -> dict[str, Any]:
    """The same list with these packages alone."""
    components = [each for each in bom["components"] if canonicalize_name(each["name"]) in needed]
    kept = {each["bom-ref"] for each in components} | {bom["metadata"]["component"]["bom-ref"]}
    dependencies = [
        {**each, "dependsOn": sorted(set(each.get("dependsOn", ())) & kept)}
        for each in bom.get("dependencies", ())
        if each["ref"] in kept
    ]
    return {**bom, "components": components, "dependencies": dependencies}


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
