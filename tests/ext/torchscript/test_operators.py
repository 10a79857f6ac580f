"""Code of a module can call what libtorch has registered, with any numbers: none of that is ours."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.support.service import ROOT

PROGRAM = """
import torch
def operators():
    return {str(schema) for schema in torch._C._jit_get_all_schemas()} | {
        str(schema) for schema in torch._C._jit_get_custom_class_schemas()}
before = operators()
from ext import _batching, _encoder, _generator, _smart_reply, _torchscript
print(len(before) > 1000, sorted(operators() - before))
"""


@pytest.mark.slow
def test_the_extension_registers_no_operator() -> None:
    """One that did would have to check every argument: a count of 2**62, a negative one, any shape, type and device."""
    done = subprocess.run([sys.executable, "-c", PROGRAM], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout == "True []\n"
