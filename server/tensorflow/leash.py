"""For child processes: an end with their parent, however that ends."""

from __future__ import annotations

import os
import threading
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable


def end_with_stdin(last: Callable[[], object] = lambda: None) -> None:
    """End this process, after `last`, when its stdin comes to its end: nobody holds the pipe's other end any more.

    Unlike PR_SET_PDEATHSIG this does not depend on which of the parent's threads started the child.
    """

    def wait() -> None:
        while os.read(0, 4096):
            pass
        last()
        os._exit(0)

    threading.Thread(target=wait, daemon=True).start()
