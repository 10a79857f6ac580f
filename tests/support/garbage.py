"""What work leaves to the garbage collector: things that have each other, and nobody else has."""

from __future__ import annotations

import contextlib
import gc
from collections import Counter
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


@contextlib.contextmanager
def uncollected() -> Iterator[Callable[[], list[str]]]:
    """No garbage is collected in the block but by what it is given: that collects all, and says what it was."""
    gc.collect()
    gc.freeze()
    gc.disable()
    try:
        yield _collected
    finally:
        gc.enable()
        gc.unfreeze()


def _collected() -> list[str]:
    gc.set_debug(gc.DEBUG_SAVEALL)
    try:
        gc.collect()
        found = Counter(f"{type(thing).__module__}.{type(thing).__name__}" for thing in gc.garbage)
    finally:
        gc.set_debug(0)
        gc.garbage.clear()
    gc.collect()
    return [f"{count} {name}" for name, count in sorted(found.items())]
