"""What all engines of the extension have, and the queue alone. For type checkers: there is no such module."""

from collections.abc import Sequence
from typing import Any

# (index of its file, type, shape, offset in bytes, size in bytes, heads whose rows are in pairs, shift, what else
# belongs to whole numbers in groups)
Place = tuple[int, str, Sequence[int], int, int, int, float, object]

class NativeEngine:
    """Each engine adds `submit(..., lane, deadline_ns, tag)`, which gives a request's id, or minus the Admission."""

    @property
    def fd(self) -> int:
        """A file descriptor that becomes readable when there are outcomes."""
    @property
    def submit(self) -> Any: ...  # of a kind of its own for each
    def wake(self) -> bool:
        """Run a request that waits alone and is quick, or wake a worker; whether there are outcomes by that."""
    def cancel(self, id: int) -> bool:  # noqa: A002
        """Take a request out, waiting or running; False when it was answered already."""
    def sweep(self) -> None:
        """Answer requests whose deadline has passed."""
    def drain(self) -> None:
        """Refuse what comes from now on."""
    def stats(self) -> dict[str, int]: ...
    def results(self) -> Sequence[tuple[Any, int, Any]]:
        """Outcomes since the last call: (tag, Status, value or message)."""
    def times(self) -> Sequence[tuple[int, int]]:
        """Of each of those: nanoseconds that it waited, and that its batch ran; 0 of one that did not run."""
    def close(self) -> Sequence[tuple[Any, int, Any]]:
        """Fail what waits, end the workers; the outcomes not yet fetched."""
