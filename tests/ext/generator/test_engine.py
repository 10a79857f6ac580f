"""Text generation in C++: transformers' own tokens, batch mates that do not matter, leaving at every step.

What a graphics card runs, libtorch's operators, is tried on the processor."""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
import time
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch

from ext import _generator
from ext._batching import Admission, Status
from scripts.convert_generator import converted
from tests.support.generators import (
    BULK,
    END_OF_TEXT,
    LENGTH,
    SIZES,
    STOP,
    Generators,
    as_weights,
    random_model,
    weights_of,
)
from tests.support.lesser_processors import LESS

if TYPE_CHECKING:
    from collections.abc import Iterator

OK, _, _, DEADLINE_EXCEEDED, UNAVAILABLE, INTERNAL = Status
QUEUE_FULL = -Admission.QUEUE_FULL
MS = 1_000_000
VOCABULARY = SIZES["vocabulary"]
LENGTHS = (3, 1, 17, 64, 65, 100, 5, 33)  # a chunk of a prompt is 64 tokens


by_either = pytest.mark.parametrize("by_operators", [False, True], ids=["loops", "operators"])


def prompts(count: int = len(LENGTHS)) -> list[list[int]]:
    """Random prompts of LENGTHS."""
    chosen = np.random.default_rng(5)
    return [chosen.integers(1, VOCABULARY, LENGTHS[i % len(LENGTHS)]).tolist() for i in range(count)]


@pytest.fixture(scope="module")
def reference() -> Any:
    return random_model()


@pytest.fixture(scope="module")
def weights(reference: Any) -> dict[str, Any]:
    return weights_of(reference)


@pytest.fixture(scope="module")
def shared(weights: dict[str, Any]) -> Iterator[Generators]:
    """For tests that ask for tokens only."""
    with Generators(weights) as generators:
        yield generators


def reference_tokens(reference: Any, prompt: list[int], max_tokens: int, **options: Any) -> list[int]:
    tokens = torch.tensor([prompt])
    with torch.inference_mode():
        text = reference.generate(
            tokens, attention_mask=torch.ones_like(tokens), max_new_tokens=max_tokens, do_sample=False, **options
        )
    return text[0, len(prompt) :].tolist()


# ----------------------------------------------------------------------------------------------------- what is right


@by_either
def test_greedy_tokens_are_those_of_transformers(weights: dict[str, Any], reference: Any, by_operators: bool) -> None:
    asked = prompts()
    with Generators(weights, by_operators=by_operators) as generators:
        found = generators.tokens(asked, 28)
    assert found == [reference_tokens(reference, prompt, 28) for prompt in asked]
    assert len(set(map(tuple, found))) == len(asked)


def test_repetition_penalty_as_in_transformers(shared: Generators, reference: Any) -> None:
    asked = prompts(4)
    found = shared.tokens(asked, 20, penalty=1.7)
    assert found == [reference_tokens(reference, prompt, 20, repetition_penalty=1.7) for prompt in asked]
    assert found != shared.tokens(asked, 20)


def error(found: Any, exact: Any) -> float:
    return float(np.linalg.norm(found - exact) / np.linalg.norm(exact))


@by_either
def test_logits_are_those_of_transformers(reference: Any, by_operators: bool) -> None:
    """In bfloat16 as near to float32's as transformers' own are; the weights here are 15 times as large as usual."""
    named = {name.removeprefix("transformer."): weight for name, weight in reference.state_dict().items()}
    del named["lm_head.weight"]
    prompt = prompts()[5]
    with torch.inference_mode():
        exact = reference(torch.tensor([prompt])).logits[0].numpy()
        rounded = random_model().bfloat16()(torch.tensor([prompt])).logits[0].float().numpy()
    most = {"float32": 1e-5, "bfloat16": 1.2 * error(rounded, exact), "int8": 3 * error(rounded, exact)}
    for precision, tolerance in most.items():
        options = {"precision": precision, "by_operators": by_operators}
        content = _generator.read_logits(SIZES, as_weights(converted(named, precision)), prompt, **options)
        found = np.frombuffer(content, np.float32).reshape(len(prompt), VOCABULARY)
        assert error(found, exact) < tolerance, precision


WIDE = SIZES | {"layers": 1, "heads": 12, "hidden_size": 768, "intermediate_size": 4 * 768}


def wide_weights() -> dict[str, Any]:
    """Tensors for WIDE."""
    width = WIDE["hidden_size"]
    chosen = torch.Generator().manual_seed(3)
    shapes = {
        "wte": (VOCABULARY, width),
        "wpe": (SIZES["context"], width),
        "h.0.attn.c_attn": (width, 3 * width),
        "h.0.attn.c_proj": (width, width),
        "h.0.mlp.c_fc": (width, 4 * width),
        "h.0.mlp.c_proj": (4 * width, width),
    }
    named = {f"{name}.weight": torch.randn(shape, generator=chosen) * 0.05 for name, shape in shapes.items()}
    named |= {f"{name}.bias": torch.randn(shape[1], generator=chosen) for name, shape in list(shapes.items())[2:]}
    for norm in ("h.0.ln_1", "h.0.ln_2", "ln_f"):
        named |= {f"{norm}.weight": torch.ones(width), f"{norm}.bias": torch.zeros(width)}
    return named


def test_wide_layers_in_every_precision() -> None:
    named = wide_weights()
    prompt = prompts()[2]

    def logits(precision: str, tokens: list[int]) -> Any:
        content = _generator.read_logits(WIDE, as_weights(converted(named, precision)), tokens, precision=precision)
        return np.frombuffer(content, np.float32).reshape(len(tokens), VOCABULARY)

    exact = logits("float32", prompt)
    for precision, tolerance in (("bfloat16", 0.02), ("int8", 0.03)):
        found = logits(precision, prompt)
        assert error(found, exact) < tolerance, precision
    assert np.array_equal(logits("int8", prompt[:7]), found[:7])  # sums are exact: not by luck


@pytest.mark.parametrize("precision", ["float32", "int8"])
def test_threads_do_not_matter(precision: str) -> None:
    """The products of these layers are large enough for two."""
    given = as_weights(converted(wide_weights(), precision))
    found = []
    for threads in (1, 2):
        with Generators(given, sizes=WIDE, precision=precision, threads=threads) as generators:
            found.append(generators.tokens(prompts(), 5, temperature=1.0))
    assert found[0] == found[1]


ODD = SIZES | {
    "layers": 1,
    "heads": 3,
    "hidden_size": 51,
    "intermediate_size": 17,
}  # no multiple of 4: of int8 four are one word


@pytest.mark.parametrize("less", LESS)
@pytest.mark.parametrize("sizes", [SIZES, ODD], ids=["even", "odd"])
def test_products_by_lesser_processors(less: str, sizes: dict[str, Any]) -> None:
    """int8's sums are exact whatever multiplies: there the last bit is the same."""
    named = {name.removeprefix("transformer."): w for name, w in random_model(sizes=sizes).state_dict().items()}
    del named["lm_head.weight"]
    program = (
        "import pickle, sys; from ext import _generator; what, how = pickle.load(sys.stdin.buffer);"
        "sys.stdout.buffer.write(_generator.read_logits(*what, **how))"
    )
    for precision, tolerance in (("float32", 1e-5), ("int8", 0)):
        what, how = (sizes, as_weights(converted(named, precision)), prompts()[5]), {"precision": precision}
        command = [sys.executable, "-c", program]
        given = pickle.dumps((what, how))
        done = subprocess.run(command, input=given, env=os.environ | LESS[less], capture_output=True, check=True)
        found, wanted = (np.frombuffer(it, np.float32) for it in (done.stdout, _generator.read_logits(*what, **how)))
        assert error(found, wanted) <= tolerance, precision


# ------------------------------------------------------------------------------------------------------- batch mates


@by_either
@pytest.mark.parametrize("precision", ["float32", "bfloat16", "int8"])
def test_a_sampled_text_does_not_depend_on_its_batch_mates(reference: Any, precision: str, by_operators: bool) -> None:
    named = {name.removeprefix("transformer."): weight for name, weight in reference.state_dict().items()}
    del named["lm_head.weight"]
    asked = prompts()
    options = {"temperature": 1.0, "seed": 7}
    how = {"precision": precision, "by_operators": by_operators}
    with Generators(as_weights(converted(named, precision)), slots=8, **how) as generators:
        assert generators.native.batch_invariant
        alone = [generators.tokens([prompt], 25, **options)[0] for prompt in asked]
        assert generators.tokens(asked, 25, **options) == alone
        assert generators.tokens(asked[::-1], 25, **options) == alone[::-1]
        many = generators.tokens(prompts(3 * len(LENGTHS)) + asked, 25, **options)  # more than there are slots
        assert many[-len(asked) :] == alone
        assert generators.tokens(asked, 25, temperature=1.0, seed=8) != alone


def test_requests_join_and_leave_between_steps(weights: dict[str, Any]) -> None:
    """With two slots, a third request takes the place of the second, and is done long before the first."""
    with Generators(weights, slots=2, hold=4) as generators:
        for max_tokens in (120, 2, 2, 2):
            generators.submit([1, 2, 3], max_tokens)
        generators.wait()
        assert list(generators.outcomes) == [1, 2, 3, 0]
        assert generators.native.stats()["batches"] < 125


@pytest.mark.parametrize(("bulk", "rounds"), [(4, 1), (8, 2)])
def test_bulk_texts_hold_their_share_of_the_slots_side_by_side(weights: dict[str, Any], bulk: int, rounds: int) -> None:
    """A quarter of 16 beside an interactive text; all begin together, so that steps tell how many grew at a time."""
    with Generators(weights, slots=16, bulk_share=0.25, hold=bulk + 1) as generators:
        alone = [generators.submit([1, 2, 3], 101, lane=BULK) for _ in range(bulk + 1)]
        generators.wait()
        assert generators.native.stats()["batches"] == 100
        beside = [generators.submit([1, 2, 3], 101, lane=BULK) for _ in range(bulk)]
        generators.submit([1, 2, 3], 101)
        generators.wait()
        assert min(alone + beside) > 0
        assert generators.native.stats()["batches"] == 100 + rounds * 100


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


def next_probabilities(weights: dict[str, Any], temperature: float) -> Any:
    content = _generator.read_logits(SIZES, weights, prompts(1)[0])
    logits = np.frombuffer(content, np.float32).reshape(-1, VOCABULARY)[-1].astype(np.float64) / temperature
    weights_ = np.exp(logits - logits.max())
    return weights_ / weights_.sum()


def test_tokens_come_as_often_as_they_are_likely(shared: Generators, weights: dict[str, Any]) -> None:
    likely = next_probabilities(weights, 3.0)
    found = np.bincount(first_tokens(shared, 3000, temperature=3.0), minlength=VOCABULARY) / 3000
    assert np.abs(found - likely).max() < 5 * np.sqrt(likely.max() / 3000)
    assert np.corrcoef(found, likely)[0, 1] > 0.9


def test_top_k_and_top_p(shared: Generators, weights: dict[str, Any]) -> None:
    order = np.argsort(-next_probabilities(weights, 4.0), kind="stable")
    sums = np.cumsum(next_probabilities(weights, 4.0)[order])
    assert set(first_tokens(shared, 400, temperature=4.0, top_k=5)) == set(order[:5].tolist())
    assert set(first_tokens(shared, 50, temperature=4.0, top_k=1)) == {order[0]}
    kept = int(np.searchsorted(sums, 0.3)) + 1
    assert set(first_tokens(shared, 100 * kept, temperature=4.0, top_p=0.3)) <= set(order[:kept].tolist())
    assert set(first_tokens(shared, 50, temperature=4.0, top_p=1e-9)) == {order[0]}
    of_ten = np.cumsum(next_probabilities(weights, 4.0)[order[:10]])
    kept = int(np.searchsorted(of_ten / of_ten[-1], 0.5)) + 1
    assert set(first_tokens(shared, 400, temperature=4.0, top_k=10, top_p=0.5)) == set(order[:kept].tolist())


def test_a_low_temperature_is_greedy(shared: Generators) -> None:
    greedy = shared.tokens(prompts(4), 15)
    for temperature in (1e-300, 1e-9, 1e-5):
        assert shared.tokens(prompts(4), 15, temperature=temperature) == greedy


@pytest.mark.parametrize("penalty", [1e-300, 1e-3, 10.0])
def test_extreme_penalties_are_no_failures(shared: Generators, penalty: float) -> None:
    for temperature in (0.0, 1.0):
        found = shared.tokens(prompts(2), 15, temperature=temperature, penalty=penalty, top_p=0.9)
        assert [len(tokens) for tokens in found] == [15, 15]


# -------------------------------------------------------------------------------------------------------------- text


def texts_of(weights: dict[str, Any], token_bytes: list[bytes], **options: Any) -> tuple[str, list[str], Any]:
    """One greedy text whole, the parts in which it is streamed, and the end of it."""
    with Generators(weights, token_bytes) as generators:
        generators.submit([1, 2], 24, **options)
        ((_, whole),) = generators.wait()
        request = generators.submit([1, 2], 24, streamed=True, **options)
        streamed = generators.wait()[1][1]
        parts = [text for text, _ in generators.progress.get(request, [])]
    assert streamed[1:] == whole[1:]
    assert "".join(parts) + streamed[0] == whole[0]
    return whole[0], parts, whole


def test_characters_are_never_cut(weights: dict[str, Any]) -> None:
    """Every token is one byte of a long text of characters of 1 to 4 bytes."""
    letters = "aé€😀".encode()
    text, parts, _ = texts_of(weights, [letters[i % len(letters) : i % len(letters) + 1] for i in range(VOCABULARY)])
    assert all(part.encode().decode() == part for part in parts)
    assert text
    # A text that ends within a character ends before it.
    cut, _, (_, tokens, _) = texts_of(weights, [b"\xf0\x9f\x98"] * VOCABULARY)
    assert len(tokens) == 24
    assert cut == "\ufffd" * 23


def test_stop_strings_across_tokens(weights: dict[str, Any]) -> None:
    with Generators(weights) as generators:
        generators.submit([1, 2], 24)
        ((_, (whole, tokens, _)),) = generators.wait()
    first, second, third = (f"{token} " for token in tokens[10:13])
    stop = first[-2:] + second + third[:1]
    text, parts, (_, found, finish) = texts_of(weights, None, stop=["never", stop, "x" * 256])  # type: ignore[arg-type]
    assert text == whole[: whole.index(stop)]
    assert finish == STOP
    assert found == tokens[: len(found)]
    assert len(found) <= 13
    assert not any(stop[:2] in part[-2:] for part in parts)  # what may be its beginning was held back


def test_an_end_token(weights: dict[str, Any]) -> None:
    with Generators(weights) as generators:
        generators.submit([1, 2], 24)
        ((_, (_, tokens, finish)),) = generators.wait()
    assert finish == LENGTH
    at = tokens.index(tokens[9])
    with Generators(weights, ends=[tokens[9]]) as generators:
        generators.submit([1, 2], 24)
        ((_, (text, found, finish)),) = generators.wait()
    assert finish == END_OF_TEXT
    assert found == tokens[: at + 1]
    assert text == "".join(f"{token} " for token in tokens[:at])


# ----------------------------------------------------------------------------------------------------------- leaving


def test_cancelling_one_of_eight_frees_its_slot_within_two_steps() -> None:
    """Of wide layers, so that the texts do not end before this has looked at them; where they did, it looks again."""
    asked = [prompt[:20] for prompt in prompts()]
    with Generators(as_weights(wide_weights()), sizes=WIDE, slots=8, hold=8) as generators:
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


def test_a_deadline_ends_texts_that_grow(weights: dict[str, Any]) -> None:
    """A third of the time that they took just now; tried again when the machine was busier then."""
    with Generators(weights) as generators:
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
            if {status for status, _ in limited} == {DEADLINE_EXCEEDED}:
                break
        else:
            pytest.fail("the deadline never passed")
        assert all("deadline" in message for _, message in limited)
        assert after["expired"] == before["expired"] + 7
        assert 120 <= after["generated_tokens"] - before["generated_tokens"] < 8 * 120


def test_a_full_queue_and_closing(weights: dict[str, Any]) -> None:
    generators = Generators(weights, slots=1, queue_items=2)
    assert QUEUE_FULL in [generators.submit([1, 2], 100) for _ in range(20)]
    generators.native.wake()
    rest = generators.native.close()
    assert rest
    assert {status for _, status, _ in rest} <= {OK, UNAVAILABLE}


@pytest.mark.parametrize("precision", ["float32", "int8"])
@by_either
def test_a_model_that_fails_fails_one_request(reference: Any, by_operators: bool, precision: str) -> None:
    """A position whose embedding is not a number spoils the texts that reach it, and not who has their slot next."""
    named = {name.removeprefix("transformer."): weight for name, weight in reference.state_dict().items()}
    del named["lm_head.weight"]
    named["wpe.weight"] = named["wpe.weight"].clone()
    named["wpe.weight"][10] = torch.nan
    spoilt = as_weights(converted(named, precision))
    with Generators(spoilt, precision=precision, by_operators=by_operators, slots=2) as generators:
        generators.submit([1, 2], 20)
        generators.submit([1, 2], 5)
        (status, message), (other, _) = generators.wait()
        assert (status, other) == (INTERNAL, OK)
        assert "no finite number" in message
        assert generators.native.stats()["failed"] == 1
        assert len(set(map(tuple, generators.tokens([[1, 2]] * 4, 5)))) == 1


# --------------------------------------------------------------------------------------------------------- refusals


def test_wrong_weights(weights: dict[str, Any]) -> None:
    dtype, shape, content = weights["h.1.mlp.c_fc.weight"]
    wrong = {
        "there is no weight h.1.mlp.c_fc.weight": None,
        "weight h.1.mlp.c_fc.weight is of shape [64, 255]; by the configuration it must be [64, 256]": (
            dtype,
            [64, 255],
            content,
        ),
        "weight h.1.mlp.c_fc.weight is of type I64": ("I64", shape, content),
        "weight h.1.mlp.c_fc.weight is cut short": (dtype, shape, content[:-4]),
    }
    for message, weight in wrong.items():
        given = {name: value for name, value in weights.items() if name != "h.1.mlp.c_fc.weight"}
        if weight is not None:
            given["h.1.mlp.c_fc.weight"] = weight
        with pytest.raises(_generator.ModelError) as caught:
            Generators(given)
        assert message in str(caught.value)


@by_either
def test_what_int8_needs(reference: Any, by_operators: bool) -> None:
    named = {name.removeprefix("transformer."): weight for name, weight in reference.state_dict().items()}
    given = as_weights(converted(named, "int8"))
    how = {"precision": "int8", "by_operators": by_operators}
    with pytest.raises(_generator.ModelError, match="intermediate_size is 132001; in int8 132000 is the most"):
        Generators(given, sizes=SIZES | {"intermediate_size": 132_001}, **how)
    with pytest.raises(_generator.ModelError, match="hidden_size is 132004; in int8 132000 is the most"):
        Generators(given, sizes=SIZES | {"hidden_size": 132_004}, **how)
    with pytest.raises(_generator.ModelError, match=r"there is no weight lm_head\.weight"):
        Generators({name: weight for name, weight in given.items() if name != "lm_head.weight"}, **how)


def test_wrong_settings_and_requests(shared: Generators, weights: dict[str, Any]) -> None:
    for settings, message in (
        ({"slots": 0}, "every size"),
        ({"slots": 257}, "slots must be 1 to 256"),
        ({"queue_tokens": 10}, "queue_tokens"),
    ):
        with pytest.raises(ValueError, match=message):
            Generators(weights, **settings)
    for execution, message in (
        ({"precision": "int4"}, "precision is 'int4'"),
        ({"device": "cuda:99"}, r"there is no device cuda:99 \(setting device\): "),
        ({"device": "tpu"}, "device is 'tpu'; it must be cpu or"),
    ):
        with pytest.raises(_generator.ModelError, match=message):
            Generators(weights, **execution)
    for prompt, max_tokens, message in (([], 1, "nothing"), ([1], 128, "positions"), ([VOCABULARY], 1, "vocabulary")):
        with pytest.raises(ValueError, match=message):
            shared.submit(prompt, max_tokens)
