"""A GGUF file, read: the same as generator_folder gives of a folder."""

from __future__ import annotations

from typing import TYPE_CHECKING

from server.models.chat.templates import DEFAULT, ChatTemplates
from server.models.folder.generation import defaults, token_bytes
from server.models.folder.generation.generator_folder import GeneratorFolder
from server.models.folder.generation.gguf import config as gguf_config
from server.models.folder.generation.gguf import header, names, tokenizer

if TYPE_CHECKING:
    from pathlib import Path

_TEMPLATE = "tokenizer.chat_template"
_EMBEDDINGS = "token_embd.weight"


def read(path: Path) -> GeneratorFolder:
    """Everything but the numbers of the weights. The architecture is looked at first. Raises ModelError, OSError."""
    file = header.read(path)
    architecture = gguf_config.architecture_of(file)
    vocabulary = tokenizer.read(file)
    embeddings = file.tensors.get(_EMBEDDINGS)
    rows = embeddings.shape[0] if embeddings is not None else vocabulary.size
    config = gguf_config.config_of(file, rows, names.rope_factors(file, path))
    heads = config["num_attention_heads"], config.get("num_key_value_heads", config["num_attention_heads"])
    weights = names.weights_of(file, path, architecture, *heads)
    bos = vocabulary.special_tokens.get("bos_token")
    return GeneratorFolder(
        config=config,
        weights=weights,
        tokenizer=vocabulary.tokenizer,
        token_bytes=token_bytes.read(vocabulary.tokenizer, rows),
        end_tokens=vocabulary.ends,
        first_token=vocabulary.tokenizer.token_to_id(bos) if bos is not None else None,
        sampling=defaults.sampling({}),
        details={"architecture": config["model_type"], "weights": weights.dtype, "format": "GGUF"},
        chat_templates=_templates(file, vocabulary.special_tokens),
    )


def _templates(file: header.GgufFile, special_tokens: dict[str, str]) -> ChatTemplates | None:
    if _TEMPLATE not in file.metadata:
        return None
    named = {
        key.removeprefix(f"{_TEMPLATE}."): file.get(key, str)
        for key in file.metadata
        if key.startswith(f"{_TEMPLATE}.")
    }
    return ChatTemplates(named | {DEFAULT: file.get(_TEMPLATE, str)}, special_tokens)
