"""How the formats of models are told apart: by names and first bytes, without any library that reads them."""

from __future__ import annotations

import json
import re
import zipfile
from typing import TYPE_CHECKING, Any

from server.errors import ModelError
from server.models.zip_archive import open_zip

if TYPE_CHECKING:
    from pathlib import Path

GENERATOR_JSON = "generator.json"
"""What an older version's script left beside a generator whose weights it had converted."""

ADAPTER_JSON = "adapter_config.json"
"""What describes an adapter (peft)."""

_MAX_JSON_BYTES = 64 << 20
_MAX_TEXT_BYTES = 256 << 20  # of tokenizers

_SURROGATE = re.compile(r"\\u[dD][89a-fA-F]")


def is_torchscript(path: Path) -> bool:
    """TorchScript files are zip archives with a folder `code`; those of torch.save have none."""
    try:
        with open_zip(path) as archive:
            return any("/code/" in name for name in archive.namelist())
    except zipfile.BadZipFile:
        return False


def is_tflite(path: Path) -> bool:
    """The identifier of the schema, in the place where flatbuffers have it."""
    with path.open("rb") as file:
        return file.read(8)[4:] == b"TFL3"


def is_gguf(path: Path) -> bool:
    """A file of llama.cpp's."""
    with path.open("rb") as file:
        return file.read(4) == b"GGUF"


def is_hugging_face(path: Path) -> bool:
    """Whether the folder is what transformers or sentence-transformers save, whatever its architecture."""
    own = any((path / name).is_file() for name in ("config.json", "modules.json", "model.pt2"))
    return own or (model_folder(path) / "config.json").is_file()


def is_adapter(path: Path) -> bool:
    """Whether the folder holds an adapter and no model of its own."""
    return (path / ADAPTER_JSON).is_file() and not (path / "config.json").is_file()


def model_folder(path: Path) -> Path:
    """Where a generator's weights lie: in the folder itself, or in `model` beside `tokenizer`."""
    return path / "model" if (path / "model").is_dir() and not (path / "config.json").is_file() else path


def require_readable(path: Path, most: int = _MAX_TEXT_BYTES) -> None:
    """Raise ModelError for what is no regular file, since a pipe would be waited for, or has too many bytes.

    FileNotFoundError where there is nothing.
    """
    if path.exists() and not path.is_file():
        raise ModelError(f"{path.name} is no regular file")
    if path.stat().st_size > most:
        raise ModelError(f"{path.name} has more than {most} bytes")


def read_json(path: Path) -> dict[str, Any]:
    content = read_any_json(path)
    if not isinstance(content, dict):
        raise ModelError(f"{path.name} is not a JSON object")
    return content


def parsed_json(data: bytes) -> Any:
    """The value. Raises ValueError, RecursionError.

    A text with half a surrogate pair is refused: Python has such strings, but nothing that they are handed to.
    """
    text = data.decode(json.detect_encoding(data))
    value = json.loads(text)
    if _SURROGATE.search(text):
        try:
            json.dumps(value, ensure_ascii=False).encode()
        except UnicodeEncodeError:
            raise ValueError("a text in it has half a surrogate pair") from None
    return value


def read_any_json(path: Path) -> Any:
    """Raises ModelError, OSError."""
    try:
        require_readable(path, _MAX_JSON_BYTES)
        return parsed_json(path.read_bytes())
    except FileNotFoundError:
        raise ModelError(f"there is no {path.name}") from None
    except (ValueError, RecursionError) as error:
        raise ModelError(f"{path.name} is no JSON: {error}") from None
