"""A model's version and state in TensorFlow Serving's words."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from predictor.ttypes import ModelState

if TYPE_CHECKING:
    from predictor.ttypes import ModelInfo

_STATES = {
    ModelState.READY: "AVAILABLE",
    ModelState.LOADING: "LOADING",
    ModelState.UNLOADING: "UNLOADING",
    ModelState.FAILED: "END",
}


def version_number(info: ModelInfo) -> str:
    """A model's version as TensorFlow Serving has versions: a number, here the one whose hexadecimal digits it is."""
    try:
        return str(int(info.version, 16))
    except ValueError:  # it has none
        return "0"


def status_of(info: ModelInfo) -> list[dict[str, Any]]:
    """The value of model_version_status."""
    status = {"error_code": "UNKNOWN" if info.error else "OK", "error_message": info.error or ""}
    return [{"version": version_number(info), "state": _STATES.get(info.state, "UNKNOWN"), "status": status}]
