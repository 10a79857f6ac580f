"""What each of the programs in this folder is: a question in JSON on stdin, the library's answers in JSON on stdout."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable


def run(answer: Callable[..., dict[str, object]]) -> None:
    """Call `answer` with what was asked, and print what it returns."""
    json.dump(answer(**json.load(sys.stdin)), sys.stdout)
