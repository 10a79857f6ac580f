"""How many tokens of a prompt a step reads beside texts that grow, on machines whose times are made up."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ext._generator import StepBudget

if TYPE_CHECKING:
    from collections.abc import Iterator

MS = 1_000_000
ALONE, LEAST = 512, 4
PROMPT = 900
MOST = 4.0


@dataclass
class Machine:
    """What a step takes there, in ns."""

    step: float = 5 * MS
    """Of one text that grows."""
    text: float = 0.2 * MS
    """Of each further one."""
    token: float = 0.3 * MS
    """Of each token of a prompt, at its beginning."""
    looking: float = 1 / 2000
    """More, for each token before it."""
    rows: int = 1
    """Tokens that take as long as one of them."""

    def took(self, decoding: int, tokens: int = 0, position: int = 0) -> int:
        """Of a step that reads so many tokens from this position on."""
        passes = -(-tokens // self.rows) * self.rows
        texts = self.step + self.text * (decoding - 1) if decoding else 0
        return round(texts + passes * self.token * (1 + self.looking * position))


def grow(budget: StepBudget, machine: Machine, decoding: int = 1, steps: int = 40) -> None:
    """Steps without a prompt."""
    for _ in range(steps):
        budget.measured(decoding, 0, machine.took(decoding))


def read(budget: StepBudget, machine: Machine, decoding: int = 1) -> Iterator[tuple[int, float]]:
    """The steps until a prompt is read: tokens, and how long the step takes in usual steps."""
    position = 0
    while position < PROMPT:
        tokens = min(budget.prompt_tokens(decoding), PROMPT - position)
        took = machine.took(decoding, tokens, position)
        budget.measured(decoding, tokens, took)
        position += tokens
        yield tokens, took / machine.took(decoding)


machines = st.builds(
    Machine,
    step=st.floats(0.5 * MS, 100 * MS),
    text=st.floats(0, 1 * MS),
    token=st.floats(0.01 * MS, 5 * MS),
    looking=st.floats(0, 1 / 500),
    rows=st.sampled_from([1, 6, 8, 14]),
).filter(lambda machine: max(machine.rows, LEAST) * machine.token < machine.step / 2)
"""Some are quick, some slow; but where as few tokens as a step must read take longer than it, there is no help."""


@given(machines, st.integers(1, 16))
def test_no_step_takes_more_than_four_times_as_long_as_usual(machine: Machine, decoding: int) -> None:
    """Be it beside the first prompt, of which nothing is known, or beside the next ones."""
    budget = StepBudget()
    grow(budget, machine, decoding)
    for _ in range(3):
        assert max(usual for _, usual in read(budget, machine, decoding)) <= MOST


@given(machines, st.integers(1, 16))
def test_a_prompt_does_not_wait_longer_than_it_has_to(machine: Machine, decoding: int) -> None:
    """From the second one on, steps take about twice as long as usual, unless few read all of it."""
    budget = StepBudget()
    grow(budget, machine, decoding)
    for _ in range(2):
        *steps, _ = (usual for _, usual in read(budget, machine, decoding))
    assert len(steps) < 4 or sum(steps) / len(steps) >= 1.75


def test_alone_a_prompt_is_read_in_large_parts() -> None:
    assert StepBudget().prompt_tokens(0) == ALONE


def test_the_first_prompt_is_read_in_parts_that_double() -> None:
    """How long its tokens take is not known before."""
    budget, machine = StepBudget(), Machine(step=100 * MS, token=1 * MS)
    grow(budget, machine)
    assert [tokens for tokens, _ in read(budget, machine)][:4] == [8, 16, 32, 64]


def test_tokens_that_seem_to_take_no_time() -> None:
    """As long as a step without any: that has been held up. Twice as many are tried, not all."""
    budget, machine = StepBudget(), Machine()
    grow(budget, machine)
    for tokens in (8, 16, 32, 64):
        assert budget.prompt_tokens(1) == tokens
        budget.measured(1, tokens, machine.took(1) // 2)
    budget, machine = StepBudget(), Machine()
    grow(budget, machine)
    budget.measured(1, 8, machine.took(1) // 2)
    assert max(usual for _, usual in read(budget, machine)) <= MOST


@pytest.mark.parametrize("tokens", [0, 20])
def test_a_step_that_was_held_up_changes_little(tokens: int) -> None:
    """By something else on the machine, for 50 times as long as it takes; it is forgotten soon."""
    budget, machine = StepBudget(), Machine(looking=0)
    grow(budget, machine)
    list(read(budget, machine))
    before = budget.prompt_tokens(1)
    budget.measured(1, tokens, 50 * machine.took(1, tokens))
    assert before / 2 <= budget.prompt_tokens(1) <= before * 1.1
    list(read(budget, machine))
    grow(budget, machine)
    assert abs(budget.prompt_tokens(1) - before) <= 1


def test_as_many_texts_as_never_before_grow_without_a_prompt_first() -> None:
    """Sixteen take longer than one: what it takes is measured once, and then for about as many."""
    budget, machine = StepBudget(), Machine(text=1 * MS)
    grow(budget, machine)
    assert budget.prompt_tokens(1) > 0
    assert [budget.prompt_tokens(decoding) for decoding in (2, 8, 15, 16)] == [0] * 4
    grow(budget, machine, 9, 1)
    assert [budget.prompt_tokens(decoding) > 0 for decoding in (7, 8, 15, 16)] == [False, True, True, False]


@given(machines)
def test_when_most_texts_have_ended_the_last_one_is_held_up_no_longer(machine: Machine) -> None:
    budget = StepBudget()
    grow(budget, machine, 1)
    grow(budget, machine, 16)
    list(read(budget, machine, 16))
    assert max(usual for _, usual in read(budget, machine, 1)) <= MOST
