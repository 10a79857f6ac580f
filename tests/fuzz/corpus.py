"""Writes what a fuzzer begins with: python -m tests.fuzz.corpus TARGET FOLDER."""

from __future__ import annotations

import sys
from pathlib import Path

from tests.fuzz.__main__ import write_seeds

if __name__ == "__main__":
    print(f"{write_seeds(sys.argv[1], Path(sys.argv[2]))} seeds")
