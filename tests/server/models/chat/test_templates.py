"""Where a folder's chat templates stand: the same is chosen that transformers chooses."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING, Any

import pytest

from server.errors import ModelError
from server.models.chat import templates
from tests.support.folders import reference, vocabularies

if TYPE_CHECKING:
    from pathlib import Path

NAMED = [{"name": "default", "template": "of the list"}, {"name": "tool_use", "template": "tools of the list"}]
TOOL = {"type": "function", "function": {"name": "f", "parameters": {}}}

FOLDERS: dict[str, tuple[Any, dict[str, str]]] = {
    # chat_template of tokenizer_config.json, and files
    "a string": ("of the config", {}),
    "a list": (NAMED, {}),
    "a file": (None, {"chat_template.jinja": "of the file"}),
    "a file before a string": ("of the config", {"chat_template.jinja": "of the file"}),
    "a file before a list": (NAMED, {"chat_template.jinja": "of the file"}),
    "files": (
        None,
        {
            "chat_template.jinja": "of the file",
            "additional_chat_templates/tool_use.jinja": "tools of the folder",
            "additional_chat_templates/rag.jinja": "rag",
        },
    ),
}


def write(folder: Path, config: Any, files: dict[str, str]) -> None:
    vocabularies.llama3().save_pretrained(folder)
    path = folder / "tokenizer_config.json"
    settings = json.loads(path.read_text())
    if config is not None:
        settings["chat_template"] = config
    path.write_text(json.dumps(settings))
    for name, content in files.items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(content)


@pytest.mark.parametrize("name", FOLDERS)
def test_the_template_is_that_of_transformers(tmp_path: Path, name: str) -> None:
    from transformers import AutoTokenizer

    write(tmp_path, *FOLDERS[name])
    with reference.quiet():
        library: Any = AutoTokenizer.from_pretrained(tmp_path)
    found = templates.read(tmp_path, {})
    assert found is not None
    for tools in (None, [TOOL]):
        assert found.sources[found.chosen(tools is not None)] == library.get_chat_template(tools=tools)


def test_processors_wrote_another_file(tmp_path: Path) -> None:
    write(tmp_path, None, {"chat_template.json": json.dumps({"chat_template": "of a processor"})})
    found = templates.read(tmp_path, {})
    assert found is not None
    assert found.sources == {"default": "of a processor"}


def test_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    write(tmp_path, None, {"additional_chat_templates/rag.jinja": "rag"})
    os.mkfifo(tmp_path / "additional_chat_templates" / "tool_use.jinja")
    with pytest.raises(ModelError, match=r"tool_use\.jinja is no regular file"):
        templates.read(tmp_path, {})


def test_a_folder_without_a_template(tmp_path: Path) -> None:
    write(tmp_path, None, {})
    assert templates.read(tmp_path, {}) is None


@pytest.mark.parametrize(
    ("config", "files", "message"),
    [
        (3, {}, "expected a template"),
        ([{"name": "default"}], {}, "expected objects with a name and a template"),
        ([{"name": "rag", "template": "a"}], {}, "none of its chat templates is the default one: there are rag"),
        ("a" * (1 << 20) + "b", {}, "at most 1048576 are read"),
        (None, {"chat_template.jinja": "a" * (1 << 20) + "b"}, "at most 1048576 are read"),
    ],
)
def test_what_is_no_template(tmp_path: Path, config: Any, files: dict[str, str], message: str) -> None:
    write(tmp_path, config, files)
    with pytest.raises(ModelError, match=message):
        templates.read(tmp_path, {})
