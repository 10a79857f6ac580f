"""predictor::attention beside libtorch's, and predictor::int8_products on lesser processors."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
import torch
from torch.nn import functional

from ext import _torchscript  # noqa: F401  registers them
from tests.support.lesser_processors import LESS

if TYPE_CHECKING:
    from collections.abc import Iterator

COUNTS = [3, 2, 1, 2, 1, 1, 1]
LENGTHS = [1, 3, 15, 16, 17, 33, 70]
TOKENS = sum(count * length for count, length in zip(COUNTS, LENGTHS, strict=True))


@pytest.fixture(params=[1, 2])
def threads(request: pytest.FixtureRequest) -> Iterator[int]:
    """Ours computes with one thread, libtorch's with several."""
    before = torch.get_num_threads()
    torch.set_num_threads(request.param)
    yield request.param
    torch.set_num_threads(before)


def by_libtorch(qkv: torch.Tensor, heads: int) -> torch.Tensor:
    """Each text on its own, in float64."""
    parts = []
    lengths = [length for count, length in zip(COUNTS, LENGTHS, strict=True) for _ in range(count)]
    for text in qkv.double().split(lengths):
        query, key, value = text.view(text.size(0), 3, heads, -1).permute(1, 2, 0, 3).unsqueeze(1)
        mixed = functional.scaled_dot_product_attention(query, key, value)
        parts.append(mixed.squeeze(0).transpose(0, 1).reshape(text.size(0), -1))
    return torch.cat(parts)


@pytest.mark.parametrize(("heads", "width"), [(12, 32), (1, 1), (3, 5), (2, 64), (1, 80)])
@pytest.mark.parametrize(
    ("dtype", "tolerance"), [(torch.float32, 1e-5), (torch.bfloat16, 2e-2), (torch.float64, 1e-12)]
)
@pytest.mark.usefixtures("threads")
def test_equals_libtorch(heads: int, width: int, dtype: torch.dtype, tolerance: float) -> None:
    generator = torch.Generator().manual_seed(1)
    qkv = (torch.randn((TOKENS, 3 * heads * width), generator=generator) * 2).to(dtype)
    found = torch.ops.predictor.attention(qkv, heads, COUNTS, LENGTHS)
    assert found.dtype == dtype
    assert torch.allclose(found.double(), by_libtorch(qkv, heads), atol=tolerance, rtol=tolerance)


@pytest.mark.usefixtures("threads")
def test_scores_of_any_size() -> None:
    """The greatest is taken off before the exponentials: else they overflow."""
    qkv = torch.zeros(TOKENS, 3 * 16)
    qkv[:, :32] = 1e4
    qkv[:, 32:] = 3
    found = torch.ops.predictor.attention(qkv, 1, COUNTS, LENGTHS)
    assert torch.allclose(found, torch.full_like(found, 3), rtol=1e-6)


@pytest.mark.parametrize(
    ("heads", "counts", "lengths"),
    [
        (2, [1], [9]),
        (2, [1], [11]),
        (2, [1, 1], [10]),
        (2, [-1, 2], [10, 10]),
        (5, [1], [10]),
        (0, [1], [10]),
    ],
)
@pytest.mark.usefixtures("threads")
def test_what_does_not_fit_is_refused(heads: int, counts: list[int], lengths: list[int]) -> None:
    with pytest.raises(RuntimeError):
        torch.ops.predictor.attention(torch.zeros(10, 3 * 8), heads, counts, lengths)


@pytest.mark.parametrize("less", [None, *LESS])
def test_sums_of_int8_are_exact(less: str | None) -> None:
    """Of the largest numbers too, and in shapes that fill no word, no block and no pair of rows."""
    program = """
import torch
from ext import _torchscript

def check(x, weight):
    found = torch.ops.predictor.int8_products(x, weight)
    assert torch.equal(found, (x.double() @ weight.double()).to(torch.int32)), (x.shape, weight.shape)

for rows, inputs, outputs in (17, 1, 1), (18, 384, 64), (33, 51, 17), (19, 1023, 33), (32, 130, 31):
    by_column = torch.randint(-127, 128, (outputs, inputs), dtype=torch.int8).t()
    check(torch.randint(-127, 128, (rows, inputs), dtype=torch.int8), by_column)
    check(torch.full((rows, inputs), -127, dtype=torch.int8), torch.full((inputs, outputs), 127, dtype=torch.int8))
"""
    subprocess.run([sys.executable, "-c", program], env=os.environ | (LESS[less] if less else {}), check=True)


def test_int8_products_that_do_not_fit_are_refused() -> None:
    x, weight = torch.zeros(20, 8, dtype=torch.int8), torch.zeros(8, 8, dtype=torch.int8)
    for wrong in (weight[:7], weight.float(), weight[0]):
        with pytest.raises(RuntimeError, match=r"do not go with|must be int8"):
            torch.ops.predictor.int8_products(x, wrong)
