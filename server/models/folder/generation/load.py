"""Loads a folder, or a GGUF file, whose model generates: the engine, and the model behind it."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from ext import _generator
from server.errors import ModelError
from server.models.folder.generation import generator_folder
from server.models.folder.generation.gguf import gguf_file
from server.models.generator import GeneratorAbout, GeneratorModel

if TYPE_CHECKING:
    from pathlib import Path

    from server.config import Settings
    from server.models.folder.generation.generator_folder import GeneratorFolder
    from server.models.options import ModelOptions


async def load(path: Path, settings: Settings, options: ModelOptions) -> GeneratorModel:
    """Load, off the event loop. Raises ModelError."""
    folder, native, precision = await asyncio.to_thread(_open, path, settings, options)
    about = GeneratorAbout(
        tokenizer=folder.tokenizer,
        first_token=folder.first_token,
        strips_first_space=folder.token_bytes.strips_first_space,
        context=native.context,
        vocabulary=native.vocabulary,
        end_tokens=folder.end_tokens,
        sampling=folder.sampling,
        chat_templates=folder.chat_templates,
        details=folder.details | {"precision": precision},
    )
    return GeneratorModel(native, about, settings)


def check(path: Path, settings: Settings, options: ModelOptions) -> None:
    """Raise ModelError for a folder that cannot be served, as far as can be seen without its weights' contents.

    The engine reads fields of config.json before the weights that belong to them, and is given none. OSError too.
    """
    folder = generator_folder.described(path, options)
    try:
        _engine(folder, settings, options)
    except ModelError as error:
        if str(error).startswith("config.json"):
            raise


def read(path: Path, options: ModelOptions) -> GeneratorFolder:
    """A folder or a file, without the contents of weights. Raises ModelError, OSError."""
    return gguf_file.read(path) if path.is_file() else generator_folder.read(path, options)


def _open(
    path: Path, settings: Settings, options: ModelOptions
) -> tuple[GeneratorFolder, _generator.TextGenerator, str]:
    folder = read(path, options)
    native = _engine(folder, settings, options)
    folder.token_bytes.table.clear()  # the engine has its own
    _generator.give_back_memory()
    return folder, native, options.precision or settings.precision


def _engine(folder: GeneratorFolder, settings: Settings, options: ModelOptions) -> _generator.TextGenerator:
    own: dict[str, Any] = settings.of_engine("generator")
    own["max_tokens"] += own.pop("max_output_tokens")  # of a text, its prompt included
    if options.precision is not None:
        own["precision"] = options.precision
    if folder.adapter:
        own["adapter"] = folder.adapter
    try:
        return _generator.TextGenerator(
            folder.config,
            folder.weights.files,
            folder.weights.tensors,
            folder.token_bytes.table,
            folder.end_tokens,
            **own,
        )
    except (ValueError, RuntimeError, MemoryError) as error:  # it cannot be served, or settings do not fit together
        raise ModelError(str(error)) from None
