"""The package where nothing is installed but thrift: no server, no NumPy."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import thrift

from tests.predictor_client import servers
from tests.support.service import ROOT

PROGRAM = """
import sys
sys.path[:0] = sys.argv[1:2]
from predictor_client import Client
from predictor_client.results import embedding_matrix, sparse_vector
from predictor.ttypes import EmbeddingMatrix, SparseVector

print(Client(sys.argv[2]).predict("x"))
matrix = embedding_matrix(EmbeddingMatrix(2, 2, bytes.fromhex("0000803f000000400000404000008040"), 7))
print(matrix.values)
print(embedding_matrix(EmbeddingMatrix(1, 9, bytes([255, 128]), encoding=2)).values)
print(sparse_vector(SparseVector([3, 5], [0.5, 1.5])).indices)
print(sorted({name.partition(".")[0] for name in sys.modules} & {"torch", "server", "rest_proxy", "process", "numpy"}))
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """What a program finds there: the package, the contract and thrift."""
    for source in (ROOT / "predictor_client", ROOT / "gen-py" / "predictor", Path(thrift.__file__).parent):
        shutil.copytree(source, tmp_path / source.name, ignore=shutil.ignore_patterns("__pycache__"))
    return tmp_path


def test_it_needs_thrift_alone(folder: Path) -> None:
    with servers.scripted(servers.answers) as server:
        command = [sys.executable, "-I", "-S", "-c", PROGRAM, str(folder), server.address]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == [
        "{'a': 1.0}",
        "[array('f', [1.0, 2.0]), array('f', [3.0, 4.0])]",
        "[array('B', [255, 128])]",
        "array('i', [3, 5])",
        "[]",
    ]


@pytest.mark.slow
def test_its_types_are_strict(folder: Path) -> None:
    """A program of a user's, by mypy as strict as it can be: the types are those of the package, and not Any."""
    (folder / "program.py").write_text(
        "from predictor_client import AsyncClient, Client\n"
        "client = Client()\n"
        "reveal_type(client.predict('a', timeout=1))\n"
        "reveal_type(client.rerank('a', ['b'], top_n=1))\n"
        "reveal_type([chunk.text for chunk in client.generate_stream('a', max_tokens=1)])\n"
        "client.predict('a', timeot=1)\n"
        "async def main() -> None:\n"
        "    async with AsyncClient() as other:\n"
        "        reveal_type(await other.generate('a'))\n"
        "        async for chunk in other.chat_stream([{'role': 'user', 'content': 'a'}]):\n"
        "            reveal_type(chunk)\n"
    )
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "mypy",
            "--strict",
            "--follow-imports=silent",
            "--cache-dir",
            str(folder / "cache"),
            "program.py",
        ],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=300,
    )
    lines = [line for line in done.stdout.splitlines() if re.match(r"program\.py:\d+: (?!.* defined in )", line)]
    assert [line.partition(": ")[2] for line in lines] == [
        'note: Revealed type is "dict[str, float]"',
        'note: Revealed type is "list[predictor_client.types.Ranked]"',
        'note: Revealed type is "list[str]"',
        'error: Unexpected keyword argument "timeot" for "predict" of "Client"; did you mean "timeout"?  [call-arg]',
        'note: Revealed type is "predictor_client.types.Generation"',
        'note: Revealed type is "predictor_client.types.GenerationChunk"',
    ], done.stdout + done.stderr
