#!/usr/bin/env python3
"""Leave in an environment what serving needs: what the image is made of. Run by that environment's own Python.

    /opt/predictor/bin/python scripts/slim_environment.py [EXTRAS]

What goes: packages that neither the service nor its EXTRAS need, those that only torch's Python part needs among them
(the engines link libtorch, and never import torch); of torch everything but its libraries, and of these, in a build for
processors alone, those that no engine loads; headers, static libraries and tests; the symbols that debuggers read. Says
at the end how large the environment is, and its largest packages.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
import sysconfig
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

SERVICE = "predictor-service"
SITE = Path(sysconfig.get_path("platlib"))
# What a package declares and the service does not use: torch's Python part; the hub's second protocol, which cannot
# resume a file.
_UNUSED = {"torch": "*", "huggingface-hub": "hf-xet"}
_LIBRARIES_OF_CARDS = ("nvidia-", "cuda-")
_LISTED = 12


def needed(extras: Iterable[str], installed: dict[str, metadata.Distribution], cards: bool) -> set[str]:
    """The names of what the service and its extras need, the service's own among them."""
    found: dict[str, set[str]] = {}
    waiting = [(SERVICE, {"", *extras})]
    while waiting:
        name, wanted = waiting.pop()
        if name not in installed or wanted <= found.get(name, set()):
            continue
        found[name] = wanted | found.get(name, set())
        for text in installed[name].requires or ():
            requirement = Requirement(text)
            other = canonicalize_name(requirement.name)
            if _UNUSED.get(name) in ("*", other) and not (cards and other.startswith(_LIBRARIES_OF_CARDS)):
                continue
            if requirement.marker is None or any(requirement.marker.evaluate({"extra": extra}) for extra in wanted):
                waiting.append((other, {"", *requirement.extras}))
    return set(found)


def remove_package(distribution: metadata.Distribution) -> None:
    """Everything that its list of files names, and the folders that are empty then."""
    folders: set[Path] = set()
    for file in distribution.files or ():
        path = Path(str(file.locate()))
        path.unlink(missing_ok=True)
        folders.update(parent for parent in path.parents if SITE in parent.parents)
    for folder in sorted(folders, key=lambda folder: len(folder.parts), reverse=True):
        if folder.exists() and not any(folder.iterdir()):
            folder.rmdir()


def loaded_libraries() -> set[str]:
    """The names of torch's libraries that a process holds which has imported every engine."""
    program = (
        "import importlib, pathlib, ext\n"
        "for file in pathlib.Path(ext.__path__[0]).glob('_*.so'):\n"
        "    importlib.import_module(f\"ext.{file.name.partition('.')[0]}\")\n"
        "print(pathlib.Path('/proc/self/maps').read_text())\n"
    )
    done = subprocess.run([sys.executable, "-P", "-c", program], check=True, capture_output=True, text=True)
    return {Path(line.split()[-1]).name for line in done.stdout.splitlines() if "/torch/lib/" in line}


def slim_torch(libraries: set[str]) -> None:
    """Of torch its libraries of these names; its metadata stay, which say its version."""
    torch = SITE / "torch"
    for other in ("functorch", "torchgen"):
        if (SITE / other).exists():
            remove(SITE / other)
    for entry in torch.iterdir():
        if entry.name != "lib":
            remove(entry)
    for library in (torch / "lib").iterdir():
        if library.name not in libraries:
            remove(library)


def slim_files() -> None:
    """Headers, static libraries and tests; of libtorch the symbols that no loader reads, a fifth of it."""
    for folder in [*SITE.glob("**/tests"), *SITE.glob("**/include")]:
        if folder.is_dir():
            remove(folder)
    for archive in SITE.glob("**/*.a"):
        remove(archive)
    strip = shutil.which("strip")
    if strip is None:
        sys.exit("error: there is no `strip`, which comes with the compiler (Debian: binutils)")
    subprocess.run([strip, "--strip-unneeded", *(SITE / "torch" / "lib").glob("*.so*")], check=True)


def remove(path: Path) -> None:
    """A file, a link, or a folder with all that it holds."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink()


def size(path: Path) -> int:
    """Bytes in all files below the path; a file with several names counts once."""
    files = [path] if path.is_file() else [file for file in path.rglob("*") if file.is_file()]
    found = {(status.st_dev, status.st_ino): status.st_size for status in (file.lstat() for file in files)}
    return sum(found.values())


def report(prefix: Path) -> str:
    """The size of the environment and of what is largest in it."""
    parts = sorted(((size(entry), entry.name) for entry in SITE.iterdir()), reverse=True)[:_LISTED]
    lines = [f"{bytes_ / 1e6:9,.1f} MB  {name}" for bytes_, name in parts]
    return "\n".join([*lines, f"{size(prefix) / 1e6:9,.1f} MB  {prefix} in all"])


def main(arguments: Sequence[str] | None = None) -> int:
    """Slim the environment of this Python."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("extras", nargs="?", default="", help="those that were installed, with commas")
    extras = [extra for extra in parser.parse_args(arguments).extras.split(",") if extra]
    if sys.prefix == sys.base_prefix:
        print("error: this Python is in no virtual environment, and would lose packages of others", file=sys.stderr)
        return 1
    found = metadata.distributions(path=[str(SITE)])
    installed: dict[str, metadata.Distribution] = {canonicalize_name(each.metadata["Name"]): each for each in found}
    cards = "+cpu" not in installed["torch"].version
    libraries = {path.name for path in (SITE / "torch" / "lib").iterdir()} if cards else loaded_libraries()
    kept = needed(extras, installed, cards)
    for name in installed.keys() - kept:
        remove_package(installed[name])
    slim_torch(libraries)
    slim_files()
    print(report(Path(sys.prefix)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
