"""Which chat templates a folder has, and where they stand: as transformers looks for them.

Files of their own go before tokenizer_config.json: chat_template.jinja is the default one, and those of the folder
additional_chat_templates are named by their files. chat_template.json is what processors wrote before.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from server.errors import ModelError
from server.models.formats import read_json, require_readable

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

FILE, FOLDER, OLD_FILE = "chat_template.jinja", "additional_chat_templates", "chat_template.json"
DEFAULT, WITH_TOOLS = "default", "tool_use"

_CONFIG = "tokenizer_config.json"
_MOST_BYTES, _MOST = 1 << 20, 64


class ChatTemplates(NamedTuple):
    """A folder's templates, and what they may use by name."""

    sources: Mapping[str, str]
    """By their names; one of them is DEFAULT."""
    special_tokens: Mapping[str, str]
    """bos_token -> <s> and so on."""

    def chosen(self, with_tools: bool) -> str:
        """The name of the template for a conversation with tools, or without."""
        return WITH_TOOLS if with_tools and WITH_TOOLS in self.sources else DEFAULT


def read(folder: Path, special_tokens: Mapping[str, str]) -> ChatTemplates | None:
    """None where the folder has no chat template. Raises ModelError, OSError."""
    sources = _of_files(folder) or _of_config(folder) or _of_old_file(folder)
    if not sources:
        return None
    if len(sources) > _MOST:
        raise _too_many(len(sources))
    for name, source in sources.items():
        _check_size(name, len(source.encode()))
    if DEFAULT not in sources:
        raise ModelError(f"none of its chat templates is the default one: there are {', '.join(sorted(sources))}")
    return ChatTemplates(sources, special_tokens)


def _of_files(folder: Path) -> dict[str, str]:
    files = {path.name.removesuffix(".jinja"): path for path in sorted((folder / FOLDER).glob("*.jinja"))}
    if (folder / FILE).is_file():
        files[DEFAULT] = folder / FILE
    if len(files) > _MOST:
        raise _too_many(len(files))
    return {name: _text(path) for name, path in files.items()}


def _too_many(count: int) -> ModelError:
    return ModelError(f"there are {count} chat templates; at most {_MOST} are read")


def _of_config(folder: Path) -> dict[str, str]:
    if not (folder / _CONFIG).is_file():
        return {}
    given = read_json(folder / _CONFIG).get("chat_template")
    if isinstance(given, list):
        given = {_named(each, "name"): _named(each, "template") for each in given}
    return _sources(given, _CONFIG)


def _of_old_file(folder: Path) -> dict[str, str]:
    if not (folder / OLD_FILE).is_file():
        return {}
    return _sources(read_json(folder / OLD_FILE).get("chat_template"), OLD_FILE)


def _sources(given: Any, file: str) -> dict[str, str]:
    if given is None:
        return {}
    sources = {DEFAULT: given} if isinstance(given, str) else given
    if not isinstance(sources, dict) or not all(isinstance(source, str) for source in sources.values()):
        raise ModelError(f"{file}: chat_template: expected a template, or several by their names")
    return sources


def _named(each: Any, key: str) -> str:
    value = each.get(key) if isinstance(each, dict) else None
    if not isinstance(value, str):
        raise ModelError(f"{_CONFIG}: chat_template: expected objects with a name and a template")
    return value


def _text(path: Path) -> str:
    require_readable(path)
    _check_size(path.name, path.stat().st_size)
    try:
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError:
        raise ModelError(f"{path.name} is no UTF-8") from None


def _check_size(name: str, size: int) -> None:
    if size > _MOST_BYTES:
        raise ModelError(f"the chat template {name!r} has {size} bytes; at most {_MOST_BYTES} are read")
