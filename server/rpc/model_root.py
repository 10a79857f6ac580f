"""The folder below which models may be loaded over RPC."""

from __future__ import annotations

from typing import TYPE_CHECKING

from process.files import resolved
from server.errors import invalid_argument

if TYPE_CHECKING:
    from pathlib import Path

_SETTING = "model_root"


class ModelRoot:
    """`folder` is None where loading over RPC is off."""

    def __init__(self, folder: Path | None) -> None:
        self._folder = folder

    def require(self) -> Path:
        """The folder. Raises INVALID_ARGUMENT when there is none."""
        if self._folder is None:
            raise invalid_argument("loading and unloading over RPC is off", setting=_SETTING)
        return self._folder.resolve()

    def path_of(self, location: str) -> Path:
        """Where `location` lies, relative to the folder or not. Raises INVALID_ARGUMENT when that is outside of it."""
        root = self.require()
        try:
            path = resolved(root / location)
        except (OSError, ValueError) as error:  # links in a circle, a NUL
            raise invalid_argument(str(error), field="location") from None
        if not path.is_relative_to(root):
            raise invalid_argument("lies outside of the folder for models", field="location", setting=_SETTING)
        return path
