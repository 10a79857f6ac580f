"""A folder read: what the engine, the tokenizer and the answers need of it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from ext import _encoder
from server.errors import ModelError
from server.models.folder import model2vec, programs, pylate, sentence_transformers, tokenizer_files
from server.models.folder.fields import without
from server.models.folder.labels import labels_of
from server.models.folder.sentence_transformers import SentenceTransformer
from server.models.folder.tokenizer_files import STATIC
from server.models.folder.weights import Weights, files_of
from server.models.formats import read_json
from server.models.refusals import architecture_not_served, pickled_head

if TYPE_CHECKING:
    from pathlib import Path

    from server.models.folder.programs import ProgramFile
    from server.models.folder.tokenizer_files import TokenizerFiles
    from server.models.options import ModelOptions

VECTOR, CLASSES, TOKEN_CLASSES = "vector", "classes", "token_classes"
SPARSE, TOKEN_VECTORS = "sparse", "token_vectors"

# Ends of the class of transformers that config.json names under architectures, and what they give.
_OUTPUTS = {
    "ForSequenceClassification": CLASSES,
    "ForTokenClassification": TOKEN_CLASSES,
    "ForMaskedLM": VECTOR,
    "ForPreTraining": VECTOR,
    "ForCausalLM": VECTOR,
    "ForConditionalGeneration": VECTOR,
    "WithLMHeadModel": VECTOR,
    "Model": VECTOR,
}
_GENERATORS = ("ForCausalLM", "LMHeadModel")
_READ_HERE = {"sbert_ce_default_activation_function", "sentence_transformers"}


@dataclass(slots=True)
class ModelFolder:
    """As the engine takes it, and more."""

    config: dict[str, Any]
    """config.json."""
    weights: Weights
    head: dict[str, Any]
    """With its output: VECTOR or another of the constants above."""
    tokenizer: TokenizerFiles
    module: SentenceTransformer
    """What sentence-transformers says; of a plain folder what it takes then."""
    is_plain: bool
    """There is no modules.json."""
    activation: str | None = None
    """A cross-encoder's activation_fn, if one is named."""
    is_cross_encoder: bool = False
    words: model2vec.Words | None = None
    """Where texts are read as Model2Vec's library does."""
    labels: list[str] = field(default_factory=list)
    details: dict[str, str] = field(default_factory=dict)
    program: ProgramFile | None = None
    """What runs instead of the weights, where there is one."""

    @property
    def output(self) -> str:
        """What the engine gives."""
        return str(self.head["output"])

    @property
    def max_tokens(self) -> int | None:
        """What the files allow; None: they do not say."""
        return self.module.max_tokens or self.tokenizer.max_tokens


def read(path: Path, options: ModelOptions, programs_too: bool = True) -> ModelFolder:
    """Everything but the numbers of the weights. The architecture is looked at first. Raises ModelError, OSError."""
    folder = described(path, options, programs_too=programs_too)
    weights, module = folder.weights, folder.module
    if folder.program is None:
        weights.add(module.transformer)
    if module.static:
        weights.rename("embeddings", "embedding.weight")  # Model2Vec's name
    for prefix, below in module.weights.items():
        weights.add(below, prefix)
    if folder.program is None:
        folder.details["weights"] = weights.dtype
    return folder


def described(
    path: Path, options: ModelOptions, program: ProgramFile | None = None, *, programs_too: bool = True
) -> ModelFolder:
    """What there is besides the weights, of which only the files are looked for. Raises ModelError, OSError.

    `program`: what is to run instead of the weights, whatever is there. `programs_too`: false where only data is
    served.
    """
    if refusal := pickled_head(path):
        raise ModelError(refusal)
    is_plain = not (path / sentence_transformers.MODULES).is_file()
    transformer = path if is_plain else sentence_transformers.first_folder(path)
    if program is None and programs_too:
        program = _program(transformer)
    config = {} if program is not None and not (transformer / "config.json").is_file() else read_config(transformer)
    if program is None:
        require_served(config)
    module = _plain(path, config, options) if is_plain else _of_modules(path, options)
    output = _plain_output(config, program) if is_plain else _output(module)
    if is_plain and output == VECTOR and not module.static:
        module.head.append({"type": "pooling", "modes": list(options.pooling or ("mean",))})
    elif options.pooling:
        raise ModelError("pooling is an option of models that give vectors alone")
    for below in (*(() if program else (transformer,)), *module.weights.values()):
        files_of(below)
    tokenizer = tokenizer_files.read(transformer, config, options.ignore)
    tokenizer_files.keep_whole(tokenizer.tokenizer, module.prefixes)
    words = None
    if module.static and is_plain:
        tokenizer.max_tokens = module.max_tokens
        words = model2vec.words(tokenizer, module.max_tokens)
    if module.lowercase:
        tokenizer_files.lowercase(tokenizer.tokenizer)
    labels = labels_of(config) if output in (CLASSES, TOKEN_CLASSES) else []
    head = _head(output, module, labels)
    named = _activation(config, module)
    return ModelFolder(
        config=without(config, options.ignore | _READ_HERE),
        weights=Weights(),
        head=head,
        tokenizer=tokenizer,
        module=module,
        is_plain=is_plain,
        activation=named,
        is_cross_encoder=output == CLASSES and (named is not None or not is_plain),
        words=words,
        labels=labels,
        details=_details(config, module, program),
        program=program,
    )


def _plain(path: Path, config: dict[str, Any], options: ModelOptions) -> SentenceTransformer:
    """Of a folder without modules.json."""
    if config.get("model_type") == STATIC:
        if options.pooling:
            raise ModelError("pooling is not an option of static embeddings, whose vectors are means")
        return model2vec.read(path, options.ignore)
    module = SentenceTransformer(path)
    sentence_transformers.read_config(module, path, options.ignore)
    return module


def _of_modules(path: Path, options: ModelOptions) -> SentenceTransformer:
    if options.pooling:
        raise ModelError("pooling is not an option of a folder with a modules.json, which says it")
    return sentence_transformers.read(path, options.ignore)


def read_config(folder: Path) -> dict[str, Any]:
    """config.json; that of a module without one (StaticEmbedding) is ours."""
    static = {"model_type": STATIC}
    if not (folder / "config.json").is_file() and (folder / "tokenizer.json").is_file():
        return static
    config = read_json(folder / "config.json")
    return static if config.get("model_type") == model2vec.MODEL_TYPE else config


def _program(transformer: Path) -> ProgramFile | None:
    """What the folder is served by, if not by weights of an architecture that is served."""
    if not programs.holds_one(transformer):
        return None
    has_config = (transformer / "config.json").is_file()
    is_served = has_config and read_config(transformer).get("model_type") in _encoder.architectures()
    return programs.find(transformer, is_served)


def require_served(config: dict[str, Any]) -> None:
    """Raise ModelError for an architecture that is not served, with those that are."""
    served = _encoder.architectures()
    if config.get("model_type") not in served:
        raise ModelError(architecture_not_served(config, served))


def class_name(config: dict[str, Any]) -> str:
    """The class of transformers that saved it; empty where config.json does not say."""
    names = config.get("architectures")
    return str(names[0]) if isinstance(names, list) and names else ""


def is_generator_class(config: dict[str, Any]) -> bool:
    """Whether transformers' class of a plain folder writes texts token by token, and not all of one is read at once."""
    name = class_name(config)
    if name.endswith("WithLMHeadModel"):  # T5's, which has an encoder
        return False
    return name.endswith(_GENERATORS) and config.get("is_causal", True) is not False


def _output(module: SentenceTransformer) -> str:
    """What a folder with modules.json gives."""
    if module.task == "sequence-classification" or module.model_type == "CrossEncoder":
        if module.head or module.splade:
            raise ModelError("modules.json: a cross-encoder with modules behind its transformer is not served")
        return CLASSES
    if module.splade is not None:
        return SPARSE
    if module.task != "feature-extraction":
        raise ModelError(f"transformer_task is {module.task!r}; served are feature-extraction and fill-mask")
    if module.static or any(part["type"] == "pooling" for part in module.head):
        return VECTOR
    if module.mask is not None or module.model_type in ("MultiVectorEncoder", pylate.MODEL_TYPE):
        return TOKEN_VECTORS
    raise ModelError("modules.json: there is no Pooling, so that there is no vector of a text")


def _plain_output(config: dict[str, Any], program: ProgramFile | None) -> str:
    name = class_name(config)
    if not name:
        return VECTOR if program is None or "id2label" not in config else CLASSES
    for end, output in _OUTPUTS.items():
        if name.endswith(end):
            return output
    ends = ", ".join(f"...{end}" for end in _OUTPUTS)
    raise ModelError(f"config.json: architectures: {name} is not served; served are {ends}")


def _head(output: str, module: SentenceTransformer, labels: list[str]) -> dict[str, Any]:
    if output in (CLASSES, TOKEN_CLASSES):
        return {"output": output, "labels": len(labels)}
    if output == SPARSE:
        assert module.splade is not None
        if module.head:
            raise ModelError("modules.json: a SpladePooling with other modules is not served")
        return {"output": output, **module.splade}
    modules = [{"type": "pooling", "modes": ["mean"]}, *module.head] if module.static else module.head
    return {"output": output, "modules": modules}


def _activation(config: dict[str, Any], module: SentenceTransformer) -> str | None:
    """Where sentence-transformers' versions have put it: since 4 under its own name, in 6 in a file of its own too."""
    own = config.get("sentence_transformers")
    named = own.get("activation_fn") if isinstance(own, dict) else None
    found = module.activation or named or config.get("sbert_ce_default_activation_function")
    return None if found is None else str(found)


def _details(config: dict[str, Any], module: SentenceTransformer, program: ProgramFile | None) -> dict[str, str]:
    details = {"architecture": str(config.get("model_type", "unknown")), "input": "texts"}
    if program is not None:
        details["program"] = program.kind
    if module.prompts:
        details["prompts"] = ", ".join(module.prompts)
    if module.default_prompt is not None:
        details["default_prompt"] = module.default_prompt
    if module.similarity:
        details["similarity"] = module.similarity
    return details
