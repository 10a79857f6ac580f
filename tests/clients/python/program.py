"""What each of the programs in this folder is: a question in JSON on stdin, the library's answers in JSON on stdout."""

from __future__ import annotations

import contextlib
import json
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable


def run(answer: Callable[..., dict[str, object]]) -> None:
    """Call `answer` with what was asked, and print what it returns."""
    with contextlib.redirect_stdout(sys.stderr):  # libraries may print what they like
        answered = answer(**json.load(sys.stdin))
    json.dump(answered, sys.stdout)
