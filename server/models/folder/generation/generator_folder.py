"""A folder of a model that generates, read: what the engine, the prompts and the answers need of it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from ext import _encoder, _generator
from server.errors import ModelError
from server.models.chat import templates
from server.models.folder import sentence_transformers, tokenizer_files
from server.models.folder.fields import without
from server.models.folder.generation import adapter, defaults, grouped, token_bytes
from server.models.folder.model_folder import class_name, is_generator_class
from server.models.folder.programs import PACKAGE
from server.models.folder.weights import Weights, files_of
from server.models.formats import GENERATOR_JSON, is_adapter, model_folder, read_json

if TYPE_CHECKING:
    from pathlib import Path

    from server.models.chat.templates import ChatTemplates
    from server.models.folder.generation.adapter import Added
    from server.models.folder.generation.grouped import Grouping
    from server.models.folder.generation.token_bytes import TokenBytes
    from server.models.options import ModelOptions
    from server.models.sampling import SamplingDefaults

_MAX_VOCABULARY = 1 << 24  # as ext/weights/config.h has it

# Fields of config.json that older versions keep there and generation_config.json has now, or that are read here.
_READ_HERE = {
    "epsilon_cutoff",
    "eta_cutoff",
    "max_new_tokens",
    "min_new_tokens",
    "min_p",
    "output_logits",
    "renormalize_logits",
    "stop_strings",
    "guidance_scale",
    "penalty_alpha",
    "quantization_config",
}


@dataclass(slots=True)
class GeneratorFolder:
    """As the engine takes it, and more."""

    config: dict[str, Any]
    """config.json."""
    weights: Weights
    tokenizer: Any
    """tokenizers.Tokenizer."""
    token_bytes: TokenBytes
    end_tokens: list[int]
    first_token: int | None
    """What an empty prompt begins with, where the tokenizer puts nothing there."""
    sampling: SamplingDefaults
    details: dict[str, str]
    chat_templates: ChatTemplates | None = None
    adapter: dict[str, Added] = field(default_factory=dict)
    """What is added to which weight."""
    grouping: Grouping | None = None
    """How matrices were quantised, where they were."""


def generates(path: Path, options: ModelOptions) -> bool:
    """Whether a folder holds a language model that generates, and nothing that gives vectors is there or asked for.

    A file is one of GGUF, which holds nothing else.
    """
    if path.is_file():
        return True
    if options.pooling or any((path / name).is_file() for name in (sentence_transformers.MODULES, PACKAGE)):
        return False
    folder = model_folder(path)
    if is_adapter(folder):
        return True
    if not (folder / "config.json").is_file():
        return False
    config = read_json(folder / "config.json")
    return is_generator_class(config) or (not class_name(config) and _only_generates(config))


def _only_generates(config: dict[str, Any]) -> bool:
    kind = config.get("model_type")
    return kind in _generator.architectures() and kind not in _encoder.architectures()


def read(path: Path, options: ModelOptions) -> GeneratorFolder:
    """Everything but the numbers of the weights. The architecture is looked at first. Raises ModelError, OSError."""
    folder = described(path, options)
    folder.weights.add(model_folder(_base_of(path)))
    folder.details["weights"] = folder.weights.dtype
    if folder.grouping is not None:
        grouped.gather(folder.weights, folder.grouping)
        folder.details["weights"] = f"{folder.grouping.method}, {folder.grouping.bits} bits"
    if is_adapter(path):
        folder.details["adapter"] = path.name
        folder.adapter = adapter.add(path, folder.weights)
        if adapter.trains_head(path):
            folder.config["tie_word_embeddings"] = False
    return folder


def _base_of(path: Path) -> Path:
    """The model's own folder: an adapter names it."""
    return adapter.base_of(path) if is_adapter(path) else path


def described(path: Path, options: ModelOptions) -> GeneratorFolder:
    """What there is besides the weights, of which only the files are looked for. Raises ModelError, OSError."""
    base = _base_of(path)
    folder = model_folder(base)
    config = read_json(folder / "config.json")
    _require_served(config)
    if (path / GENERATOR_JSON).is_file() and read_json(path / GENERATOR_JSON).get("precision") == "int8":
        raise ModelError(
            f"{GENERATOR_JSON}: its weights were rounded by an older version: serve the folder that it was made from,"
            " with ,precision=int8 behind its name"
        )
    grouping = grouped.grouping_of(config)
    fields = defaults.read(folder, options.ignore)
    sampling = defaults.sampling(fields)
    vocabulary = _vocabulary(config)
    ends = defaults.end_tokens(fields, config, vocabulary)
    files_of(folder)
    of_tokenizer = base if folder == base else base / "tokenizer"
    if is_adapter(path) and (path / "tokenizer.json").is_file():
        of_tokenizer = path
    files = tokenizer_files.read(of_tokenizer, config, options.ignore)
    tokenizer = files.tokenizer
    named = {name: token for name, token in files.special_tokens.items() if name in tokenizer_files.SPECIAL_TOKENS}
    return GeneratorFolder(
        config=without(config, options.ignore | _READ_HERE),
        weights=Weights(),
        tokenizer=tokenizer,
        token_bytes=token_bytes.read(tokenizer, vocabulary),
        end_tokens=ends,
        first_token=defaults.first_token(fields, config, vocabulary, ends),
        sampling=sampling,
        details={"architecture": str(config["model_type"])} | sampling.described(),
        chat_templates=templates.read(of_tokenizer, named),
        grouping=grouping,
    )


def _require_served(config: dict[str, Any]) -> None:
    """Raise ModelError for an architecture that does not generate here, with those that do."""
    kind, served = config.get("model_type"), _generator.architectures()
    if kind in served:
        return
    step = ""
    if kind in _encoder.architectures():
        step = ". Its vectors are: name the folder with ,pooling=mean or another mode behind it"
    raise ModelError(
        f"{class_name(config)}: text generation is not served for the architecture {kind!r} (model_type in"
        f" config.json); served are {', '.join(served)}{step}"
    )


def _vocabulary(config: dict[str, Any]) -> int:
    """Rows of the output."""
    size = config.get("vocab_size")
    if not isinstance(size, int) or isinstance(size, bool) or not 1 <= size <= _MAX_VOCABULARY:
        raise ModelError(f"config.json: vocab_size: expected a number from 1 to {_MAX_VOCABULARY}, got {size!r}")
    return size
