"""How much one client may send, and how long it may take."""

from __future__ import annotations

from dataclasses import make_dataclass
from typing import TYPE_CHECKING

from server import config

if TYPE_CHECKING:
    from server.config import Limits as Limits
else:
    # Read several times a message: a pydantic model's fields take four times as long.
    Limits = make_dataclass(
        "Limits",
        [(name, field.annotation, field.default) for name, field in config.Limits.model_fields.items()],
        frozen=True,
        slots=True,
    )


def limits_of(settings: config.Limits) -> Limits:
    """The transport's limits, which server.config declares: each a setting of the same name."""
    return Limits(**{name: getattr(settings, name) for name in config.Limits.model_fields})
