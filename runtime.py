"""smartreply under its older name: `from runtime import SmartReplyRuntime`."""

from smartreply import (
    DEFAULT_MODEL_PATH,
    InvalidInputException,
    MessageError,
    ModelLoadFailedException,
    ModelNotFoundException,
    SmartReplyRuntime,
)

__all__ = [
    "DEFAULT_MODEL_PATH",
    "InvalidInputException",
    "MessageError",
    "ModelLoadFailedException",
    "ModelNotFoundException",
    "SmartReplyRuntime",
]
