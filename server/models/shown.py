"""What callers see of where models lie: not the folders of this machine."""

from __future__ import annotations

from pathlib import Path

from server.models.kinds import is_remote
from server.models.options import without_options


def shown_location(location: str, root: Path | None) -> str:
    """A model's location as it was given, but of an absolute path what is below `root`, or else its last part."""
    text = without_options(location)
    if is_remote(text) or not Path(text).is_absolute():
        return location
    path = Path(text)
    shown = path.name
    if root is not None and path.is_relative_to(root.resolve()):
        shown = str(path.relative_to(root.resolve()))
    return shown + location[len(text) :]


def without_folders(message: str, location: str) -> str:
    """What is wrong with the model there, without the path of the folder that it lies in."""
    text = without_options(location)
    if is_remote(text) or not Path(text).is_absolute():
        return message
    path = Path(text)
    parents = dict.fromkeys(f"{folder}/" for folder in (path.parent, path.resolve().parent))
    for folder in parents:
        if folder != "//":
            message = message.replace(folder, "")
    return message
