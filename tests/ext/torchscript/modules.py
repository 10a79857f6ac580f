"""A TorchScript engine as the tests use it: documents in, outcomes by document, everything with a time limit."""

from __future__ import annotations

import contextlib
import select
import threading
import time
from typing import TYPE_CHECKING, Any, Self

import torch

from ext._batching import Admission, Lane, Status, monotonic_ns
from ext._torchscript import TorchScriptEngine
from scripts.train_classifier import load, tokenize

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

    from tests.support.gate import Gate

OK, INVALID_ARGUMENT, _, DEADLINE_EXCEEDED, UNAVAILABLE, INTERNAL = Status
_, QUEUE_FULL, TOO_LONG, DEADLINE_PASSED, DRAINING, TOO_MANY_BYTES, *_ = (-admission for admission in Admission)
INTERACTIVE, BULK = Lane
NEVER = 2**63 - 1
MS = 1_000_000
PATIENCE_S = 30
TOLERANCE = 1e-5

# For tests that are not about what happens before serving: neither a probe nor a warm-up.
UNPROBED: dict[str, Any] = {"equal_lengths": False, "warm_up_tokens": 0}


class Engine:
    """An engine that is closed at the end of a `with`. Tags are numbers, counted from 0."""

    def __init__(self, path: Path, **settings: Any) -> None:
        self.native = TorchScriptEngine(str(path), **settings)
        self.submitted = 0
        self.outcomes: dict[int, tuple[int, Any]] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.native.close()

    def submit(self, text: str, lane: int = INTERACTIVE, deadline_ns: int = NEVER) -> int:
        """The id, or what the queue refuses it with. Wakes nobody."""
        admitted = self.native.submit(text, lane, deadline_ns, self.submitted)
        self.submitted += admitted > 0
        return admitted

    def gather(self) -> None:
        """Fetch what is there, or comes within a tenth of a second."""
        if select.select([self.native.fd], [], [], 0.1)[0]:
            for tag, status, value in self.native.results():
                assert tag not in self.outcomes, "answered twice"
                self.outcomes[tag] = (status, value)

    def wait_for(self, count: int) -> None:
        end = time.monotonic() + PATIENCE_S
        while len(self.outcomes) < count:
            assert time.monotonic() < end, f"{len(self.outcomes)} of {count} outcomes came"
            self.gather()

    def wait_until_running(self, count: int = 1) -> None:
        end = time.monotonic() + PATIENCE_S
        while self.native.stats()["running"] < count:
            assert time.monotonic() < end, "nothing runs"
            time.sleep(0.0005)

    def submit_late(self, text: str) -> None:
        """Accepted, with a deadline that has passed when this returns."""
        while self.submit(text, deadline_ns=(deadline := monotonic_ns() + MS)) < 0:
            pass  # so busy is the machine that the deadline had passed before
        while monotonic_ns() < deadline:
            time.sleep(0.001)

    def close_while_running(self, gate: Gate) -> list[tuple[Any, int, Any]]:
        """What close() gives, begun while a batch runs that ends when the engine is closed."""

        def open_when_closed() -> None:
            with contextlib.suppress(RuntimeError):
                while self.native.stats():
                    time.sleep(0.001)
            gate.open()

        opener = threading.Thread(target=open_when_closed)
        opener.start()
        rest = self.native.close()
        opener.join()
        return rest

    def answer(self, texts: Sequence[str]) -> list[tuple[int, Any]]:
        """(status, value) of each text; all of them are submitted before any is looked for."""
        first = self.submitted
        for text in texts:
            assert self.submit(text) > 0
        self.native.wake()
        self.wait_for(self.submitted)
        return [self.outcomes[first + i] for i in range(len(texts))]

    def values(self, texts: Sequence[str]) -> list[Any]:
        """The results of texts that must all succeed."""
        answers = self.answer(texts)
        assert [status for status, _ in answers] == [OK] * len(texts), answers
        return [value for _, value in answers]


def alone(path: Path, texts: Iterable[str]) -> list[Any]:
    """What the model itself, called in Python, says to each text on its own."""
    model = load(path)
    names = {argument.name for argument in model.forward.schema.arguments}
    takes_texts = hasattr(model, "tensorizer")
    empty = {"multi_texts": [], "tokens": [], "texts": []} if "languages" not in names else {}
    results = []
    with torch.inference_mode():
        for text in texts:
            given = {"texts": [text]} if takes_texts else {"tokens": [tokenize(text)]}
            arguments = {name: value for name, value in (empty | given).items() if name in names}
            results.append(model(**arguments)[0])
    return results


def assert_close(actual: Any, expected: Any) -> None:
    """Equal to 1e-5: maps of scores, or vectors."""
    if isinstance(expected, dict):
        assert list(actual) == list(expected), "labels, in the model's order"
        actual, expected = list(actual.values()), list(expected.values())
    if isinstance(actual, bytes):
        actual = memoryview(actual).cast("f")
    assert len(actual) == len(expected)
    for one, other in zip(actual, expected, strict=True):
        assert abs(one - other) <= TOLERANCE


def value_of(engine: Engine, text: str, form: Any) -> Any:
    """The value of one text, in the form."""
    number = engine.submitted
    engine.submitted += engine.native.submit(text, INTERACTIVE, NEVER, number, 0, form) > 0
    engine.native.wake()
    engine.wait_for(number + 1)
    status, value = engine.outcomes[number]
    assert status == OK
    return value
