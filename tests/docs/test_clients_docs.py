"""docs/clients.md says what is so, as far as no other language's compiler is needed."""

from __future__ import annotations

import re
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from tests.clients.thrift.documentation import DOCS, programs, with_table
from tests.clients.thrift.languages import LANGUAGES
from tests.support import everything
from tests.support.service import ROOT

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from tests.support.service import Service
    from tests.support.shared import SharedFiles


def test_the_table_is_that_of_the_run() -> None:
    text = DOCS.read_text(encoding="utf-8")
    assert with_table(text) == text, "make test-clients writes it"


def test_every_language_has_its_lines() -> None:
    # Apache's library for Python has its lines in the README, which test_readme.py runs.
    assert {name for name in LANGUAGES if not programs(name)} == {"apache"}


def test_links_within_the_page() -> None:
    text = DOCS.read_text(encoding="utf-8")
    headings = {re.sub(r"[^\w\- ]", "", line.lower()).replace(" ", "-") for line in re.findall(r"^#+ (.*)", text, re.M)}
    assert set(re.findall(r"\]\(#([^)]*)\)", text)) <= headings


@pytest.fixture(scope="module")
def served(
    shared_files: SharedFiles, zoo: Callable[[str], Path], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Service]:
    with everything.service(shared_files, zoo, tmp_path_factory.mktemp("jobs"), "--no-rest") as running:
        yield running


@pytest.mark.slow
@pytest.mark.parametrize("place", range(len(programs("predictor_client"))))
def test_lines_of_our_own_client(served: Service, place: int) -> None:
    program = programs("predictor_client")[place].replace("9090", str(served.port))
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert len(done.stdout) > 10
