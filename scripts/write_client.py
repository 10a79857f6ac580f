"""Writes predictor_client/blocking/client.py anew: the client for asyncio without its waiting words.

python scripts/write_client.py
"""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from process.files import write_atomically

FOLDER = Path(__file__).resolve().parent.parent / "predictor_client"
SOURCE, TARGET = FOLDER / "asynchronous" / "client.py", FOLDER / "blocking" / "client.py"
_WORDS = (
    (
        r"client for asyncio: a method for each of the contract's",
        "client for threads: a method for each of the contract's",
    ),
    (r"predictor_client\.asynchronous\.", "predictor_client.blocking."),
    (r"\basync ", ""),
    (r"\bawait ", ""),
    (r"\bAsyncIterator\b", "Iterator"),
    (r"\bStopAsyncIteration\b", "StopIteration"),
    (r"\b(_?)Async(?=[A-Z])", r"\1"),
    (r"\b__a(enter|exit|iter|next)__", r"__\1__"),
    (r"\baclose\b", "close"),
)


def written() -> str:
    """What the file is to hold."""
    text = SOURCE.read_text()
    for words, instead in _WORDS:
        text = re.sub(words, instead, text)
    for command in (["check", "--fix-only", "--select=I"], ["format"]):
        text = subprocess.run(
            [sys.executable, "-m", "ruff", *command, "--quiet", f"--stdin-filename={TARGET}", "-"],
            input=text,
            check=True,
            capture_output=True,
            text=True,
        ).stdout
    return text


if __name__ == "__main__":
    write_atomically(TARGET, written().encode())
