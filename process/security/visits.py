"""Whose request is answered now, for code that gets it from nobody."""

from __future__ import annotations

from contextvars import ContextVar
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from process.security.access import Visit

VISIT: ContextVar[Visit | None] = ContextVar("visit", default=None)
