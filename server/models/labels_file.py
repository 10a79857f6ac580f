"""Labels of a model whose scores have none: a text file beside it."""

from __future__ import annotations

from pathlib import Path

from server.errors import ModelError
from server.models.formats import require_readable

_MAX_LABELS = 1_000_000
_MAX_LABEL_BYTES = 1 << 26


def labels_beside(path: Path) -> list[str] | None:
    """The lines of PATH.labels.txt, if there is one. Raises ModelError, OSError."""
    file = Path(f"{path}.labels.txt")
    if not file.exists():
        return None
    require_readable(file, _MAX_LABEL_BYTES)
    try:
        labels = file.read_text(encoding="utf-8").splitlines()
    except UnicodeDecodeError as error:
        raise ModelError(f"{file}: not UTF-8: {error}") from None
    if len(labels) > _MAX_LABELS or len(set(labels)) != len(labels) or not all(labels):
        raise ModelError(f"{file}: expected at most {_MAX_LABELS} labels, one a line, none empty and none twice")
    return labels
