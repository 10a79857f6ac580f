"""The files of a model's folder that are text: configurations, tokenizers, lists of modules and of shards.

The first byte says which file of FILES the bytes behind it are; the others are right.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.fuzz.model_room import ModelRoom

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.shared import SharedFiles

FILES = (
    "encoder/config.json",
    "encoder/tokenizer.json",
    "encoder/tokenizer_config.json",
    "encoder/modules.json",
    "encoder/sentence_bert_config.json",
    "encoder/1_Pooling/config.json",
    "encoder/config_sentence_transformers.json",
    "encoder/special_tokens_map.json",
    "encoder/model.safetensors.index.json",
    "topics/config.json",
    "topics/tokenizer.json",
    "generator/config.json",
    "generator/generation_config.json",
    "generator/tokenizer.json",
    "generator/tokenizer_config.json",
    "generator/adapter_config.json",
)


class Target:
    """See tests.fuzz.targets."""

    growth_bytes = 192 << 20

    def __init__(self, files: SharedFiles) -> None:
        self._room = ModelRoom(files, "encoder", "topics", "generator")
        self._right = {name: self._content(name) for name in FILES}

    def _content(self, name: str) -> bytes | None:
        path = self._room.path / name
        return path.read_bytes() if path.is_file() else None

    def one(self, data: bytes) -> bool:
        """Whether the model answers."""
        if not data:
            return False
        name = FILES[data[0] % len(FILES)]
        path, right = self._room.path / name, self._right[name]
        path.write_bytes(data[1:])
        try:
            return self._room.works(self._room.path / name.partition("/")[0])
        finally:
            if right is None:
                path.unlink()
            else:
                path.write_bytes(right)

    def seeds(self) -> Iterator[bytes]:
        """Those that the libraries wrote."""
        for number, name in enumerate(FILES):
            content = self._right[name]
            if content is not None:
                yield bytes([number]) + content

    def close(self) -> None:
        """See tests.fuzz.targets."""
        self._room.close()
