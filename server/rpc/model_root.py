"""Where models may be loaded from over RPC: below a folder, and by their names on the hub."""

from __future__ import annotations

from fnmatch import fnmatchcase
from typing import TYPE_CHECKING

from process.files import resolved
from server.errors import ModelError, invalid_argument
from server.hub import location as hub
from server.models.kinds import is_remote
from server.models.options import without_options

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

_SETTING = "model_root"
_HUB_SETTING = "hub_models"


class ModelRoot:
    """`folder` is None where no local model is loaded over RPC; `hub_models` are names or patterns of names."""

    def __init__(self, folder: Path | None, hub_models: Sequence[str] = ()) -> None:
        self._folder = folder
        self._hub_models = hub_models

    def require_on(self) -> None:
        """Raise INVALID_ARGUMENT where loading and unloading over RPC is off."""
        if not self._hub_models:
            self.require()

    def location_of(self, location: str) -> str:
        """What the registry loads. Raises INVALID_ARGUMENT for what may not be loaded."""
        if hub.is_hub(location):
            return self._of_hub(location)
        if is_remote(without_options(location)):
            raise invalid_argument(
                "a model on another server is named when this one starts (--model NAME=LOCATION)", field="location"
            )
        return str(self.path_of(location))

    def _of_hub(self, location: str) -> str:
        self.require_on()
        try:
            model = hub.parse_location(without_options(location))
        except ModelError as error:
            raise invalid_argument(str(error), field="location") from None
        if not any(fnmatchcase(model.name, pattern) for pattern in self._hub_models):
            raise invalid_argument(f"{model.name} may not be loaded", field="location", setting=_HUB_SETTING)
        return location

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
        except OSError as error:  # links in a circle
            raise invalid_argument(error.strerror or "cannot be read", field="location") from None
        except ValueError as error:  # a NUL
            raise invalid_argument(str(error), field="location") from None
        if not path.is_relative_to(root):
            raise invalid_argument("lies outside of the folder for models", field="location", setting=_SETTING)
        return path
