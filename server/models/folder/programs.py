"""Folders whose model is a program that other tools made: AOTInductor's package, a TorchScript trace, or ONNX.

Beside it lie the tokenizer's files and, where they say something, config.json and sentence-transformers' own.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from ext import _encoder
from server.errors import ModelError
from server.models.folder import package_file
from server.models.folder.onnx_session import open_session
from server.models.folder.weights import has_weights

if TYPE_CHECKING:
    from pathlib import Path

    from server.config import Settings

PACKAGE = "model.pt2"
TRACES = ("model.pt", "traced_model.pt")
ONNX_FILES = ("onnx/model.onnx", "model.onnx")
_TRIED_TOKENS = 64  # of a package whose longest text was tried when it was exported


_PACKAGE, _TRACE, _ONNX = "AOTInductor package", "TorchScript trace", "ONNX"


class ProgramFile(NamedTuple):
    """A program in a folder."""

    path: Path
    kind: str
    """For people."""


def package_in(folder: Path) -> ProgramFile:
    """The place of a package."""
    return ProgramFile(folder / PACKAGE, _PACKAGE)


def find(folder: Path, is_served: bool) -> ProgramFile | None:
    """The program that a folder is served by; None where its weights are. A package goes first: it was put there.

    `is_served`: whether the server itself knows the architecture that config.json names.
    """
    if (folder / PACKAGE).is_file():
        return package_in(folder)
    if is_served and has_weights(folder):
        return None
    for kind, names in ((_TRACE, TRACES), (_ONNX, ONNX_FILES)):
        for name in names:
            if (folder / name).is_file():
                return ProgramFile(folder / name, kind)
    return None


def holds_one(folder: Path) -> bool:
    """Whether there is a program in the folder, whatever else."""
    return find(folder, is_served=False) is not None


def open_program(
    file: ProgramFile, settings: Settings, runners: int, vocabulary: int, max_tokens: int, padding_id: int
) -> tuple[_encoder.Program, int]:
    """(the program, the longest text that it reads): tried with that, of the last token. Raises ModelError."""
    if file.kind != _PACKAGE:
        program = _open_data(file, settings, padding_id)
        program.try_text(vocabulary - 1, max_tokens)
        return program, max_tokens
    metadata = package_file.read_metadata(file.path)
    package_file.require_fit(metadata, settings.device)
    tried = metadata.get(package_file.MAX_TOKENS, "")
    if tried.isdecimal():
        max_tokens = min(max_tokens, int(tried))
    length = min(max_tokens, _TRIED_TOKENS) if tried.isdecimal() else max_tokens
    package_file.try_package(file.path, settings.device, vocabulary, length, padding_id)
    return _encoder.Program.package(str(file.path), settings.device, runners, padding_id), max_tokens


def _open_data(file: ProgramFile, settings: Settings, padding_id: int) -> _encoder.Program:
    """What throws where it fails, and ends no process."""
    if file.kind == _TRACE:
        return _encoder.Program.trace(str(file.path), settings.device, padding_id)
    if settings.device != "cpu":
        raise ModelError(f"ONNX is run on the processor, and the setting device is {settings.device}")
    return _encoder.Program.python(open_session(file.path, settings.threads), padding_id)


def vocabulary_of(config: dict[str, Any], tokenizer: Any) -> int:
    """Tokens that the model knows, by config.json; else those of the tokenizer."""
    for part in (config, config.get("text_config")):
        size = part.get("vocab_size") if isinstance(part, dict) else None
        if isinstance(size, int) and not isinstance(size, bool) and 1 <= size < 1 << 31:
            return size
    count: int = tokenizer.get_vocab_size()
    return count


def padding_of(config: dict[str, Any], vocabulary: int) -> int:
    """The token that texts are filled up with: a model may tell padding by it, whatever the mask says."""
    for part in (config, config.get("text_config")):
        token = part.get("pad_token_id") if isinstance(part, dict) else None
        if isinstance(token, int) and not isinstance(token, bool) and 0 <= token < vocabulary:
            return token
    return 0


def positions_of(config: dict[str, Any]) -> int | None:
    """The longest text by config.json; a model may read less, which the trial shows. None: it does not say."""
    for part in (config, config.get("text_config")):
        most = part.get("max_position_embeddings") if isinstance(part, dict) else None
        if isinstance(most, int) and not isinstance(most, bool) and most >= 1:
            return most
    return None


def fitting_head(
    program: _encoder.Program, head: dict[str, Any], labels: int, pooling_is_given: bool
) -> dict[str, Any]:
    """The head for what the program gives. Raises ModelError where what the folder says does not fit that."""
    gives = f"[texts{', tokens' if program.of_tokens else ''}, {program.columns}]"
    output = head["output"]
    if output in ("classes", "token_classes"):
        wanted = f"[texts{', tokens' if output == 'token_classes' else ''}, {labels}]"
        if gives != wanted:
            raise ModelError(f"it gives {gives}; with the {labels} labels of config.json {wanted} is expected")
        return {"output": output, "modules": []}
    if output == "sparse":
        raise ModelError("sparse vectors (SpladePooling) are served of folders with their own weights alone")
    if program.of_tokens:
        return head
    if output == "token_vectors":
        raise ModelError(f"it gives {gives}; for vectors of tokens [texts, tokens, n] is expected")
    if pooling_is_given:
        raise ModelError(f"it gives {gives}, a vector for each text, which a pooling cannot be made of")
    return head | {"modules": [module for module in head["modules"] if module["type"] != "pooling"]}
