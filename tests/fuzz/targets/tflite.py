"""TensorFlow Lite files: their tables and tensors, and Smart Reply's graph. No runtime of others is given one here."""

from __future__ import annotations

from typing import TYPE_CHECKING

import tflite

from ext import _smart_reply
from tests.support.smart_reply_models import small_parts, variant

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.shared import SharedFiles

_MESSAGES = (b"Hello", b"", "Grüße, wie geht's? \U0001f600".encode(), b"\xff\xfe" * 30)


class Target:
    """See tests.fuzz.targets."""

    growth_bytes = 192 << 20

    def __init__(self, files: SharedFiles) -> None:
        del files

    def one(self, data: bytes) -> bool:
        """Whether it is Smart Reply's graph, and answers."""
        try:
            file = _smart_reply.ModelFile.copied(data)
            if not file.is_smart_reply:
                file.check_tensors()
                return False
            model = _smart_reply.Model(file)
            model.merged_replies(list(_MESSAGES))
        except _smart_reply.ModelError:
            return False
        return True

    def seeds(self) -> Iterator[bytes]:
        """Graphs as several writers give them."""
        parts = small_parts()
        yield parts.graph()
        yield variant(parts)
        yield variant(parts, skip_gram=(2, 1, False), projection=tflite.LSHProjectionType.DENSE, weighted=False)
        yield variant(parts, scores_first=True)

    def close(self) -> None:
        """See tests.fuzz.targets."""
