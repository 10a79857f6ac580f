"""Text generation in C++: transformers' own tokens, batch mates that do not matter, leaving at every step.

What a graphics card runs, libtorch's operators, is tried on the processor."""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
import time
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch

from ext import _generator
from ext._batching import Admission, Status
from server.models.folder.weights import Weight
from tests.support.generators import (
    BULK,
    DEADLINE,
    END_OF_TEXT,
    LENGTH,
    LENGTHS,
    STOP,
    VOCABULARY,
    Generators,
    prompts,
    random_model,
    source_of,
)
from tests.support.lesser_processors import LESS

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.generators import Source

OK, _, _, DEADLINE_EXCEEDED, UNAVAILABLE, INTERNAL = Status
QUEUE_FULL = -Admission.QUEUE_FULL

OPERATORS = {"PREDICTOR_OPERATORS": "1"}
by_either = pytest.mark.parametrize("environment", [{}, OPERATORS], ids=["loops", "operators"])


_PROGRAM = """
import pickle, sys
from tests.support.generators import Generators
source, prompts, max_tokens, options, settings = pickle.load(sys.stdin.buffer)
with Generators(source, **settings) as generators:
    tokens = generators.tokens(prompts, max_tokens, **options)
logits = source.logits(prompts[0], **{name: settings[name] for name in ("precision",) if name in settings})
sys.stdout.buffer.write(pickle.dumps((tokens, logits)))
"""


def elsewhere(
    environment: dict[str, str],
    source: Source,
    prompts: list[list[int]],
    max_tokens: int = 1,
    options: dict[str, Any] | None = None,
    **settings: Any,
) -> Any:
    """(tokens after each prompt, logits of the first) in a process of this environment."""
    given = pickle.dumps((source, prompts, max_tokens, options or {}, settings))
    command = [sys.executable, "-c", _PROGRAM]
    done = subprocess.run(command, input=given, env=os.environ | environment, stdout=subprocess.PIPE, check=True)
    return pickle.loads(done.stdout)


def reference_tokens(reference: Any, prompt: list[int], max_tokens: int, **options: Any) -> list[int]:
    tokens = torch.tensor([prompt])
    with torch.inference_mode():
        text = reference.generate(
            tokens, attention_mask=torch.ones_like(tokens), max_new_tokens=max_tokens, do_sample=False, **options
        )
    return text[0, len(prompt) :].tolist()


# ----------------------------------------------------------------------------------------------------- what is right


@by_either
def test_greedy_tokens_are_those_of_transformers(source: Source, reference: Any, environment: dict[str, str]) -> None:
    asked = prompts()
    found, _ = elsewhere(environment, source, asked, 28)
    assert found == [reference_tokens(reference, prompt, 28) for prompt in asked]
    assert len(set(map(tuple, found))) == len(asked)


def test_repetition_penalty_as_in_transformers(shared: Generators, reference: Any) -> None:
    asked = prompts(4)
    found = shared.tokens(asked, 20, repetition_penalty=1.7)
    assert found == [reference_tokens(reference, prompt, 20, repetition_penalty=1.7) for prompt in asked]
    assert found != shared.tokens(asked, 20)


def error(found: Any, exact: Any) -> float:
    return float(np.linalg.norm(found - exact) / np.linalg.norm(exact))


@pytest.mark.parametrize(
    ("precision", "environment"),
    [("float32", {}), ("bfloat16", {}), ("int8", {}), ("float32", OPERATORS), ("bfloat16", OPERATORS)],
)
def test_logits_are_those_of_transformers(
    source: Source, reference: Any, precision: str, environment: dict[str, str]
) -> None:
    """In bfloat16 as near to float32's as transformers' own are; the weights here are 15 times as large as usual."""
    prompt = prompts()[5]
    with torch.inference_mode():
        exact = reference(torch.tensor([prompt])).logits[0].numpy()
        rounded = random_model().bfloat16()(torch.tensor([prompt])).logits[0].float().numpy()
    most = {"float32": 1e-5, "bfloat16": 1.2 * error(rounded, exact), "int8": 3 * error(rounded, exact)}
    _, found = elsewhere(environment, source, [prompt], precision=precision)
    assert error(found, exact) < most[precision]


def wide_source(folder: Path) -> Source:
    """A layer large enough for two threads."""
    return source_of(random_model(3, n_layer=1, n_head=12, n_embd=768, n_inner=4 * 768, initializer_range=0.05), folder)


def test_wide_layers_in_every_precision(tmp_path: Path) -> None:
    wide = wide_source(tmp_path)
    prompt = prompts()[2]
    exact = wide.logits(prompt)
    for precision, tolerance in (("bfloat16", 0.02), ("int4", 0.3), ("int8", 0.03)):
        found = wide.logits(prompt, precision=precision)
        assert error(found, exact) < tolerance, precision
    assert np.array_equal(wide.logits(prompt[:7], precision="int8"), found[:7])  # sums are exact: not by luck


@pytest.mark.parametrize("precision", ["float32", "int8", "int4"])
def test_threads_do_not_matter(tmp_path: Path, precision: str) -> None:
    """The products of these layers are large enough for two."""
    wide = wide_source(tmp_path)
    found = []
    for threads in (1, 2):
        with Generators(wide, precision=precision, threads=threads) as generators:
            found.append(generators.tokens(prompts(), 5, temperature=1.0))
    assert found[0] == found[1]


ODD = {"n_layer": 1, "n_head": 3, "n_embd": 51, "n_inner": 17}  # no multiple of 4: of int8 four are one word


@pytest.mark.parametrize("less", LESS)
@pytest.mark.parametrize("changed", [{}, ODD], ids=["even", "odd"])
def test_products_by_lesser_processors(less: str, changed: dict[str, Any], tmp_path: Path) -> None:
    """The sums of whole numbers are exact whatever multiplies; attention may fuse its multiplications and additions."""
    source = source_of(random_model(**changed), tmp_path)
    for precision in ("float32", "int8", "int4"):
        _, found = elsewhere(LESS[less], source, [prompts()[5]], precision=precision)
        assert error(found, source.logits(prompts()[5], precision=precision)) <= 1e-5, precision


# ------------------------------------------------------------------------------------------------------- batch mates


@pytest.mark.parametrize("precision", ["float32", "bfloat16", "int8", "int4"])
def test_logits_do_not_depend_on_chunks(source: Source, precision: str) -> None:
    prompt = prompts()[5]
    whole = source.logits(prompt, precision=precision)
    for chunk in (1, 2, 7, 16, 33):
        assert np.array_equal(source.logits(prompt, chunk, precision=precision), whole), chunk


@pytest.mark.parametrize("precision", ["float32", "bfloat16", "int8", "int4"])
def test_a_sampled_text_does_not_depend_on_its_batch_mates(source: Source, precision: str) -> None:
    asked = prompts()
    options = {"temperature": 1.0, "seed": 7}
    with Generators(source, slots=8, precision=precision) as generators:
        assert generators.native.batch_invariant
        alone = [generators.tokens([prompt], 25, **options)[0] for prompt in asked]
        assert generators.tokens(asked, 25, **options) == alone
        assert generators.tokens(asked[::-1], 25, **options) == alone[::-1]
        many = generators.tokens(prompts(3 * len(LENGTHS)) + asked, 25, **options)  # more than there are slots
        assert many[-len(asked) :] == alone
        assert generators.tokens(asked, 25, temperature=1.0, seed=8) != alone


def test_a_long_prompt_stops_nobody(tmp_path: Path) -> None:
    """Beside a text that grows, a prompt is read in parts, one a step; where the text has ended, it is tried again."""
    with Generators(wide_source(tmp_path), cache_bytes=64 << 20) as generators:
        for seed in range(20):
            generators.submitted, generators.outcomes, generators.progress = 0, {}, {}
            generators.submit([1, 2], 120, streamed=True)
            generators.native.wake()
            while not generators.progress:
                generators.gather()
            before = generators.native.stats()["batches"]
            generators.submit([seed + 3] * 100, 1)
            generators.wait(1)
            taken = generators.native.stats()["batches"] - before
            if 1 in generators.outcomes:  # first
                break
            generators.wait()
        else:
            pytest.fail("the text never grew beside the prompt")
    assert taken >= 3


def test_requests_join_and_leave_between_steps(source: Source) -> None:
    """With two slots, a third request takes the place of the second, and is done long before the first."""
    with Generators(source, slots=2, hold=4) as generators:
        for max_tokens in (120, 2, 2, 2):
            generators.submit([1, 2, 3], max_tokens)
        generators.wait()
        assert list(generators.outcomes) == [1, 2, 3, 0]
        assert generators.native.stats()["batches"] < 125


@pytest.mark.parametrize(("bulk", "rounds"), [(4, 1), (8, 2)])
def test_bulk_texts_hold_their_share_of_the_slots_side_by_side(source: Source, bulk: int, rounds: int) -> None:
    """A quarter of 16 beside an interactive text; all begin together, so that steps tell how many grew at a time."""
    with Generators(source, slots=16, bulk_share=0.25, hold=bulk + 1) as generators:
        alone = [generators.submit([1, 2, 3], 101, lane=BULK) for _ in range(bulk + 1)]
        generators.wait()
        assert generators.native.stats()["batches"] == 101
        beside = [generators.submit([1, 2, 3], 101, lane=BULK) for _ in range(bulk)]
        generators.submit([1, 2, 3], 101)
        generators.wait()
        assert min(alone + beside) > 0
        assert generators.native.stats()["batches"] == 101 * (1 + rounds)


# ---------------------------------------------------------------------------------------------------------- sampling


def test_uniform_numbers() -> None:
    """Of splitmix64, by its definition; spread evenly."""

    def mixed(z: int) -> int:
        z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) % 2**64
        z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) % 2**64
        return z ^ (z >> 31)

    golden = 0x9E3779B97F4A7C15
    for seed, index in [(0, 0), (1, 0), (2**64 - 1, 12345)]:
        expected = mixed((mixed((seed + golden) % 2**64) + (index + 1) * golden) % 2**64) >> 11
        assert _generator.uniform(seed, index) == expected / 2**53
    numbers = [_generator.uniform(9, index) for index in range(10_000)]
    counts, _ = np.histogram(numbers, 10, (0, 1))
    assert abs(counts - 1000).max() < 150


def first_tokens(generators: Generators, count: int, **options: Any) -> list[int]:
    """The first token after one prompt, with seeds counted from 0."""
    generators.submitted, generators.outcomes = 0, {}
    for seed in range(count):
        generators.submit(prompts(1)[0], 1, seed=seed, **options)
    return [value[1][0] for _, value in generators.wait()]


def next_probabilities(source: Source, temperature: float) -> Any:
    logits = source.logits(prompts(1)[0])[-1].astype(np.float64) / temperature
    weights_ = np.exp(logits - logits.max())
    return weights_ / weights_.sum()


def test_tokens_come_as_often_as_they_are_likely(shared: Generators, source: Source) -> None:
    likely = next_probabilities(source, 3.0)
    found = np.bincount(first_tokens(shared, 3000, temperature=3.0), minlength=VOCABULARY) / 3000
    assert np.abs(found - likely).max() < 5 * np.sqrt(likely.max() / 3000)
    assert np.corrcoef(found, likely)[0, 1] > 0.9


def test_top_k_and_top_p(shared: Generators, source: Source) -> None:
    order = np.argsort(-next_probabilities(source, 4.0), kind="stable")
    sums = np.cumsum(next_probabilities(source, 4.0)[order])
    assert set(first_tokens(shared, 400, temperature=4.0, top_k=5)) == set(order[:5].tolist())
    assert set(first_tokens(shared, 50, temperature=4.0, top_k=1)) == {order[0]}
    kept = int(np.searchsorted(sums, 0.3)) + 1
    assert set(first_tokens(shared, 100 * kept, temperature=4.0, top_p=0.3)) <= set(order[:kept].tolist())
    assert set(first_tokens(shared, 50, temperature=4.0, top_p=1e-9)) == {order[0]}
    of_ten = np.cumsum(next_probabilities(source, 4.0)[order[:10]])
    kept = int(np.searchsorted(of_ten / of_ten[-1], 0.5)) + 1
    assert set(first_tokens(shared, 400, temperature=4.0, top_k=10, top_p=0.5)) == set(order[:kept].tolist())


def test_a_low_temperature_is_greedy(shared: Generators) -> None:
    greedy = shared.tokens(prompts(4), 15)
    for temperature in (1e-300, 1e-9, 1e-5):
        assert shared.tokens(prompts(4), 15, temperature=temperature) == greedy


@pytest.mark.parametrize("penalty", [1e-300, 1e-3, 10.0])
def test_extreme_penalties_are_no_failures(shared: Generators, penalty: float) -> None:
    for temperature in (0.0, 1.0):
        found = shared.tokens(prompts(2), 15, temperature=temperature, repetition_penalty=penalty, top_p=0.9)
        assert [len(tokens) for tokens in found] == [15, 15]


# -------------------------------------------------------------------------------------------------------------- text


def texts_of(source: Source, token_bytes: list[bytes], **options: Any) -> tuple[str, list[str], Any]:
    """One greedy text whole, the parts in which it is streamed, and the end of it."""
    with Generators(source, token_bytes) as generators:
        generators.submit([1, 2], 24, **options)
        ((_, whole),) = generators.wait()
        request = generators.submit([1, 2], 24, streamed=True, **options)
        streamed = generators.wait()[1][1]
        parts = [text for text, _ in generators.progress.get(request, [])]
    assert streamed[1:] == whole[1:]
    assert "".join(parts) + streamed[0] == whole[0]
    return whole[0], parts, whole


def test_characters_are_never_cut(source: Source) -> None:
    """Every token is one byte of a long text of characters of 1 to 4 bytes."""
    letters = "aé€😀".encode()
    text, parts, _ = texts_of(source, [letters[i % len(letters) : i % len(letters) + 1] for i in range(VOCABULARY)])
    assert all(part.encode().decode() == part for part in parts)
    assert text
    # A text that ends within a character ends before it.
    cut, _, (_, tokens, _, _) = texts_of(source, [b"\xf0\x9f\x98"] * VOCABULARY)
    assert len(tokens) == 24
    assert cut == "\ufffd" * 23


def test_stop_strings_across_tokens(source: Source) -> None:
    with Generators(source) as generators:
        generators.submit([1, 2], 24)
        ((_, (whole, tokens, _, _)),) = generators.wait()
    first, second, third = (f"{token} " for token in tokens[10:13])
    stop = first[-2:] + second + third[:1]
    text, parts, (_, found, finish, _) = texts_of(source, None, stop=["never", stop, "x" * 256])  # type: ignore[arg-type]
    assert text == whole[: whole.index(stop)]
    assert finish == STOP
    assert found == tokens[: len(found)]
    assert len(found) <= 13
    assert not any(stop[:2] in part[-2:] for part in parts)  # what may be its beginning was held back


def test_an_end_token(source: Source) -> None:
    with Generators(source) as generators:
        generators.submit([1, 2], 24)
        ((_, (_, tokens, finish, _)),) = generators.wait()
    assert finish == LENGTH
    at = tokens.index(tokens[9])
    with Generators(source, ends=[tokens[9]]) as generators:
        generators.submit([1, 2], 24)
        ((_, (text, found, finish, _)),) = generators.wait()
    assert finish == END_OF_TEXT
    assert found == tokens[: at + 1]
    assert text == "".join(f"{token} " for token in tokens[:at])


# ----------------------------------------------------------------------------------------------------------- leaving


def test_cancelling_one_of_eight_frees_its_slot_within_two_steps(tmp_path: Path) -> None:
    """Of wide layers, so that the texts do not end before this has looked at them; where they did, it looks again."""
    asked = [prompt[:20] for prompt in prompts()]
    with Generators(wide_source(tmp_path), slots=8, hold=8, cache_bytes=64 << 20) as generators:
        expected = generators.tokens(asked, 100, temperature=1.0)
        for _ in range(20):
            generators.submitted, generators.outcomes = 0, {}
            ids = [generators.submit(prompt, 100, temperature=1.0, streamed=True) for prompt in asked]
            begin = generators.native.stats()["batches"]
            generators.native.wake()
            while generators.native.stats()["batches"] < begin + 3:
                pass
            before = generators.native.stats()
            if before["busy_slots"] == 8 and generators.native.cancel(ids[2]):
                break
            generators.wait()
        else:
            pytest.fail("eight texts never grew at a time")
        at = generators.native.stats()["batches"]  # the step that ran, or one more
        rest = generators.wait(7)
        after = generators.native.stats()
    assert before["batches"] <= after["left_at_step"] <= at + 2
    assert after["cancelled"] == 1
    assert [value[1] for _, value in rest] == expected[:2] + expected[3:]
    assert after["busy_slots"] == 0


def test_a_deadline_ends_texts_that_grow(source: Source) -> None:
    """A third of the time that they took just now; tried again when the machine was busier then."""
    with Generators(source) as generators:
        for _ in range(20):
            begin = time.monotonic_ns()
            generators.tokens([[1, 2]] * 8, 120)
            taken = time.monotonic_ns() - begin
            before = generators.native.stats()
            generators.submitted, generators.outcomes = 0, {}
            for _ in range(7):
                generators.submit([1, 2], 120, deadline_ns=time.monotonic_ns() + taken // 3)
            generators.submit([1, 2], 120)
            *limited, (other, _) = generators.wait()
            after = generators.native.stats()
            assert other == OK
            if [status for status, _ in limited] == [OK] * 7 and {value[2] for _, value in limited} == {DEADLINE}:
                break
        else:
            pytest.fail("the deadline never passed")
        assert all(0 < len(value[1]) < 120 for _, value in limited)
        assert after["completed"] == before["completed"] + 8
        assert 120 <= after["generated_tokens"] - before["generated_tokens"] < 8 * 120


def test_a_full_queue_and_closing(source: Source) -> None:
    generators = Generators(source, slots=1, queue_items=2)
    assert QUEUE_FULL in [generators.submit([1, 2], 100) for _ in range(20)]
    generators.native.wake()
    rest = generators.native.close()
    assert rest
    assert {status for _, status, _ in rest} <= {OK, UNAVAILABLE}


@pytest.mark.parametrize("precision", ["float32", "int8", "int4"])
def test_a_model_that_fails_fails_one_request(reference: Any, precision: str, tmp_path: Path) -> None:
    """A position whose embedding is not a number spoils the texts that reach it, and not who has their pages next."""
    positions = reference.transformer.wpe.weight.detach().clone()
    positions[10] = torch.nan
    spoilt = source_of(reference, tmp_path, transformer__wpe__weight=positions)
    with Generators(spoilt, precision=precision, slots=2) as generators:
        generators.submit([1, 2], 20)
        generators.submit([1, 2], 5)
        (status, message), (other, _) = generators.wait()
        assert (status, other) == (INTERNAL, OK)
        assert "no finite number" in message
        assert generators.native.stats()["failed"] == 1
        assert len(set(map(tuple, generators.tokens([[1, 2]] * 4, 5)))) == 1


# --------------------------------------------------------------------------------------------------------- refusals


def test_wrong_weights(source: Source, reference: Any, tmp_path: Path) -> None:
    name = "transformer.h.1.mlp.c_fc.weight"
    place = Weight(*source.weights[name])
    wrong = {
        "there is no weight transformer.h.1.mlp.c_fc.weight": None,
        "c_fc.weight is of shape [64, 255]; by the configuration it must be [64, 256]": place._replace(
            shape=[64, 255], size=place.size - 64 * 4
        ),
        "c_fc.weight is of type I64": place._replace(dtype="I64"),
        "c_fc.weight is cut short": place._replace(size=place.size - 4),
        "model.safetensors is cut short: weight transformer.h.1.mlp.c_fc.weight is not all in it": place._replace(
            size=1 << 40
        ),
    }
    for message, changed in wrong.items():
        weights = {key: value for key, value in source.weights.items() if key != name}
        if changed is not None:
            weights[name] = changed
        with pytest.raises(_generator.ModelError) as caught:
            Generators(replace(source, weights=weights))
        assert message in str(caught.value)
    spoilt = source_of(reference, tmp_path, transformer__ln_f__weight=torch.full((64,), torch.nan))
    with pytest.raises(_generator.ModelError, match="not finite"):
        Generators(spoilt)


def test_an_architecture_that_does_not_generate(source: Source) -> None:
    for kind, message in (("bert", "has no num_hidden_layers"), ("mamba", "mamba; served are")):
        with pytest.raises(_generator.ModelError, match=message):
            Generators(replace(source, config=source.config | {"model_type": kind}))


def test_wrong_settings_and_requests(shared: Generators, source: Source) -> None:
    for wrong, message in (
        ({"slots": 0}, "slots must be 1 to 256"),
        ({"slots": 257}, "slots must be 1 to 256"),
        ({"queue_tokens": 10}, "queue_tokens"),
        ({"precision": "int3"}, "precision must be"),
        ({"device": "cuda:99"}, r"there is no device cuda:99 \(setting device\): "),
        ({"device": "tpu"}, "device is 'tpu'; it must be cpu or"),
    ):
        with pytest.raises(ValueError, match=message):
            Generators(source, **wrong)
    for prompt, max_tokens, message in (([], 1, "nothing"), ([1], 128, "positions"), ([VOCABULARY], 1, "vocabulary")):
        with pytest.raises(ValueError, match=message):
            shared.submit(prompt, max_tokens)
