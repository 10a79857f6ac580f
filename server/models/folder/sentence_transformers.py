"""What sentence-transformers saves: modules.json and the modules' folders, in layouts before and since version 6."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

from server.errors import ModelError
from server.models.folder import pylate
from server.models.folder.fields import refuse_unknown
from server.models.formats import read_any_json, read_json

if TYPE_CHECKING:
    from collections.abc import Collection

MODULES = "modules.json"
CONFIG = "config_sentence_transformers.json"

TRANSFORMER_CONFIGS = tuple(
    f"sentence_{name}_config.json"
    for name in ("bert", "roberta", "distilbert", "camembert", "albert", "xlm-roberta", "xlnet")
)
POOLING_MODES = ("cls", "max", "mean", "mean_sqrt_len_tokens", "weightedmean", "lasttoken")
_POOLING_FLAGS = {
    "pooling_mode_cls_token": "cls",
    "pooling_mode_max_tokens": "max",
    "pooling_mode_mean_tokens": "mean",
    "pooling_mode_mean_sqrt_len_tokens": "mean_sqrt_len_tokens",
    "pooling_mode_weightedmean_tokens": "weightedmean",
    "pooling_mode_lasttoken": "lasttoken",
}
_ACTIVATIONS = {
    "torch.nn.modules.activation.Tanh": "tanh",
    "torch.nn.modules.activation.ReLU": "relu",
    "torch.nn.modules.activation.GELU": "gelu",
    "torch.nn.modules.activation.Sigmoid": "sigmoid",
    "torch.nn.modules.activation.SiLU": "silu",
    "torch.nn.modules.linear.Identity": "identity",
}
_TOKENS, _SENTENCE = "token_embeddings", "sentence_embedding"
SERVED = "Transformer, Pooling, Dense, LayerNorm, Normalize, SpladePooling, MultiVectorMask and StaticEmbedding"
_PACKAGES = ("sentence_transformers", "pylate")


@dataclass(slots=True)
class SentenceTransformer:
    """What the folder says. `vector` where nothing else is said is the kind of model that it is."""

    transformer: Path
    """The folder of config.json, the weights and the tokenizer."""
    static: bool = False
    """StaticEmbedding instead of a transformer."""
    task: str = "feature-extraction"
    max_tokens: int | None = None
    lowercase: bool = False
    include_prompt: bool = True
    head: list[dict[str, Any]] = field(default_factory=list)
    """The modules after the transformer, as ext._encoder takes them."""
    weights: dict[str, Path] = field(default_factory=dict)
    """Prefix of names -> folder, for modules with weights of their own."""
    splade: dict[str, Any] | None = None
    mask: dict[str, Any] | None = None
    """MultiVectorMask's settings, with query_length, document_length and query_expansion of the transformer's."""
    lengths: dict[str, Any] = field(default_factory=dict)
    """query_length, document_length, query_expansion."""
    prefixes: list[str] = field(default_factory=list)
    """What prompts begin with: each is a token by itself, where the vocabulary has it."""
    prompts: dict[str, str] = field(default_factory=dict)
    default_prompt: str | None = None
    similarity: str | None = None
    dimensions: int | None = None
    """truncate_dim."""
    max_active: int | None = None
    """max_active_dims: of a sparse vector's numbers the greatest so many."""
    activation: str | None = None
    """A cross-encoder's."""
    model_type: str | None = None


def read(folder: Path, ignored: Collection[str] = ()) -> SentenceTransformer:
    """All that modules.json names. Raises ModelError, OSError."""
    modules = _modules(folder)
    (first_kind, first), *others = modules
    if first_kind not in ("Transformer", "MLMTransformer", "StaticEmbedding"):
        raise ModelError(f"{MODULES}: {first_kind} is not served; served are {SERVED}")
    model = SentenceTransformer(first, static=first_kind == "StaticEmbedding")
    if first_kind == "MLMTransformer":
        model.task = "fill-mask"
    if not model.static:
        _read_transformer(model, ignored)
    for kind, path in others:
        reader = _READERS.get(kind)
        if reader is None:
            raise ModelError(f"{MODULES}: {kind} is not served here; served are {SERVED}")
        name = path.relative_to(folder).as_posix()
        try:
            reader(model, path, name, read_json(path / "config.json") if (path / "config.json").is_file() else {})
        except ModelError as error:
            raise ModelError(f"{name}/config.json: {error}") from None
    read_config(model, folder, ignored)
    return model


def first_folder(folder: Path) -> Path:
    """Where the first module lies, which has the architecture. Raises ModelError, OSError."""
    return _modules(folder)[0][1]


def folders(folder: Path) -> list[Path]:
    """Where the modules lie. Raises ModelError, OSError."""
    return [path for _, path in _modules(folder)]


def _modules(folder: Path) -> list[tuple[str, Path]]:
    modules = read_any_json(folder / MODULES)
    if not isinstance(modules, list) or not modules or not all(isinstance(module, dict) for module in modules):
        raise ModelError(f"{MODULES}: expected a list of modules")
    return [_module(folder, module) for module in modules]


def _module(folder: Path, module: dict[str, Any]) -> tuple[str, Path]:
    kind, path = module.get("type"), module.get("path")
    if not isinstance(kind, str) or not isinstance(path, str):
        raise ModelError(f"{MODULES}: each module must have a type and a path")
    if module.get("kwargs"):
        raise ModelError(f"{MODULES}: kwargs of {kind} are not served")
    if kind.partition(".")[0] not in _PACKAGES:
        raise ModelError(f"{MODULES}: {kind} is code of the folder's own, which is not run; served are {SERVED}")
    if PurePosixPath(path).is_absolute() or ".." in PurePosixPath(path).parts:
        raise ModelError(f"{MODULES}: {path!r} lies outside of the folder")
    return kind.rpartition(".")[2], folder / path


# ------------------------------------------------------------------------------------------------------ the transformer


def _read_transformer(model: SentenceTransformer, ignored: Collection[str]) -> None:
    file = next((name for name in TRANSFORMER_CONFIGS if (model.transformer / name).is_file()), None)
    if file is None:
        return
    config = read_json(model.transformer / file)
    refuse_unknown("sentence_bert_config.json", config, ignored)
    try:
        model.max_tokens = count(config, "max_seq_length")
        model.lowercase = config.get("do_lower_case") is True
        model.task = str(config.get("transformer_task", model.task))
        model.lengths = {
            name: config[name]
            for name in ("query_length", "document_length", "query_expansion")
            if config.get(name) is not None
        }
        _refuse_what_is_not_text(config)
    except ModelError as error:
        raise ModelError(f"{file}: {error}") from None


def _refuse_what_is_not_text(config: dict[str, Any]) -> None:
    """Other inputs, and settings that are passed on to transformers."""
    modalities = config.get("modality_config", {"text": {}})
    if not isinstance(modalities, dict) or "text" not in modalities or "message" in modalities:
        raise ModelError(f"modality_config: inputs are {', '.join(modalities)}; only models that read texts are served")
    if modalities["text"].get("method", "forward") != "forward":
        raise ModelError(f"modality_config: method is {modalities['text']['method']!r}; only forward is served")
    for name in ("processing_kwargs", "tokenizer_args", "processor_kwargs", "config_args", "config_kwargs"):
        given = {key: value for key, value in (config.get(name) or {}).items() if key not in _HARMLESS_ARGUMENTS}
        if given:
            raise ModelError(f"{name}: {', '.join(given)} is not served")
    if config.get("tokenizer_name_or_path"):
        raise ModelError("tokenizer_name_or_path is not served: put the tokenizer's files into the folder")


_HARMLESS_ARGUMENTS = {"trust_remote_code", "revision", "token", "cache_dir", "local_files_only", "attn_implementation"}


def read_config(model: SentenceTransformer, folder: Path, ignored: Collection[str]) -> None:
    """Prompts and what else is of the whole model. Raises ModelError, OSError."""
    if not (folder / CONFIG).is_file():
        return
    config = read_json(folder / CONFIG)
    refuse_unknown(CONFIG, config, ignored)
    prompts = config.get("prompts") or {}
    if not isinstance(prompts, dict) or not all(isinstance(text, str | None) for text in prompts.values()):
        raise ModelError(f"{CONFIG}: prompts: expected texts by their names")
    model.prompts = {name: text or "" for name, text in prompts.items()}
    model.default_prompt = config.get("default_prompt_name")
    if model.default_prompt is not None and model.default_prompt not in model.prompts:
        known = ", ".join(model.prompts) or "none"
        raise ModelError(f"{CONFIG}: default_prompt_name is {model.default_prompt!r}; the prompts are {known}")
    model.similarity = config.get("similarity_fn_name")
    model.model_type = config.get("model_type")
    model.activation = config.get("activation_fn")
    try:
        _add_pylate(model, pylate.read(config, model.prompts))
        model.dimensions = count(config, "truncate_dim")
        model.max_active = count(config, "max_active_dims")
    except ModelError as error:
        raise ModelError(f"{CONFIG}: {error}") from None


def _add_pylate(model: SentenceTransformer, said: pylate.PyLate | None) -> None:
    """The transformer's own file goes before it."""
    if said is None:
        return
    model.prompts, model.prefixes = said.prompts, said.prefixes
    model.lengths = said.lengths | model.lengths
    if said.skiplist is not None:
        model.mask = {"skiplist_words": said.skiplist, "skiplist_tasks": ["document"]}
        model.head.append({"type": "normalize"})


# ------------------------------------------------------------------------------------------------------ further modules


def _pooling(model: SentenceTransformer, _path: Path, _name: str, config: dict[str, Any]) -> None:
    flags = [mode for flag, mode in _POOLING_FLAGS.items() if config.get(flag)]
    given = config.get("pooling_mode", flags or ["mean"])
    modes = [given] if isinstance(given, str) else given
    if not isinstance(modes, list) or not modes or not all(mode in POOLING_MODES for mode in modes):
        raise ModelError(f"pooling_mode is {given!r}; served are {', '.join(POOLING_MODES)}")
    strange = [
        name for name, on in config.items() if name.startswith("pooling_mode_") and on and name not in _POOLING_FLAGS
    ]
    if strange:
        raise ModelError(f"{strange[0]} is not served; served are {', '.join(POOLING_MODES)}")
    model.include_prompt = config.get("include_prompt", True) is not False
    model.head.append({"type": "pooling", "modes": modes})


def _dense(model: SentenceTransformer, path: Path, name: str, config: dict[str, Any]) -> None:
    activation = config.get("activation_function", "torch.nn.modules.activation.Tanh")
    if activation not in _ACTIVATIONS:
        raise ModelError(f"activation_function is {activation!r}; served are {', '.join(_ACTIVATIONS)}")
    _require_order(model, config)
    model.weights[f"{name}/"] = path
    dense = {"type": "dense", "weights": f"{name}/linear", "activation": _ACTIVATIONS[activation]}
    model.head.append(dense | ({"residual": f"{name}/residual"} if config.get("use_residual") else {}))


def _layer_norm(model: SentenceTransformer, path: Path, name: str, config: dict[str, Any]) -> None:
    _require_order(model, config)
    model.weights[f"{name}/"] = path
    model.head.append({"type": "layer_norm", "weights": f"{name}/norm", "epsilon": 1e-5})


def _normalize(model: SentenceTransformer, _path: Path, _name: str, config: dict[str, Any]) -> None:
    _require_order(model, config)
    model.head.append({"type": "normalize"})


def _require_order(model: SentenceTransformer, config: dict[str, Any]) -> None:
    """A module reads what the one before it gives: vectors of tokens before the pooling, and the text's after it."""
    pooled = model.static or any(module["type"] == "pooling" for module in model.head)
    source = config.get("module_input_name", _SENTENCE if pooled else _TOKENS)
    target = config.get("module_output_name") or source
    wanted = _SENTENCE if pooled else _TOKENS
    if source != wanted or target != wanted:
        raise ModelError(f"it reads {source!r} and gives {target!r}, where {wanted!r} is expected; that is not served")


def _splade_pooling(model: SentenceTransformer, _path: Path, _name: str, config: dict[str, Any]) -> None:
    pooling, activation = config.get("pooling_strategy", "max"), config.get("activation_function", "relu")
    if pooling not in ("max", "sum") or activation not in ("relu", "log1p_relu"):
        raise ModelError(f"pooling_strategy {pooling!r} with activation_function {activation!r} is not served")
    model.splade = {"pooling": pooling, "activation": activation}


def _multi_vector_mask(model: SentenceTransformer, _path: Path, _name: str, config: dict[str, Any]) -> None:
    if config.get("keep_only_token_ids"):
        raise ModelError("keep_only_token_ids is not served")
    tasks = config.get("skiplist_tasks", ["document"])
    model.mask = {
        "skiplist_words": config.get("skiplist_words") or [],
        "skiplist_tasks": [tasks] if isinstance(tasks, str) else tasks,
    }


def _nothing(_model: SentenceTransformer, _path: Path, _name: str, _config: dict[str, Any]) -> None:
    """Dropout does nothing but in training."""


_READERS = {
    "Pooling": _pooling,
    "Dense": _dense,
    "LayerNorm": _layer_norm,
    "Normalize": _normalize,
    "Dropout": _nothing,
    "SpladePooling": _splade_pooling,
    "MultiVectorMask": _multi_vector_mask,
}


def count(config: dict[str, Any], name: str) -> int | None:
    """A number from 1, None where there is none. Raises ModelError."""
    value = config.get(name)
    if value is not None and (not isinstance(value, int) or isinstance(value, bool) or value < 1):
        raise ModelError(f"{name}: expected a number from 1, got {value!r}")
    return value
