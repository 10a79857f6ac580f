"""TorchScript modules: every form of classifier, tagger, regressor and embedder that PyText exported."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import structlog
from predictor.ttypes import ModelLimits

from ext import _torchscript
from server.errors import ModelError
from server.models.capabilities import Capability
from server.models.engine import Engine, EngineModel
from server.models.requests import AS_JSON

if TYPE_CHECKING:
    from pathlib import Path

    from server.calls import Pending, PlainCall
    from server.config import Settings
    from server.models.requests import Answer, Classification, Reading, RequestContext

_EQUAL_LENGTHS = {"auto": None, "always": True, "never": False}

# What the module's result is good for (TorchScriptEngine.output).
_CAPABILITIES = {
    "labels": Capability.CLASSIFY,
    "label_sets": Capability.CLASSIFY,
    "score": Capability.CLASSIFY,
    "vectors": Capability.EMBED,
}
_SHOWN_LABELS = 100
_LIBTORCH_BEGINS = ": The following operation failed"

log = structlog.get_logger()


class TorchScriptModel(EngineModel):
    """A module behind its own queue and workers."""

    def __init__(self, native: _torchscript.TorchScriptEngine, limits: ModelLimits, settings: Settings) -> None:
        byte_limit = _byte_limit(native, settings)
        super().__init__(Engine(native, limits.max_tokens, settings.busy_poll_us, byte_limit))
        self._native = native
        self.kind = "torchscript-embedder" if native.output == "vectors" else "torchscript-classifier"
        self.capabilities = (_CAPABILITIES[native.output],)
        self.limits = limits
        self.equal_lengths_only = native.equal_lengths_only
        self.details = _details(native, settings.device)
        self.labels = native.labels if native.output == "labels" else ()
        self.dimensions = native.dimensions
        self.normalized = False
        self._forms: dict[Answer, _torchscript.ScoresForm | None] = {}

    def predict(self, doc: str, classification: Classification, context: RequestContext) -> Pending[dict[str, float]]:
        """Label -> score; the key is `position:label` where the model gives several sets of labels."""
        return self._engine.submit(doc, context=context, form=_torchscript.JSON if classification.as_json else None)

    def begin_predict(self, doc: str, deadline_ns: int, flow: int, call: PlainCall, answer: Answer | None) -> bool:
        """As predict, without a Pending: `call` is told the scores, in bytes of `answer` if they fit.

        False: they never do, and nothing has happened.
        """
        form = None
        if answer is not None:
            try:
                form = self._forms[answer]
            except KeyError:
                form = self._forms[answer] = self._form_of(answer)
            if form is None:
                return False
        self._engine.begin(doc, deadline_ns, flow, call, form)
        return True

    def _form_of(self, answer: Answer) -> _torchscript.ScoresForm | None:
        if answer is AS_JSON:
            return _torchscript.JSON
        around = answer.around(self._native.labels)
        return None if around is None else _torchscript.ScoresForm(self._native.labels, *around)

    def embed(self, text: str, reading: Reading, context: RequestContext) -> Pending[bytes]:
        """The text's vector; there is nothing that it would be cut to (see Model.embed)."""
        return self._engine.submit(text, context=context)

    def bulk(self, texts: list[str]) -> _torchscript.Bulk:
        """Many texts of a job, past the event loop: its results are JSON, of predict or embed. Any thread may ask.

        Raises RuntimeError when the model is closed.
        """
        return self._native.bulk(texts)


async def load(path: Path, settings: Settings) -> TorchScriptModel:
    """Load, probe and warm up, off the event loop. Raises ModelError."""
    try:
        native = await asyncio.to_thread(_torchscript.TorchScriptEngine, str(path), **_engine_settings(settings))
    except ValueError as error:  # the module cannot be served, or settings do not fit together
        raise ModelError(_in_one_line(str(error))) from None
    batch_items = 1 if native.takes_texts and native.equal_lengths_only else settings.batch_items
    limits = ModelLimits(
        max_tokens=settings.max_tokens,
        queue_items=settings.queue_items,
        queue_tokens=settings.queue_tokens,
        batch_items=batch_items,
        batch_tokens=settings.batch_tokens,
        max_output_tokens=0,
    )
    return TorchScriptModel(native, limits, settings)


def _byte_limit(native: _torchscript.TorchScriptEngine, settings: Settings) -> tuple[str, str]:
    """What a text is told that has too many bytes, and the setting of that limit."""
    if native.takes_texts:
        return f"the text has more than {settings.max_message_bytes} bytes", "max_message_bytes"
    return f"a token of the text has more than {settings.max_token_bytes} bytes", "max_token_bytes"


def _in_one_line(message: str) -> str:
    """What libtorch says without its traceback through the module's code, which goes to the log."""
    first, *others = (line for line in message.splitlines() if line.strip())
    if not others:
        return message
    log.error("a module failed", error=message)
    return f"{first.partition(_LIBTORCH_BEGINS)[0]}: {others[-1]}"


def _engine_settings(settings: Settings) -> dict[str, object]:
    own = settings.of_engine("torchscript")
    return own | {"replicas": settings.workers, "equal_lengths": _EQUAL_LENGTHS[settings.equal_lengths]}


def _details(native: _torchscript.TorchScriptEngine, device: str) -> dict[str, str]:
    details = {"input": "texts" if native.takes_texts else "tokens", "output": native.output, "device": device}
    if native.output == "vectors":
        return details | {"dimensions": str(native.dimensions)}
    labels = native.labels[:_SHOWN_LABELS]
    return details | {"labels": ", ".join(labels) + (", ..." if len(native.labels) > len(labels) else "")}
