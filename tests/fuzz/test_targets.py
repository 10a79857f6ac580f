"""The fuzzers' targets without a fuzzer: what they begin with is right, and what was found once is found no more."""

from __future__ import annotations

from random import Random
from typing import TYPE_CHECKING

import pytest

from tests.fuzz.mutations import json_mutated, spoilt
from tests.fuzz.targets import NAMES, Target, made
from tests.fuzz.unit import FaultError, run
from tests.support.garbage import uncollected
from tests.support.service import ROOT

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.shared import SharedFiles

CRASHES = ROOT / "tests" / "fuzz" / "crashes"
SPOILT = 60

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def target(request: pytest.FixtureRequest, shared_files: SharedFiles) -> Iterator[Target]:
    """The target of this name, for all tests of it."""
    opened = made(request.param, shared_files)
    yield opened
    opened.close()


@pytest.mark.parametrize("target", NAMES, indirect=True)
def test_right_inputs_are_taken(target: Target) -> None:
    """Else a fuzzer that begins with them would go no further than the first refusal."""
    assert [data[:60] for data in target.seeds() if not run(target, data)] == []


@pytest.mark.parametrize("target", NAMES, indirect=True)
def test_spoilt_inputs_are_refused(target: Target) -> None:
    seeds = list(target.seeds())
    rng = Random(7)
    for number in range(SPOILT):
        data = rng.choice(seeds)
        run(target, (json_mutated(data, number) if number % 2 else None) or spoilt(data, rng))


@pytest.mark.parametrize("target", NAMES, indirect=True)
def test_what_was_found_is_mended(target: Target, request: pytest.FixtureRequest) -> None:
    for path in sorted((CRASHES / request.node.callspec.params["target"]).glob("*")):
        run(target, path.read_bytes())


@pytest.mark.parametrize("target", ["thrift", "http"], indirect=True)
def test_nothing_is_left_to_the_garbage_collector(target: Target) -> None:
    """It comes by so rarely that what clients sent who are gone would add up to gigabytes."""
    rng = Random(11)
    inputs = [form for data in target.seeds() for form in (data, data[: len(data) * 2 // 3], spoilt(data, rng))]
    for data in inputs:  # what is made once stays
        target.one(data)
    with uncollected() as collected:
        for data in inputs:
            target.one(data)
            left = collected()
            assert not left, (data, left)


class Faulty:
    """What a target may not do."""

    growth_bytes = 32 << 20

    def __init__(self, what: str) -> None:
        self._what = what

    def one(self, data: bytes) -> bool:
        import logging
        import time

        import structlog

        if self._what == "slow":
            end = time.process_time() + 1.1
            while time.process_time() < end:
                pass
        elif self._what == "greedy":
            b"x" * (256 << 20)
        elif self._what == "traceback":
            structlog.get_logger().error("it failed", exc_info=ValueError("secret"))
        else:
            logging.getLogger("aiohttp").error("Unhandled exception")
        return True


@pytest.mark.parametrize(
    ("what", "fault"), [("slow", "processor"), ("greedy", "grew"), ("traceback", "logged"), ("library", "logged")]
)
def test_a_fault_is_seen(what: str, fault: str) -> None:
    with pytest.raises(FaultError, match=fault):
        run(Faulty(what), b"")  # type: ignore[arg-type]
