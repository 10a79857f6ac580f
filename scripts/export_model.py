#!/usr/bin/env python3
"""Export a model of an architecture that the server does not know itself, as a package that it serves.

    python scripts/export_model.py FOLDER OUT

FOLDER is what save_pretrained of transformers or sentence-transformers wrote: an encoder, a sequence or token
classifier, a cross-encoder. torch.export and torch's compiler make native code of it (AOTInductor), for processors such
as this one. Its answers are compared with those of transformers before OUT is written: model.pt2 with the tokenizer and
what else of FOLDER says how its numbers are read. `python -m server OUT` serves it without transformers.

Needs transformers, torch with its Python part, and a C++ compiler (CXX), here and not where it is served. It takes a
minute or two, most of it compiling.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib.util
import inspect
import logging
import os
import shutil
import sys
import tempfile
import time
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from process.files import replacing
from server.errors import ModelError
from server.models.folder import model_folder, package_file, programs, sentence_transformers
from server.models.folder.tokens import Encoded, FolderTokenizer
from server.models.formats import is_hugging_face
from server.models.options import NO_OPTIONS

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import torch
    from torch import Tensor

INSTRUCTIONS = {"native": {}, "avx2": {"cpp.simdlen": 256, "cpp.march": "x86-64-v3"}}
"""What the code may use of a processor -> options of the compiler."""

LARGEST_ERROR = 1e-4
"""Of a text's numbers, in parts of their length: more than another order of additions makes."""

_INPUTS = ("input_ids", "attention_mask", "token_type_ids")
_EOS_HEAD = "classification_head"
_UNLIMITED = 1 << 30
_MOST_TOKENS = 8192  # where nothing says how long a text may be
_SHORTER = 4  # some architectures keep the first places of their tables for themselves
_TEXTS = ((1, 1), (2, 1), (1, 2), (1, 7), (3, 7), (2, 33), (5, 64))  # (texts, tokens) of the batches that are compared
_OF_WEIGHTS = (
    "*.safetensors",
    "*.bin",
    "*.index.json",
    "*.h5",
    "*.msgpack",
    "*.ot",
    "*.onnx*",
    "*.gguf",
    "*.pt",
    "*.pth",
)
_OTHER_FOLDERS = ("onnx", "openvino", "coreml", "flax", "tf", "original")


class Progress:
    """Lines with the seconds since the start."""

    def __init__(self) -> None:
        self._begin = time.monotonic()

    def __call__(self, line: str) -> None:
        """Print a line."""
        print(f"[{time.monotonic() - self._begin:5.1f} s] {line}", file=sys.stderr, flush=True)


def export_model(source: Path, out: Path, instructions: str, trust_remote_code: bool, say: Progress) -> float:
    """Write `out`, whole or not at all; the largest error found. Raises ModelError, OSError."""
    _require_tools()
    _require_folders(source, out)
    with replacing(out) as made, _quiet():
        shutil.copytree(source, made, ignore=_weights_in(source))
        transformer = _transformer_of(made)
        file = programs.package_in(transformer)
        _add_tokenizer(_transformer_of(source), transformer, trust_remote_code)
        folder = model_folder.described(made, NO_OPTIONS, file)  # what the server would refuse is refused now
        say(f"loading {source} by transformers")
        model = load_model(_transformer_of(source), folder.output, trust_remote_code)
        names = input_names(model, folder)
        module, batches = as_module(model, names, folder.output), Batches(names, folder)
        longest = longest_text(module, batches, folder)
        say(f"exporting {type(model).__name__}: texts of up to {longest} tokens ({', '.join(names)})")
        program = exported(as_exportable(model, names, folder.output), batches, longest)
        say("compiling, which takes a minute or two")
        compile_package(program, file.path, INSTRUCTIONS[instructions], longest)
        say(f"comparing with transformers ({file.path.stat().st_size / 1e6:,.1f} MB)")
        error = largest_error(module, batches, file.path, longest)
        if not error <= LARGEST_ERROR:
            raise ModelError(
                f"the package's numbers differ from those of transformers by {error:.1e} of their length, which is more"
                f" than {LARGEST_ERROR:.0e}: it is not written"
            )
    return error


# -------------------------------------------------------------------------------------------------------- what it needs


def _require_tools() -> None:
    for package in ("torch", "transformers"):
        if importlib.util.find_spec(package) is None:
            raise ModelError(f"exporting needs the package {package}, which is not installed: pip install {package}")
    compiler = os.environ.get("CXX", "g++")
    if shutil.which(compiler) is None:
        raise ModelError(
            f"exporting needs a C++ compiler ({compiler}); on Debian: apt-get install g++, or name one by CXX"
        )


def _require_folders(source: Path, out: Path) -> None:
    if not source.is_dir():
        raise ModelError(f"{source}: no such folder")
    if not is_hugging_face(source):
        raise ModelError(f"{source} has no config.json: name the folder that save_pretrained wrote")
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise ModelError(f"{out} is there already and not empty: name another folder, or empty it")
    if out.resolve().is_relative_to(source.resolve()):
        raise ModelError(f"{out} lies in {source}, which is copied: name a folder outside of it")


def _transformer_of(folder: Path) -> Path:
    """Where config.json lies."""
    if (folder / sentence_transformers.MODULES).is_file():
        return sentence_transformers.first_folder(folder)
    return folder


def _weights_in(source: Path) -> Any:
    """What copytree leaves out: the transformer's weights and hidden files. Further modules keep theirs."""
    transformer = _transformer_of(source).resolve()

    def left_out(folder: str, names: list[str]) -> set[str]:
        hidden = {name for name in names if name.startswith(".")}
        if Path(folder).resolve() != transformer:
            return hidden
        patterns = shutil.ignore_patterns(*_OF_WEIGHTS, *_OTHER_FOLDERS)
        return hidden | set(patterns(folder, names))

    return left_out


def _add_tokenizer(source: Path, target: Path, trust_remote_code: bool) -> None:
    """Where there is no tokenizer.json: transformers makes one of the other files."""
    if (target / "tokenizer.json").is_file():
        return
    from transformers import AutoTokenizer

    try:
        tokenizer = AutoTokenizer.from_pretrained(source, trust_remote_code=trust_remote_code)
    except Exception as error:
        raise ModelError(f"transformers cannot read the tokenizer: {_first_lines(error)}") from None
    names = list(tokenizer.vocab_files_names.values())
    if not any((source / name).is_file() for name in names):  # transformers makes an empty one then
        raise ModelError(f"there is no tokenizer in {source}: expected one of {', '.join(names)}")
    if not tokenizer.is_fast:
        raise ModelError(f"{type(tokenizer).__name__} is written in Python alone; the server needs a tokenizer.json")
    tokenizer.save_pretrained(target)


# ------------------------------------------------------------------------------------------------------------ the model


def load_model(folder: Path, output: str, trust_remote_code: bool = False, **options: Any) -> torch.nn.Module:
    """As transformers loads it, in float32. Raises ModelError."""
    import torch
    import transformers

    classes = {
        model_folder.VECTOR: transformers.AutoModel,
        model_folder.TOKEN_VECTORS: transformers.AutoModel,
        model_folder.CLASSES: transformers.AutoModelForSequenceClassification,
        model_folder.TOKEN_CLASSES: transformers.AutoModelForTokenClassification,
    }
    if output not in classes:
        raise ModelError(f"models of {output} vectors are served of their own folders alone, not of packages")
    try:
        model = classes[output].from_pretrained(
            folder, dtype=torch.float32, trust_remote_code=trust_remote_code, local_files_only=True, **options
        )
    except Exception as error:
        raise ModelError(f"transformers cannot load it: {_first_lines(error)}") from None
    if output in (model_folder.VECTOR, model_folder.TOKEN_VECTORS) and model.config.is_encoder_decoder:
        model = model.get_encoder()
    made: torch.nn.Module = model.eval().requires_grad_(False)
    return made


def input_names(model: torch.nn.Module, folder: model_folder.ModelFolder) -> list[str]:
    """What the package takes."""
    types = folder.tokenizer.token_types and _INPUTS[2] in inspect.signature(model.forward).parameters
    return list(_INPUTS if types else _INPUTS[:2])


def as_module(model: Any, names: Sequence[str], output: str) -> torch.nn.Module:
    """The model of transformers as a function of tensors."""
    import torch

    field = "logits" if output in (model_folder.CLASSES, model_folder.TOKEN_CLASSES) else "last_hidden_state"
    further = {"use_cache": False} if getattr(model.config, "use_cache", False) else {}

    class Module(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.model = model

        def forward(self, *tensors: Tensor) -> Tensor:
            given = dict(zip(names, tensors, strict=True))
            result: Tensor = getattr(self.model(**given, **further, return_dict=True), field)
            return result

    return Module().eval()


def as_exportable(model: Any, names: Sequence[str], output: str) -> torch.nn.Module:
    """The same for torch.export. Classifiers of BART's and T5's kind read the state at each text's last end token.

    transformers takes it out by a mask of all end tokens, of which no compiler knows how many there are.
    """
    import torch

    plain = as_module(model, names, output)
    if output != model_folder.CLASSES or not model.config.is_encoder_decoder or not hasattr(model, _EOS_HEAD):
        return plain
    shifted = getattr(model, "_shift_right", None)  # T5's; the others do it in their bodies

    class Module(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.model = model

        def forward(self, *tensors: Tensor) -> Tensor:
            input_ids, attention_mask = tensors
            given = {} if shifted is None else {"decoder_input_ids": shifted(input_ids)}
            body = self.model.base_model(input_ids, attention_mask=attention_mask, use_cache=False, **given)
            places = torch.arange(input_ids.shape[1])
            last = (places * (input_ids == self.model.config.eos_token_id)).argmax(1)
            rows = body.last_hidden_state[torch.arange(input_ids.shape[0]), last]
            result: Tensor = getattr(self.model, _EOS_HEAD)(rows)
            return result

    return Module().eval()


def longest_text(module: torch.nn.Module, batches: Batches, folder: model_folder.ModelFolder) -> int:
    """What the files allow, as far as the model reads it. Raises ModelError."""
    import torch

    allowed = [folder.max_tokens, programs.positions_of(folder.config), _MOST_TOKENS]
    most = min(length for length in allowed if length is not None)
    reason: Exception | None = None
    for length in range(most, max(most - _SHORTER, 0), -1):
        try:
            with torch.inference_mode():
                module(*batches.of(1, length))
        except Exception as error:
            reason = error
        else:
            return length
    assert reason is not None
    raise ModelError(f"transformers fails on a text of {most} tokens: {_first_lines(reason)}")


class Batches:
    """Batches of texts as the server pads them: random tokens between the special ones that the tokenizer sets."""

    def __init__(self, names: Sequence[str], folder: model_folder.ModelFolder) -> None:
        self.names = names
        self.vocabulary = programs.vocabulary_of(folder.config, folder.tokenizer.tokenizer)
        self._padding_id = programs.padding_of(folder.config, self.vocabulary)
        self._tokenizer = FolderTokenizer(folder.tokenizer, _UNLIMITED)
        self._special = len(self._tokenizer.single(Encoded([])).ids)
        self._shortest = max(1, self._special)

    def of(self, texts: int, length: int) -> list[Tensor]:
        """The model's inputs for so many texts: one has so many tokens, each further one fewer than that before it."""
        import torch

        length = max(self._shortest, length)
        generator = torch.Generator().manual_seed(texts * 10_000 + length)
        given = {name: torch.zeros((texts, length), dtype=torch.long) for name in _INPUTS}
        given["input_ids"].fill_(self._padding_id)
        for text in range(texts):
            tokens = max(self._shortest, length * (texts - text) // texts)
            own = torch.randint(self.vocabulary // 2, self.vocabulary, (tokens,), generator=generator).tolist()
            ids = self._tokenizer.single(Encoded(own[: tokens - self._special])).ids
            given["input_ids"][text, :tokens] = torch.tensor(ids)
            given["attention_mask"][text, :tokens] = 1
            given["token_type_ids"][text, tokens // 2 : tokens] = 1
        return [given[name] for name in self.names]


# ------------------------------------------------------------------------------------------------- exporting, comparing


def exported(module: torch.nn.Module, batches: Batches, longest: int) -> torch.export.ExportedProgram:
    """The program, of any number of texts and any length up to `longest`. Raises ModelError."""
    import torch

    example = tuple(batches.of(3, min(17, longest)))
    declared = {0: torch.export.Dim("texts"), 1: torch.export.Dim("length", max=longest)}
    # Where code asks whether a length is 2, torch.export proves its range only if it may choose the range itself.
    chosen = {0: torch.export.Dim.AUTO, 1: torch.export.Dim.AUTO}
    reason: Exception | None = None
    for sizes in (declared, chosen):
        try:
            with torch.no_grad():
                program = torch.export.export(module, example, dynamic_shapes=((sizes,) * len(example),))
        except Exception as error:
            reason = reason or error
        else:
            break
    else:
        raise ModelError(f"torch.export cannot make a program of it: {_first_lines(reason)}")
    for node in program.graph.find_nodes(op="placeholder"):
        value = node.meta["val"]
        if node.name in program.graph_signature.user_inputs and any(type(size) is int for size in value.shape):
            raise ModelError(f"torch.export makes constants of sizes: it takes {tuple(value.shape)} alone")
    return program


def compile_package(
    program: torch.export.ExportedProgram, path: Path, instructions: dict[str, Any], longest: int
) -> None:
    """Write the package. Raises ModelError."""
    import torch._inductor

    options = instructions | {
        "freezing": True,  # weights in the order that the products read them
        "cpp.dynamic_threads": True,  # the setting threads decides, not this machine
        "aot_inductor.metadata": {package_file.MAX_TOKENS: str(longest)},
    }
    try:
        with torch.no_grad():
            torch._inductor.aoti_compile_and_package(program, package_path=str(path), inductor_configs=options)
    except Exception as error:
        raise ModelError(f"torch's compiler fails: {_first_lines(error)}") from None


def largest_error(module: torch.nn.Module, batches: Batches, path: Path, longest: int) -> float:
    """Of all texts of some batches, the longest text among them: the difference in parts of the numbers' length."""
    import torch

    package = torch._inductor.aoti_load_package(str(path))
    largest = 0.0
    with torch.inference_mode():
        for texts, length in [(texts, min(length, longest)) for texts, length in (*_TEXTS, (1, longest))]:
            batch = batches.of(texts, length)
            try:
                right, found = module(*batch), package(*batch)
            except Exception as error:
                sizes = list(batch[0].shape)
                raise ModelError(f"comparing fails on token ids of {sizes}: {_first_lines(error)}") from None
            if found.shape != right.shape:
                raise ModelError(
                    f"the package gives {tuple(found.shape)} where transformers gives {tuple(right.shape)}"
                )
            for text, mask in enumerate(batch[1].bool()):
                one, other = (part[text][mask] if part.dim() == 3 else part[text] for part in (right, found))
                difference = (one - other).norm() / one.norm().clamp(min=1e-6)
                largest = max(largest, float(torch.nan_to_num(difference, nan=torch.inf)))
    return largest


def _first_lines(error: Exception | None) -> str:
    """Of what a library says: one, and a second where the first only announces it."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return f"{type(error).__name__}: {' '.join(lines[:2])}"


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Without the libraries' own progress and advice; with a folder of its own for what the compiler leaves."""
    import transformers

    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    logging.getLogger("torch").setLevel(logging.ERROR)
    with tempfile.TemporaryDirectory(prefix="predictor-export-") as cache, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        os.environ.setdefault("TORCHINDUCTOR_CACHE_DIR", cache)
        yield


def parse_arguments(arguments: Sequence[str] | None) -> argparse.Namespace:
    """The options; ends the program when they are wrong."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, metavar="FOLDER", help="what save_pretrained wrote")
    parser.add_argument("out", type=Path, metavar="OUT", help="the folder to write, which must be empty or not there")
    parser.add_argument(
        "--instructions",
        choices=INSTRUCTIONS,
        default="native",
        help="native: all that this processor has; avx2: what every x86 server since 2015 has (default: %(default)s)",
    )
    parser.add_argument("--trust-remote-code", action="store_true", help="run the Python code that FOLDER brings")
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None) -> int:
    """Export and say how exact it is; the exit status."""
    options = parse_arguments(arguments)
    say = Progress()
    try:
        error = export_model(options.folder, options.out, options.instructions, options.trust_remote_code, say)
    except (ModelError, OSError) as failure:
        print(f"error: {failure}", file=sys.stderr)
        return 1
    say("written")
    print(f"{options.out}: differs from transformers by {error:.1e} of its numbers' length")
    print(f"serve it: python -m server {options.out}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
