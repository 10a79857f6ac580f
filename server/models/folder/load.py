"""Loads a folder: which model class it is, and the engine behind it."""

from __future__ import annotations

import asyncio
import os
from typing import TYPE_CHECKING, Any

import structlog
from predictor.ttypes import ModelLimits

from ext import _encoder
from server.errors import ModelError
from server.models.folder import model_folder, programs
from server.models.folder.classifier import ClassifierModel
from server.models.folder.encoder import EncoderModel
from server.models.folder.generation import generator_folder
from server.models.folder.generation import load as generation
from server.models.folder.reranker import RerankerModel
from server.models.folder.sparse import SparseModel
from server.models.folder.token_classifier import TokenClassifierModel
from server.models.folder.token_vectors import TokenVectorModel
from server.models.folder.tokens import FolderTokenizer
from server.models.refusals import EXPORT_HELP

if TYPE_CHECKING:
    from pathlib import Path

    from server.config import Settings
    from server.models.folder.model_folder import ModelFolder
    from server.models.folder.programs import ProgramFile
    from server.models.folder.text_model import TextModel
    from server.models.generator import GeneratorModel
    from server.models.options import ModelOptions

log = structlog.get_logger()

_CLASSES: dict[str, type[TextModel]] = {
    model_folder.VECTOR: EncoderModel,
    model_folder.CLASSES: ClassifierModel,
    model_folder.TOKEN_CLASSES: TokenClassifierModel,
    model_folder.SPARSE: SparseModel,
    model_folder.TOKEN_VECTORS: TokenVectorModel,
}


async def load(
    path: Path, settings: Settings, options: ModelOptions, *, programs_too: bool = True
) -> TextModel | GeneratorModel:
    """Load and warm up, off the event loop. Raises ModelError. `programs_too`: as for model_folder.described."""
    if await asyncio.to_thread(generator_folder.generates, path, options):
        return await generation.load(path, settings, options)
    folder, native, tokenizer = await asyncio.to_thread(_open, path, settings, options, programs_too)
    limits = ModelLimits(
        max_tokens=tokenizer.max_tokens,
        queue_items=settings.queue_items,
        queue_tokens=settings.queue_tokens,
        batch_items=native.batch_items,
        batch_tokens=settings.encoder_batch_tokens,
        max_output_tokens=0,
    )
    kind = RerankerModel if folder.is_cross_encoder else _CLASSES[folder.output]
    return kind(native, folder, tokenizer, limits, settings.max_message_bytes)


def check(path: Path, settings: Settings, options: ModelOptions) -> None:
    """Raise ModelError for a folder that cannot be served, as far as can be seen without its weights' contents.

    The engine reads fields of config.json before the weights that belong to them, and is given none. A program in the
    folder does not count: it would run with the server's rights. OSError too.
    """
    if generator_folder.generates(path, options):
        generation.check(path, settings, options)
        return
    try:
        folder = model_folder.described(path, options, programs_too=False)
    except ModelError as error:
        if not programs.holds_one(path):
            raise
        raise ModelError(f"{error}. A program of a hub is not run: make a folder of it, if you trust it") from None
    try:
        _engine(folder, settings, options, 1)
    except ModelError as error:
        if str(error).startswith("config.json"):
            raise


def reads_all_but_weights(path: Path, settings: Settings, options: ModelOptions) -> bool:
    """Read all that is data but the contents of weights; False: a program runs in their place.

    Tokenizers are what code of others reads: a text goes through them. Raises ModelError, OSError.
    """
    if generator_folder.generates(path, options):
        generation.read(path, options)
        return True
    return model_folder.read(path, options).program is None


def _open(
    path: Path, settings: Settings, options: ModelOptions, programs_too: bool
) -> tuple[ModelFolder, _encoder.EncoderEngine, FolderTokenizer]:
    folder = model_folder.read(path, options, programs_too)
    max_tokens = min(folder.max_tokens or settings.max_tokens, settings.max_tokens)
    native = _engine(folder, settings, options, max_tokens)
    max_tokens = min(max_tokens, native.max_positions or max_tokens)
    words = {} if folder.words is None else {"words": folder.words}
    tokenizer = FolderTokenizer(folder.tokenizer, max_tokens, add_special_tokens=not folder.module.static, **words)
    folder.details["device"] = settings.device
    return folder, native, tokenizer


def _engine(folder: ModelFolder, settings: Settings, options: ModelOptions, max_tokens: int) -> _encoder.EncoderEngine:
    own: dict[str, Any] = settings.of_engine("encoder")
    own |= {
        "replicas": settings.replicas or len(os.sched_getaffinity(0)),
        "batch_tokens": own.pop("encoder_batch_tokens"),
        "max_tokens": max_tokens,
    }
    try:
        if folder.program is None:
            return _of_weights(folder, own, options)
        return _of_program(folder, folder.program, settings, own, options)
    except (ValueError, RuntimeError, MemoryError) as error:  # it cannot be served, or settings do not fit together
        raise ModelError(str(error)) from None


def _of_weights(folder: ModelFolder, own: dict[str, Any], options: ModelOptions) -> _encoder.EncoderEngine:
    """The engine of an architecture that is served."""
    if options.precision is not None:
        own["precision"] = options.precision
    folder.details["precision"] = own["precision"]
    try:
        return _encoder.EncoderEngine(folder.config, folder.weights.files, folder.weights.tensors, folder.head, **own)
    except _encoder.ModelError as error:
        if str(error).startswith("config.json"):  # the architecture in a form that is not served
            raise ModelError(f"{error}. {EXPORT_HELP}") from None
        raise


def _of_program(
    folder: ModelFolder, file: ProgramFile, settings: Settings, own: dict[str, Any], options: ModelOptions
) -> _encoder.EncoderEngine:
    """The engine of a program, with the head that fits it."""
    if options.precision is not None:
        raise ModelError(f"precision is an option of folders whose weights are read; {file.path.name} has its own")
    vocabulary = programs.vocabulary_of(folder.config, folder.tokenizer.tokenizer)
    padding_id = programs.padding_of(folder.config, vocabulary)
    max_tokens = min(own["max_tokens"], programs.positions_of(folder.config) or own["max_tokens"])
    pooling_is_given = not folder.is_plain or bool(options.pooling)
    weights = folder.weights
    try:
        program, longest = programs.open_program(file, settings, own["replicas"], vocabulary, max_tokens, padding_id)
        folder.head = programs.fitting_head(program, folder.head, len(folder.labels), pooling_is_given)
        native = _encoder.EncoderEngine.of_program(
            program, weights.files, weights.tensors, folder.head, vocabulary, longest, padding_id, **own
        )
    except (ModelError, _encoder.ModelError) as error:
        raise ModelError(f"{file.path.name}: {error}") from None
    if native.batch_items < settings.batch_items:
        log.warning("texts change one another's answers in a batch; each runs alone", model=str(file.path))
    elif native.equal_lengths_only:
        log.warning("padding changes a text's answer; texts of equal length alone share a batch", model=str(file.path))
    return native
