"""The engine of programs that other tools made, alone: what it pads, and what a probe lets share a batch."""

from __future__ import annotations

import select
import time
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from ext import _encoder
from ext._batching import Status

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    Array = NDArray[Any]
    Run = Callable[[Array, Array, Array], Array]

VOCABULARY, COLUMNS, PADDING = 60, 6, 3
TABLE = np.random.default_rng(0).standard_normal((VOCABULARY, COLUMNS)).astype(np.float32)
TEXTS = [[1, 2, 3], [4], [5, 6, 7, 8, 9, 10], [59] * 20, [11, 12, 13], [1], [7, 7]]
TOKENS = {"output": "token_vectors", "modules": []}
MEAN = {"output": "vector", "modules": [{"type": "pooling", "modes": ["mean"]}]}
BARE = {"output": "vector", "modules": []}


def of_tokens(ids: Array, mask: Array, types: Array) -> Array:
    """Each token's vector and the mean of its text's, as attention mixes them."""
    vectors = TABLE[ids] + types[..., None]
    means = (vectors * mask[..., None]).sum(1, keepdims=True) / mask.sum(1)[:, None, None]
    return vectors + means


def of_texts(ids: Array, mask: Array, types: Array) -> Array:
    return ((TABLE[ids] + types[..., None]) * mask[..., None]).sum(1)


def without_mask(ids: Array, mask: Array, types: Array) -> Array:
    """Padding changes the answer."""
    return of_texts(ids, np.ones_like(mask), types)


def normed_by_batch(ids: Array, mask: Array, types: Array) -> Array:
    """Any mate changes the answer."""
    rows = of_texts(ids, mask, types)
    return rows / np.abs(rows).max()


def of_one_text(ids: Array, mask: Array, types: Array) -> Array:
    """As a trace of a single text may be."""
    if len(ids) > 1:
        raise ValueError("the batch must be 1")
    return of_texts(ids, mask, types)


def program(run: Run) -> _encoder.Program:
    def called(*tensors: memoryview) -> Array:
        ids, mask, types = map(np.asarray, tensors)
        assert (ids[mask == 0] == PADDING).all()
        return np.ascontiguousarray(run(ids, mask, types), np.float32)

    return _encoder.Program.python(called, PADDING)


def engine(run: Run, head: dict[str, Any], **settings: Any) -> _encoder.EncoderEngine:
    given = {"max_tokens": 64, "warm_up_tokens": 8} | settings
    return _encoder.EncoderEngine.of_program(program(run), [], {}, head, VOCABULARY, 0, PADDING, **given)


def answers(
    native: _encoder.EncoderEngine, texts: Sequence[Sequence[int]], begins: int | None = None, prompt: int = 0
) -> list[Array | str]:
    """What each text is answered with, all submitted before any is run."""
    for number, text in enumerate(texts):
        second = len(text) if begins is None else begins
        assert native.submit(text, second, prompt, len(text), 0, time.monotonic_ns() + 60 * 10**9, number) > 0
    native.wake()
    found: dict[int, Array | str] = {}
    while len(found) < len(texts):
        assert select.select([native.fd], [], [], 60)[0], "the engine does not answer"
        for number, status, value in native.results():
            found[number] = np.frombuffer(value, np.float32) if status == Status.OK else value
    return [found[number] for number in range(len(texts))]


def alone(run: Run, text: Sequence[int], begins: int | None = None) -> Array:
    ids = np.array([text])
    types = np.zeros_like(ids)
    types[:, len(text) if begins is None else begins :] = 1
    return run(ids, np.ones_like(ids), types)[0]


def test_vectors_of_tokens_leave_out_padding() -> None:
    native = engine(of_tokens, TOKENS, hold=len(TEXTS))
    for text, found in zip(TEXTS, answers(native, TEXTS), strict=True):
        assert isinstance(found, np.ndarray)
        np.testing.assert_allclose(found.reshape(-1, COLUMNS), alone(of_tokens, text), rtol=1e-5)
    assert native.stats()["batches"] < len(TEXTS)
    assert not native.equal_lengths_only
    native.close()


def test_a_pooling_is_made_of_tokens_and_leaves_out_the_prompt() -> None:
    native = engine(of_tokens, MEAN)
    (found,) = answers(native, [TEXTS[2]], prompt=2)
    np.testing.assert_allclose(found, alone(of_tokens, TEXTS[2])[2:].mean(0), rtol=1e-5)
    native.close()


def test_the_second_text_of_a_pair_has_types_of_its_own() -> None:
    native = engine(of_texts, BARE)
    (found,) = answers(native, [TEXTS[2]], begins=4)
    np.testing.assert_allclose(found, alone(of_texts, TEXTS[2], 4), rtol=1e-5)
    native.close()


def test_vectors_of_texts_need_no_pooling_and_may_be_normalised() -> None:
    native = engine(of_texts, BARE | {"modules": [{"type": "normalize"}]}, hold=len(TEXTS))
    for text, found in zip(TEXTS, answers(native, TEXTS), strict=True):
        right = alone(of_texts, text)
        np.testing.assert_allclose(found, right / np.linalg.norm(right), rtol=1e-5)
    native.close()


@pytest.mark.parametrize(
    ("run", "equal_lengths", "batch_items"),
    [
        (of_tokens, False, 64),
        (of_texts, False, 64),
        (without_mask, True, 64),
        (normed_by_batch, False, 1),
        (of_one_text, False, 1),
    ],
)
def test_a_probe_finds_out_what_shares_a_batch(run: Run, equal_lengths: bool, batch_items: int) -> None:
    native = engine(run, MEAN if run is of_tokens else BARE, hold=len(TEXTS))
    assert (native.equal_lengths_only, native.batch_items) == (equal_lengths, batch_items)
    for text, found in zip(TEXTS, answers(native, TEXTS), strict=True):
        right = alone(run, text)
        np.testing.assert_allclose(found, right.mean(0) if right.ndim == 2 else right, rtol=1e-5)
    native.close()


def test_a_program_that_fails_on_a_text_fails_that_text_alone() -> None:
    bad_ones: list[int] = []

    def run(ids: Array, mask: Array, types: Array) -> Array:
        if np.isin(ids, bad_ones).any():
            raise ValueError("not this one")
        return of_texts(ids, mask, types)

    native = engine(run, BARE, hold=3)
    bad_ones.append(42)
    good, bad, other = answers(native, [[1, 2], [42], [3]])
    assert isinstance(bad, str)
    assert "ValueError: not this one" in bad
    np.testing.assert_allclose(good, alone(of_texts, [1, 2]), rtol=1e-5)
    np.testing.assert_allclose(other, alone(of_texts, [3]), rtol=1e-5)
    native.close()


def test_answers_of_another_shape_are_not_believed() -> None:
    columns = [COLUMNS]

    def run(ids: Array, mask: Array, types: Array) -> Array:
        return of_texts(ids, mask, types)[:, : columns[-1]]

    native = engine(run, BARE)
    columns.append(2)
    (found,) = answers(native, [[40, 1]])
    assert isinstance(found, str)
    assert "a tensor of [1, 2] for token ids of [1, 2]" in found
    native.close()


@pytest.mark.parametrize(
    ("run", "reason"),
    [
        (lambda ids, *_: ids[:, :, None, None], r"of \[1, 7, 1, 1\]; expected \[texts, tokens, n\] or \[texts, n\]"),
        (lambda ids, *_: ids[:, 0], r"expected \[texts, tokens, n\] or \[texts, n\]"),
        (lambda ids, *_: np.zeros((2, 3)), r"gave a tensor of \[2, 3\] for token ids of \[1, 7\]"),
        (lambda ids, *_: np.zeros((len(ids), 5, 3)), r"gave a tensor of \[1, 5, 3\] for token ids of \[1, 7\]"),
        (lambda ids, *_: ids, "texts of 7 and of 13 tokens have 7 and 13 numbers"),
        (lambda ids, *_: 1 / 0, "fails on token ids of .1, 7.: ZeroDivisionError"),
    ],
)
def test_what_gives_no_rows_is_refused(run: Any, reason: str) -> None:
    with pytest.raises(_encoder.ModelError, match=reason):
        program(run)


@pytest.mark.parametrize("given", [b"bytes", 5, np.zeros((1, 7, 2), np.float64)])
def test_what_is_no_buffer_of_float32_is_refused(given: object) -> None:
    with pytest.raises(_encoder.ModelError, match="it fails on token ids of"):
        _encoder.Program.python(lambda *_: given, 0)


def test_a_text_is_tried() -> None:
    tried = program(of_tokens)
    assert (tried.of_tokens, tried.columns) == (True, COLUMNS)
    tried.try_text(VOCABULARY - 1, 50)
    with pytest.raises(_encoder.ModelError, match="a text of 50 tokens with the id 60: IndexError"):
        tried.try_text(VOCABULARY, 50)


def test_numbers_that_are_not_finite_are_refused() -> None:
    with pytest.raises(_encoder.ModelError, match="not finite"):
        engine(lambda ids, *_: np.full((len(ids), 2), np.nan), BARE)


@pytest.mark.parametrize("name", ["nothing.pt2", "text.pt2"])
def test_files_that_are_no_packages(tmp_path: Any, name: str) -> None:
    (tmp_path / "text.pt2").write_text("PK, but no archive")
    with pytest.raises(_encoder.ModelError, match="it cannot be loaded"):
        _encoder.Program.package(str(tmp_path / name), "cpu", 1, 0)
