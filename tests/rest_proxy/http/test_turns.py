"""Whose turn it is."""

from __future__ import annotations

import asyncio

from rest_proxy.http.fast.turns import Turns


class Connection:
    """Has some things to begin, as many in a pass as it is let."""

    def __init__(self, turns: Turns, things: int, begun: list[str], name: str) -> None:
        self.turns, self.things, self.begun, self.name = turns, things, begun, name

    def go_on(self) -> None:
        """Begin what it may."""
        while self.things:
            if not self.turns.take():
                self.turns.wait(self)
                return
            self.things -= 1
            self.begun.append(self.name)


async def test_a_pass_begins_no_more_than_it_may_and_all_get_their_turns() -> None:
    loop, begun = asyncio.get_running_loop(), list[str]()
    turns = Turns(loop, most=3)
    for name, things in (("a", 7), ("b", 2), ("c", 1)):
        Connection(turns, things, begun, name).go_on()
    passes = [list(begun)]
    while len(begun) < 10:
        before = len(begun)
        await asyncio.sleep(0)
        passes.append(begun[before:])
    assert ["".join(each) for each in passes] == ["aaa", "aaa", "bbc", "a"]


async def test_there_are_turns_again_when_nobody_waits() -> None:
    turns = Turns(asyncio.get_running_loop(), most=2)
    assert [turns.take() for _ in range(4)] == [True, True, False, False]
    await asyncio.sleep(0)
    assert [turns.take() for _ in range(3)] == [True, True, False]


async def test_who_has_nothing_left_holds_up_nobody() -> None:
    turns, begun = Turns(asyncio.get_running_loop(), most=1), list[str]()
    assert turns.take()
    for name, things in (("gone", 0), ("gone", 0), ("a", 1)):
        turns.wait(Connection(turns, things, begun, name))
    for _ in range(4):
        await asyncio.sleep(0)
    assert begun == ["a"]
