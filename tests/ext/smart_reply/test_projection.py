"""Fingerprint64 and the projection's kernels: against plain Python and against each other."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ext import _smart_reply
from ext._smart_reply import Instructions
from tests.support import plain_smart_reply as plain

int32s = st.integers(-(2**31), 2**31 - 1)
floats = st.floats(-1e6, 1e6, width=32)


@settings(max_examples=500)
@given(st.binary(max_size=300))
def test_fingerprint_is_farmhash(data: bytes) -> None:
    assert _smart_reply.fingerprint64(data) == plain.fingerprint64(data)


@pytest.mark.parametrize(
    ("data", "wanted"), [(b"", 0x9AE16A3B2F90404F), (b"hello", 13009744463427800296), (b"a" * 65, 7778058094944459892)]
)
def test_fingerprints_that_google_farmhash_gives(data: bytes, wanted: int) -> None:
    assert _smart_reply.fingerprint64(data) == wanted


def test_the_portable_path_always_runs_and_the_best_is_supported() -> None:
    assert _smart_reply.is_supported(Instructions.PORTABLE)
    assert _smart_reply.is_supported(_smart_reply.best_instructions())


@settings(max_examples=200)
@given(st.lists(floats, max_size=61), st.lists(st.tuples(int32s, floats), max_size=12))
def test_all_instructions_give_the_same_bits(seeds: list[float], features: list[tuple[int, float]]) -> None:
    ids, weights = [number for number, _ in features], [weight for _, weight in features]
    wanted = [plain.projection_sum(np.float32(seed), ids, weights) for seed in seeds]
    for instructions in Instructions.__members__.values():
        if _smart_reply.is_supported(instructions):
            sums = _smart_reply.projection_sums(seeds, ids, weights, instructions)
            assert np.array(sums).tobytes() == np.array(wanted).tobytes(), instructions


def test_weights_must_match_ids() -> None:
    with pytest.raises(ValueError, match="same length"):
        _smart_reply.projection_sums([1.0], [1, 2], [1.0], Instructions.PORTABLE)


def test_a_projection_gives_the_signatures_of_a_segment() -> None:
    seeds = np.random.default_rng(7).uniform(0, 1000, (12, 7)).astype(np.float32)
    projection = _smart_reply.Projection(seeds.tolist(), _smart_reply.SkipGramOptions())
    for segment in (b"", b"Hello", b"see you at the airport", b"I 'm late", b"\xff\0 x y z"):
        ids, weights = plain.features(plain.ngrams(plain.normalized(segment)))
        assert projection.signatures(segment) == plain.signatures(seeds, ids, weights)


@pytest.mark.parametrize(
    ("seeds", "message"),
    [
        ([], "at least one hash"),
        ([[]], "at least one hash"),
        ([[1.0] * 33], "1 to 32 bits"),
        ([[1.0] * 28] * 60, "32-bit signatures"),
        ([[1.0], [1.0, 2.0]], "of the same length"),
    ],
)
def test_seeds_that_make_no_signature_are_refused(seeds: list[list[float]], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        _smart_reply.Projection(seeds, _smart_reply.SkipGramOptions())
