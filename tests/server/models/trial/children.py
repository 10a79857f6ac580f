"""In place of the process that tries a model: how such a process may end."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

given = json.loads(sys.stdin.readline())
match given["location"]:
    case "silent":
        time.sleep(600)
    case "leaves a child":
        child = subprocess.Popen(["/bin/sleep", "600"])
        Path(os.environ["CHILD_PID"]).write_text(str(child.pid))
        sys.stdout.write('{"whole": true}')
    case "no JSON":
        sys.stdout.write("{")
    case "no object":
        sys.stdout.write("1")
    case "flood":
        sys.stderr.write("x" * 10_000_000 + "the end\n")
        sys.exit(3)
    case "flood of answers":
        sys.stdout.write(" " * 10_000_000)
    case "closes its pipes":
        os.close(1)
        os.close(2)
        time.sleep(600)
    case "terminate":
        sys.stderr.write("terminate called after throwing\n  what():  index out of bounds\nframe #0\n")
        sys.stderr.flush()
        os.abort()
    case "out of memory":
        sys.stderr.write("memory allocation of 800000 bytes failed\n")
        sys.stderr.flush()
        os.abort()
