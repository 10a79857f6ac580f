"""Whose calls they are, as far as clients share what there is.

A connection of the Thrift port is one client. Requests over HTTP are one each: a connection brings them one by one.
"""

from __future__ import annotations

from collections import deque
from itertools import count
from typing import TYPE_CHECKING

from process.security.openness import is_loopback
from server.calls import Pending

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable

    from process.security.access import Visit

WINDOW = 256
"""Items of lists that one client has in queues at a time: enough for full batches, too few to fill a queue."""

_OWNERS = (1 << 32) - 1
_FLOWS = 1 << 32
_numbers = count(1)


def new_flow(behind: int = 0) -> int:
    """What queues know a client by that asks once: see ext/queue/flows.h. `behind`: see Client."""
    return behind | next(_numbers) % _FLOWS


class Client:
    """One of them. Belongs to the event loop.

    `owner` is who is behind it, such as a token or an address; None where that is not known. `account` is what it
    shares streams by; None: its streams are counted elsewhere. What is connected ends some time, and its streams too.
    """

    __slots__ = ("_items", "_waiting", "account", "behind", "flow", "is_connected", "on_gone")

    def __init__(self, owner: Hashable = None, account: Hashable = None, *, is_connected: bool = False) -> None:
        self.behind = (hash(owner) % _OWNERS + 1) << 32 if owner is not None else 0
        """The owner's part of flows."""
        self.flow = new_flow(self.behind)
        """What queues know it by: see ext/queue/flows.h."""
        self.is_connected = is_connected
        if owner is not None:
            account = owner
        elif is_connected:
            account = self.flow
        self.account = account
        self.on_gone: Callable[[Client], object] | None = None
        self._items = 0
        self._waiting: deque[Pending[None]] | None = None

    def another(self) -> Client:
        """As a new one that is made with the same owner, in half the time."""
        made = Client.__new__(Client)
        made.behind = behind = self.behind
        made.flow = behind | next(_numbers) % _FLOWS
        made.is_connected = False
        made.account = self.account
        made.on_gone = made._waiting = None
        made._items = 0
        return made

    @property
    def has_room(self) -> bool:
        """Whether an item more of a list may be submitted."""
        return self._items < WINDOW

    @property
    def has_items(self) -> bool:
        """Whether some are in queues, after which there will be room."""
        return self._items > 0

    def enter(self) -> None:
        """An item has been submitted."""
        self._items += 1

    def leave(self, items: int) -> None:
        """So many have been answered, or nobody waits for them any more."""
        self._items -= items

    def offer_room(self) -> None:
        """Let those go on who wait for room, as far as there is some."""
        waiting = self._waiting
        for _ in range(len(waiting) if waiting else 0):  # who finds no room after all waits again, at the end
            if not waiting or self._items >= WINDOW:
                return
            waiting.popleft().resolve(None)

    def room(self) -> Pending[None]:
        """Done when there is room, in the order of those who wait for it."""
        waiter: Pending[None] = Pending()
        if self._waiting is None:
            self._waiting = deque()
        self._waiting.append(waiter)
        return waiter

    def leave_for_good(self) -> None:
        """It is gone: nothing of it goes on."""
        if self._waiting:
            self._waiting.clear()
        if self.on_gone is not None:
            self.on_gone(self)


class _Calling:
    """The client whose call is being started."""

    __slots__ = ("client",)

    def __init__(self) -> None:
        self.client: Client | None = None


CALLING = _Calling()
"""Set while a handler's method runs up to its first wait: what it needs of it later, it has read by then."""


def owner_of(visit: Visit | None, address: str | None) -> Hashable:
    """Who is behind a connection: whose token it has, or else its address; None of those on this machine."""
    name = visit.caller.grant.name if visit is not None and visit.caller is not None else None
    if name is not None:
        return "token", name
    return None if address is None or is_loopback(address) else ("address", address)
