"""Clients of both ports: good ones, malformed ones, and such as vanish at every stage."""

from __future__ import annotations

import asyncio
import contextlib
import enum
import math
import time
from collections import Counter
from typing import TYPE_CHECKING, Any

from tests.chaos.line import Line
from tests.chaos.malformed import malformed
from tests.chaos.questions import Failing, RefusedError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from random import Random

    from tests.chaos.questions import Question

ANSWER_S = 60.0
"""A request that is not answered after so many seconds never will be."""

AGAIN_S = 0.2
KEPT = 0.8
"""Share of requests that come on a connection that is open already."""

TOLERANCE = 1e-5
"""Of numbers: float32's last digits may depend on which texts share a batch."""

_GONE = (ConnectionError, EOFError, asyncio.IncompleteReadError)


class Stage(enum.Enum):
    """When a client vanishes."""

    BEFORE_FIRST_BYTE = "before the first byte"
    IN_MESSAGE = "within a message"
    BEFORE_ANSWER = "before its answer"
    IN_ANSWER = "while it reads the answer"
    UNREAD = "without reading, after several requests"


class Clients:
    """What they ask, what they saw."""

    def __init__(
        self, ports: Mapping[str, int], questions: Sequence[Question], right: Mapping[str, Any], *, asks_again: bool
    ) -> None:
        """`right`: the answer to each question by its name. `asks_again`: HTTP connections may be lost, as the process
        behind them is killed; then a good request is sent again."""
        self._ports = ports
        self._questions = questions
        self._right = right
        self._asks_again = asks_again
        self._bytes = [(one.port, one.data) for one in questions if not isinstance(one, Failing)]
        self.counts: Counter[str] = Counter()
        self.kinds: Counter[str] = Counter()
        self.complaints: list[str] = []
        self.slowest_s = 0.0

    async def run(self, rngs: Sequence[Random], requests: int) -> None:
        """Send so many requests, from as many clients as there are generators of chance."""
        left = iter(range(requests))
        async with asyncio.TaskGroup() as group:
            for rng in rngs:
                group.create_task(self._client(rng, left))

    async def _client(self, rng: Random, left: Any) -> None:
        lines: dict[str, Line] = {}
        for _ in left:
            way = rng.random()
            if way < 1 / 3:
                await self._malformed(rng)
            elif way < 0.45:
                await self._vanish(rng)
            else:
                await self._good(rng, lines)
        for line in lines.values():
            line.close()

    # ---------------------------------------------------------------------------------------------------------- good

    async def _good(self, rng: Random, lines: dict[str, Line]) -> None:
        question = rng.choice(self._questions)
        self.counts["good"] += 1
        began = time.monotonic()
        try:
            async with asyncio.timeout(ANSWER_S):
                answer = await self._answer(question, lines, rng)
        except TimeoutError:
            lines.pop(question.port, None)
            self.complaints.append(f"{question.name}: no answer in {ANSWER_S:g} s")
            return
        except (RefusedError, *_GONE) as error:
            lines.pop(question.port, None)
            self.complaints.append(f"{question.name}: {type(error).__name__}: {error}")
            return
        self.slowest_s = max(self.slowest_s, time.monotonic() - began)
        if answer == self._right[question.name]:
            self.counts["equal to the last bit"] += 1
        elif not are_close(answer, self._right[question.name]):
            self.complaints.append(f"{question.name}: expected {self._right[question.name]!r}, got {answer!r}"[:2000])
            return
        self.counts["right"] += 1

    async def _answer(self, question: Question, lines: dict[str, Line], rng: Random) -> Any:
        while True:
            line = lines.pop(question.port, None)
            if line is None or rng.random() > KEPT:
                if line is not None:
                    line.close()
                line = None
            try:
                if line is None:
                    line = await Line.to(self._ports[question.port])
                answer = await question.ask(line)
            except _GONE:
                if not (self._asks_again and question.port == "http"):
                    raise
                self.counts["asked again"] += 1
                await asyncio.sleep(AGAIN_S)
                continue
            lines[question.port] = line
            return answer

    # ----------------------------------------------------------------------------------------------------- malformed

    async def _malformed(self, rng: Random) -> None:
        wrong = malformed(rng, self._bytes)
        self.counts["malformed"] += 1
        self.kinds[wrong.name] += 1
        try:
            async with asyncio.timeout(ANSWER_S):
                line = await Line.to(self._ports[wrong.port])
                line.send(wrong.data)
                if wrong.name == "nonsense calls":
                    await line.framed_answer()
                    line.close()
                elif rng.random() < 0.5:
                    line.end()
                    await line.until_closed()
                    line.close()
                else:
                    with contextlib.suppress(TimeoutError):
                        async with asyncio.timeout(0.1):
                            await line.until_closed()
                    line.reset()
        except TimeoutError:
            self.complaints.append(f"malformed ({wrong.name}): neither an answer nor an end in {ANSWER_S:g} s")
        except _GONE as error:
            if wrong.name == "nonsense calls":
                self.complaints.append(f"malformed ({wrong.name}): {type(error).__name__}: {error}")
            # else it was closed while it was still sent

    # ------------------------------------------------------------------------------------------------------ vanishing

    async def _vanish(self, rng: Random) -> None:
        port, data = rng.choice(self._bytes)
        stage = rng.choice(tuple(Stage))
        self.counts["vanished"] += 1
        self.kinds[f"vanished {stage.value}"] += 1
        try:
            async with asyncio.timeout(ANSWER_S):
                line = await Line.to(self._ports[port])
                if stage is Stage.IN_MESSAGE:
                    line.send(data[: rng.randrange(1, len(data))])
                elif stage is Stage.UNREAD:
                    line.send(data * rng.randint(2, 20))
                elif stage is not Stage.BEFORE_FIRST_BYTE:
                    line.send(data)
                await line.sent()
                if stage is Stage.IN_ANSWER:
                    await line.reader.read(rng.choice((1, 4, 60)))
                await asyncio.sleep(rng.choice((0, 0, 0.001, 0.02)))
                line.close() if rng.random() < 0.5 else line.reset()
        except TimeoutError:
            self.complaints.append(f"vanishing {stage.value}: no answer in {ANSWER_S:g} s")
        except _GONE:
            if not self._asks_again:
                self.counts["vanished after the server did"] += 1


def are_close(found: Any, right: Any) -> bool:
    """The same but for the last digits of numbers that are no whole ones."""
    if isinstance(right, float) and isinstance(found, float | int):
        return math.isclose(found, right, rel_tol=TOLERANCE, abs_tol=TOLERANCE)
    if isinstance(right, list | tuple) and isinstance(found, list | tuple):
        return len(found) == len(right) and all(map(are_close, found, right))
    if isinstance(right, dict) and isinstance(found, dict):
        return found.keys() == right.keys() and all(are_close(found[key], value) for key, value in right.items())
    if isinstance(right, bytes) and isinstance(found, bytes):
        return _close_vectors(found, right)
    return bool(found == right)


def _close_vectors(found: bytes, right: bytes) -> bool:
    """Of an EmbeddingMatrix, whose values are float32."""
    if len(found) != len(right) or len(right) % 4:
        return False
    numbers = zip(memoryview(found).cast("f"), memoryview(right).cast("f"), strict=True)
    return all(math.isclose(one, other, rel_tol=TOLERANCE, abs_tol=TOLERANCE) for one, other in numbers)
