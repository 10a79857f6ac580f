"""Sentence encoders: the folders that scripts/export_encoder.py writes, a TorchScript module and its tokenizer."""

from __future__ import annotations

import asyncio
import json
import os
from typing import TYPE_CHECKING

from predictor.ttypes import ModelLimits
from pydantic import BaseModel, Field, ValidationError

from ext import _torchscript
from server.calls import Pending, drive
from server.errors import ModelError, too_large
from server.models.capabilities import Capability
from server.models.engine import Engine, EngineModel
from server.models.formats import ENCODER_JSON
from server.models.tokenizer import TextTokenizer, cut_to_bytes

if TYPE_CHECKING:
    from pathlib import Path

    from server.config import Settings
    from server.models.requests import Reading, RequestContext
    from server.models.tokenizer import Tokens


class About(BaseModel):
    """encoder.json: what the server must know of the module."""

    format: int = Field(ge=1, le=2)
    kind: str = Field(pattern="sentence-encoder")
    precision: str
    max_tokens: int = Field(ge=1, le=1 << 24)
    dimensions: int = Field(ge=1)
    vocabulary: int = Field(ge=1, le=2**31 - 1)
    pooling: str
    cosine_error: float


class EncoderModel(EngineModel):
    """A tokenizer, and the module behind its own queue and workers."""

    kind = "sentence-encoder"
    capabilities = (Capability.EMBED,)
    equal_lengths_only = False

    def __init__(
        self,
        native: _torchscript.EncoderEngine,
        tokenizer: TextTokenizer,
        limits: ModelLimits,
        max_bytes: int,
        details: dict[str, str],
    ) -> None:
        super().__init__(Engine(native, limits.max_tokens))
        self._tokenizer = tokenizer
        self._max_bytes = max_bytes
        self._truncated = 0
        self.limits = limits
        self.details = details
        self.dimensions = native.dimensions
        self.normalized = False

    def embed(self, text: str, reading: Reading, context: RequestContext) -> Pending[bytes]:
        """The text's vector. A long text that must be read whole to be cut is tokenised in a thread."""
        if len(text) * 4 > self._max_bytes and len(text.encode()) > self._max_bytes:
            if not reading.truncate:
                raise too_large(f"the text has more than {self._max_bytes} bytes", setting="max_message_bytes")
            text = cut_to_bytes(text, self._max_bytes)
        tokens = self._tokenizer.quickly(text)
        if tokens is None:
            return self._embed_later(text, reading.truncate, context)
        return self._submit(tokens, reading.truncate, context)

    def stats(self) -> dict[str, int]:
        """The queue's counters, and the texts that were cut."""
        return super().stats() | {"truncated": self._truncated}

    def _submit(self, tokens: Tokens, truncate: bool, context: RequestContext) -> Pending[bytes]:
        if tokens.is_cut:
            if not truncate:
                raise too_large(
                    f"the text has more than {self.limits.max_tokens} tokens, the model's limit, and truncate is false"
                )
            self._truncated += 1
        request: Pending[bytes] = self._engine.submit(tokens.ids, context=context)
        request.tokens = len(tokens.ids)
        return request

    def _embed_later(self, text: str, truncate: bool, context: RequestContext) -> Pending[bytes]:
        request: Pending[bytes] = Pending()

        def hand_over(vector: bytes | None, error: BaseException | None) -> None:
            request.on_abandon = None  # else call and request refer to each other
            if error is not None:
                request.fail(error)
            else:
                request.resolve(vector)  # type: ignore[arg-type]

        def abandon() -> None:
            request.on_abandon = None
            call.cancel()

        async def embed_whole() -> bytes:
            tokens = await self._in_thread(self._tokenizer.whole, text)
            request.tokens = len(tokens.ids)
            return await self._submit(tokens, truncate, context)

        call = drive(embed_whole(), hand_over)
        request.on_abandon = abandon
        return request


async def load(path: Path, settings: Settings) -> EncoderModel:
    """Load and warm up, off the event loop. Raises ModelError."""
    about = await asyncio.to_thread(_read_about, path)
    max_tokens = min(about.max_tokens, settings.max_tokens)
    tokenizer = await asyncio.to_thread(TextTokenizer, path / "tokenizer.json", max_tokens)
    if tokenizer.vocabulary > about.vocabulary:
        raise ModelError(f"tokenizer.json has {tokenizer.vocabulary} tokens, the model {about.vocabulary}")
    native = await asyncio.to_thread(_open_engine, path, about, max_tokens, settings)
    if native.dimensions != about.dimensions:
        raise ModelError(f"model.pt gives {native.dimensions} numbers a text, {ENCODER_JSON} says {about.dimensions}")
    limits = ModelLimits(
        max_tokens=max_tokens,
        queue_items=settings.queue_items,
        queue_tokens=settings.queue_tokens,
        batch_items=settings.batch_items,
        batch_tokens=settings.encoder_batch_tokens,
        max_output_tokens=0,
    )
    details = {
        "input": "texts",
        "output": "vectors",
        "dimensions": str(about.dimensions),
        "precision": about.precision,
        "pooling": about.pooling,
        "cosine_error": f"{about.cosine_error:.2g}",
        "device": settings.device,
    }
    return EncoderModel(native, tokenizer, limits, settings.max_message_bytes, details)


def _read_about(path: Path) -> About:
    try:
        return About(**json.loads((path / ENCODER_JSON).read_text(encoding="utf-8")))
    except ValidationError as error:
        wrong = error.errors()[0]
        raise ModelError(f"{ENCODER_JSON}: {wrong['loc'][0]}: {wrong['msg']}") from None
    except (TypeError, ValueError, RecursionError) as error:  # no object, no JSON, no UTF-8
        raise ModelError(f"{ENCODER_JSON}: {error}") from None


def _open_engine(path: Path, about: About, max_tokens: int, settings: Settings) -> _torchscript.EncoderEngine:
    own = settings.of_engine("encoder")
    own |= {
        "replicas": settings.replicas or len(os.sched_getaffinity(0)),
        "batch_tokens": own.pop("encoder_batch_tokens"),
        "max_tokens": max_tokens,
        "vocabulary": about.vocabulary,
    }
    try:
        return _torchscript.EncoderEngine(str(path / "model.pt"), **own)
    except ValueError as error:  # the file cannot be served, or settings do not fit together
        raise ModelError(str(error)) from None
