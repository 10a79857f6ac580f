"""Watching and ending real process trees."""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING

import pytest

from benchmarks.process import ServerProcess, StartError, cpu_seconds, memory, read_stat, tree

if TYPE_CHECKING:
    from pathlib import Path

BURN = """
import time
def burn(seconds):
    end = time.process_time() + seconds
    while time.process_time() < end: pass
"""
#: burns 0.3 s itself, 0.5 s in a child that stays, and 0.4 s in one that ends and is waited for
THREE_BURNERS = (
    BURN
    + """
import os, sys
if os.fork() == 0:
    burn(0.5); print("child", flush=True); time.sleep(60); os._exit(0)
if (ended := os.fork()) == 0:
    burn(0.4); os._exit(0)
os.waitpid(ended, 0)
burn(0.3)
print("parent", flush=True)
time.sleep(60)
"""
)
#: two processes that share 64 MiB, and one of them has 32 more
SHARERS = """
import os, time
shared = b"x" * (64 << 20)
if os.fork() == 0:
    own = b"y" * (32 << 20)
    print("allocated", flush=True)
    time.sleep(60)
time.sleep(60)
"""
#: has a child in another session, which ignores SIGTERM
STUBBORN = """
import os, signal, time
if os.fork() == 0:
    os.setsid()
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    print("ready", flush=True)
    time.sleep(60)
time.sleep(60)
"""


def start(program: str, folder: Path) -> ServerProcess:
    """A Python program as a server."""
    return ServerProcess("program", [sys.executable, "-c", program], {}, folder / "program.log")


def wait_for_log(process: ServerProcess, text: str) -> None:
    """Until the program has printed that."""
    process.wait_ready(lambda: text in process.log.read_text(), timeout_s=120)


def test_cpu_counts_the_whole_tree_and_children_that_have_ended(tmp_path: Path) -> None:
    with start(THREE_BURNERS, tmp_path) as process:
        wait_for_log(process, "child")
        wait_for_log(process, "parent")
        seen = cpu_seconds(process.pid)
        assert len(tree(process.pid)) == 2
        assert 1.18 <= seen <= 1.5  # 1.2 s burnt, and starting Python three times


def test_memory_shares_pss_but_not_rss(tmp_path: Path) -> None:
    with start(SHARERS, tmp_path) as process:
        wait_for_log(process, "allocated")
        held = memory(process.pid)
        assert 64 + 64 + 32 < held.rss < 64 + 64 + 32 + 60
        assert 64 + 32 < held.pss < 64 + 32 + 40


def test_stop_ends_the_whole_tree(tmp_path: Path) -> None:
    with start(STUBBORN, tmp_path) as process:
        wait_for_log(process, "ready")
        pids = [stat.pid for stat in tree(process.pid)]
        assert len(pids) == 2
    deadline = time.monotonic() + 60
    while any(read_stat(pid) for pid in pids) and time.monotonic() < deadline:
        time.sleep(0.05)  # whoever adopted the child has to wait for it first
    assert [pid for pid in pids if read_stat(pid)] == []


def test_a_server_that_ends_shows_the_end_of_its_log(tmp_path: Path) -> None:
    program = "print(*range(100), sep='\\n'); raise SystemExit('no such model')"
    with start(program, tmp_path) as process, pytest.raises(StartError) as error:
        process.wait_ready(lambda: False, timeout_s=120)
    assert "program ended with exit code 1" in str(error.value)
    assert "    99\n" in str(error.value)
    assert "no such model" in str(error.value)
    assert "\n    42\n" not in str(error.value)


def test_a_server_that_never_answers_is_given_up(tmp_path: Path) -> None:
    message = r"does not answer after 0 s; the end of .*program.log:\n    \(empty\)"
    with start("import time; time.sleep(60)", tmp_path) as process, pytest.raises(StartError, match=message):
        process.wait_ready(lambda: False, timeout_s=0.2)


def test_the_environment_reaches_the_program(tmp_path: Path) -> None:
    command = [sys.executable, "-c", "import os; print(os.environ['SETTING'])"]
    with ServerProcess("program", command, {"SETTING": "as given"}, tmp_path / "program.log") as process:
        wait_for_log(process, "as given")
