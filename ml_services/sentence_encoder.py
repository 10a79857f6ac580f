"""Texts to vectors in this process: the server's models on an event loop in a thread of their own."""

from __future__ import annotations

import asyncio
import atexit
import os
import sys
import threading
import time
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from predictor.ttypes import Lane, PredictionError

from server.calls import drive
from server.config import Settings
from server.errors import ModelError
from server.models import kinds
from server.models.capabilities import Capability, methods_of
from server.models.fan_out import answer_all
from server.models.options import without_options
from server.models.requests import AS_IT_IS, RequestContext

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterable

    from server.models.model import Model

_NO_DEADLINE_NS = 10**18  # 30 years


def _default_location() -> str:
    checkout = Path(__file__).resolve().parent.parent
    home = checkout if (checkout / "pyproject.toml").exists() else Path(sys.prefix)
    return os.environ.get("ML_SERVICES_MODEL") or str(home / "models" / "encoder")


DEFAULT_LOCATION = _default_location()


class ModelNotFoundError(FileNotFoundError):
    """There is nothing at `location`."""

    def __init__(self, location: str) -> None:
        super().__init__(f"model {location} does not exist")
        self.add_note("`make models/encoder` makes the default one; ML_SERVICES_MODEL says where it is")
        self.location = location


class EmbeddingError(Exception):
    """The model cannot be loaded, or a text not embedded; the message says why."""


class _OnTheLoop(ThreadPoolExecutor):
    """Runs what the models give to threads on the loop's own, where nothing else waits.

    An ordinary executor takes no more work when the interpreter ends, and closing a model is such work.
    """

    def submit(self, work: Callable[..., Any], /, *arguments: Any, **named: Any) -> Future[Any]:
        done: Future[Any] = Future()
        try:
            done.set_result(work(*arguments, **named))
        except BaseException as error:
            done.set_exception(error)
        return done


class SentenceEncoder:
    """Embeds texts. May be used from several threads, whose texts share batches."""

    def __init__(self, location: str | Path = DEFAULT_LOCATION) -> None:
        """Load what is at `location`, perhaps with options: FOLDER,precision=int8.

        Raises ModelNotFoundError and EmbeddingError.
        """
        if not Path(without_options(str(location))).exists():
            raise ModelNotFoundError(str(location))
        self._loop = asyncio.new_event_loop()
        self._loop.set_default_executor(_OnTheLoop(1))
        self._thread = threading.Thread(target=self._loop.run_forever, name="ml_services", daemon=True)
        self._thread.start()
        self._model: Model | None = None
        atexit.register(self.close)  # engines must not outlive the interpreter
        try:
            model = self._in_loop(kinds.load(location, Settings())).result()
        except ModelError as error:
            self.close()
            raise EmbeddingError(str(error)) from None
        self._model = model
        if Capability.EMBED not in model.capabilities:
            self.close()
            raise EmbeddingError(
                f"{location}: the model does not embed; it serves {', '.join(methods_of(model.capabilities))}"
            )

    def run(self, texts: Iterable[str]) -> list[list[float]]:
        """A vector for each text, in their order. A text over the model's limit is cut to it.

        Raises TypeError for what are no strings, and EmbeddingError.
        """
        if isinstance(texts, str):
            raise TypeError("texts: expected a list of strings, got a string")
        texts = list(texts)
        for index, text in enumerate(texts):
            if not isinstance(text, str):
                raise TypeError(f"texts[{index}]: expected a string, got {type(text).__name__}")
            try:
                text.encode()
            except UnicodeEncodeError as error:
                raise EmbeddingError(
                    f"texts[{index}]: not valid Unicode: {error.reason} at character {error.start}"
                ) from None
        answered: Future[list[bytes]] = Future()
        try:
            self._loop.call_soon_threadsafe(self._begin, texts, answered)
        except RuntimeError:
            raise EmbeddingError("the encoder is closed") from None
        try:
            vectors = answered.result()
        except PredictionError as error:
            raise EmbeddingError(error.message) from None
        return [np.frombuffer(vector, "<f4").tolist() for vector in vectors]

    def close(self) -> None:
        """Free the model; the end of the process does so too."""
        atexit.unregister(self.close)
        if self._loop.is_closed():
            return
        model, self._model = self._model, None
        if model is not None:
            self._in_loop(model.close()).result()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def _begin(self, texts: list[str], answered: Future[list[bytes]]) -> None:
        """On the loop's thread: what waits for an engine is driven, as the server does it, and is no task."""
        model = self._model
        if model is None:
            answered.set_exception(EmbeddingError("the encoder is closed"))
            return
        context = RequestContext(Lane.INTERACTIVE, time.monotonic_ns() + _NO_DEADLINE_NS, None)

        def done(vectors: Any, error: BaseException | None) -> None:
            if error is not None:
                answered.set_exception(error)
            else:
                answered.set_result(vectors)

        drive(answer_all(texts, lambda text: model.embed(text, AS_IT_IS, context), "texts"), done)

    def _in_loop(self, work: Coroutine[Any, Any, Any]) -> Future[Any]:
        return asyncio.run_coroutine_threadsafe(work, self._loop)
