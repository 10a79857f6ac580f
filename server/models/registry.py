"""Name -> loaded model: load, warm up, swap, unload. Each model is loaded once and shared by all calls."""

from __future__ import annotations

import asyncio
import contextlib
import re
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import structlog
from predictor.ttypes import ModelInfo, ModelLimits, ModelState, ModelStatus

from process.memory import FreedMemory
from server.errors import ModelError, PredictionError, invalid_argument, not_found, overloaded, unavailable
from server.hub import location as hub
from server.hub.progress import logged
from server.hub.stop import Stop
from server.models import kinds
from server.models.capabilities import METHODS, Capability, methods_of
from server.models.options import without_options
from server.models.shown import shown_location, without_folders
from server.models.trial.guard import Guard

if TYPE_CHECKING:
    from collections.abc import Iterator

    from server.config import Settings
    from server.hub.progress import Progress
    from server.models.from_hub import Fetched
    from server.models.model import Model
    from server.models.trial.trials import Trials, Tried

log = structlog.get_logger()

_NAME_CHARACTERS = 128
_RETRY_MS = 1000
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*(/[A-Za-z0-9][A-Za-z0-9._-]*)?")
_NO_LIMITS = ModelLimits(0, 0, 0, 0, 0, 0)

# What to load for a capability that no model has: for the message.
_MODEL_OF = {
    Capability.CLASSIFY: "a classifier (a Hugging Face folder, or TorchScript, e.g. `make models/classifier.pt`)",
    Capability.REPLY: "a Smart Reply model (`python scripts/fetch_models.py smart-reply`)",
    Capability.EMBED: "a sentence encoder (`make models/encoder`), or a TorchScript module that gives vectors,",
    Capability.GENERATE: "a text generator (a GPT-2 folder, e.g. `make models/generator`)",
    Capability.RERANK: "a cross-encoder (a Hugging Face folder of a sequence classifier with one label)",
    Capability.CLASSIFY_TOKENS: "a token classifier (a Hugging Face folder)",
    Capability.EMBED_SPARSE: "a sparse encoder (a SPLADE folder of sentence-transformers)",
    Capability.EMBED_TOKENS: "a late-interaction encoder (a ColBERT folder of sentence-transformers)",
    Capability.EMBED_IDS: "a sentence encoder (`make models/encoder`)",
    Capability.TOKENIZE: "a model with a tokenizer, e.g. a sentence encoder (`make models/encoder`),",
    Capability.CHAT: "a text generator with a chat template (a Hugging Face folder, e.g. of an instruct model)",
}


@dataclass(slots=True)
class Entry:
    """A name in the registry, from the moment its loading begins."""

    name: str
    location: str
    required: bool = False
    """Named when the server was started: it is not ready without this model."""
    state: int = ModelState.LOADING
    version: str = ""
    model: Model | None = None
    error: str | None = None
    loaded_at: float | None = None
    """Seconds since 1970, UTC."""
    download: Progress | None = None
    """Of a model that comes from a hub, until it is there."""

    @property
    def unready(self) -> str:
        """Why it does not answer."""
        fetched = f" ({self.download} fetched)" if self.download is not None and self.download.total else ""
        return f"model {self.name} is {_STATES[self.state]}{fetched}"


_CAPABILITY_OF = {method: capability for capability, methods in METHODS.items() for method in methods}


def parse_location(text: str) -> tuple[str, str]:
    """(name, location) of `NAME=LOCATION`, or of a location alone, whose folder or file's stem is the name then."""
    alone = without_options(text)
    name, equals, location = text.partition("=")
    if equals and _is_name(name) and not ("/" in name and Path(alone).exists()):
        return name, location
    path = Path(alone)
    if hub.is_hub(alone):
        stem = hub.short_name(alone)
    else:
        stem = kinds.short_name(alone) if kinds.is_remote(alone) else path.name if path.is_dir() else path.stem
    name = re.sub(r"[^A-Za-z0-9._-]", "-", stem).lstrip("._-")
    return name[:_NAME_CHARACTERS] or "model", text


def _is_name(name: str) -> bool:
    return len(name) <= _NAME_CHARACTERS and _NAME.fullmatch(name) is not None


def check_name(name: str) -> None:
    """Raise ModelError for what cannot be a model's name."""
    if not _is_name(name):
        allowed = f"at most {_NAME_CHARACTERS} letters, digits, '.', '_' and '-', and one '/' as in owner/name"
        raise ModelError(f"{name[:_NAME_CHARACTERS]!r} cannot be a model's name, which has {allowed}")


class Registry:
    """Belongs to one event loop."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._entries: dict[str, Entry] = {}
        self.defaults: dict[Capability, Model] = {}
        """The models that answer where none is named; another object whenever they may have changed."""
        self._loading = asyncio.Lock()
        self._downloads: set[Stop] = set()
        self._coming: list[str] = []  # names that are being loaded
        self._guard = Guard(settings)
        self._freed_memory: FreedMemory | None = None

    def announce(self, name: str, location: str) -> None:
        """Make the name known as loading, in the order in which defaults are chosen.

        Raises ModelError when the name is taken, or the location plainly holds no model.
        """
        if name in self._entries:
            raise ModelError(f"two models are named {name!r}; give one another name: NAME={location}")
        if len(self._entries) >= self._settings.max_models:
            raise ModelError(f"more than {self._settings.max_models} models are named (setting max_models)")
        kinds.check(location)
        self._entries[name] = Entry(name, location, required=True)

    async def load(self, name: str, location: str, *, trial: bool = False) -> ModelInfo:
        """Load a model; when the name is taken the old model serves until the new one is warm.

        With `trial`, which is for servers that answer, it is tried in another process first, and a program gets no more
        time here than there. Raises ModelError; OVERLOADED for too many models; with a trial UNAVAILABLE too.
        """
        check_name(name)
        with self._place_for(name):
            fetched = await self._fetched(name, location, self._guard.trials if trial else None)
            tried = await self._tried(name, location) if trial and fetched is None else None
            return await self._load_alone(name, location, fetched, trial, tried)

    async def _load_alone(
        self, name: str, location: str, fetched: Fetched | None, trial: bool, tried: Tried | None
    ) -> ModelInfo:
        async with self._loading:
            if trial:
                self._guard.require_going_on()
            entry = self._entries.setdefault(name, Entry(name, location))
            log.info("loading a model", model=name, location=location)
            try:
                shared = await self._shared(name, location, fetched)
                model, version = shared or await self._load(name, location, fetched, trial, tried)
            except (ModelError, PredictionError, asyncio.CancelledError) as error:
                self._failed(entry, _text_of(error))
                raise
            replaced, entry.model = entry.model, model
            entry.location, entry.version, entry.state, entry.error = location, version, ModelState.READY, None
            entry.loaded_at = time.time()
            self._choose_defaults()
        log.info("model ready", model=name, kind=model.kind, version=version, methods=methods_of(model.capabilities))
        if replaced is not None:
            await self._close(replaced)
        return self._info(entry)

    def stop_loading(self, why: str) -> None:
        """Models that are being fetched, tried or loaded for callers are not: HubUnavailableError, or UNAVAILABLE."""
        self._guard.stop(why)
        for stop in self._downloads:
            stop.set(f"{why}; the next download goes on from here")

    @property
    def is_at_rest(self) -> bool:
        """Whether nothing is loaded or closed just now: only then do the threads of this process end."""
        return not self._loading.locked() and self._guard.is_at_rest

    @contextlib.contextmanager
    def _place_for(self, name: str) -> Iterator[None]:
        if len({*self._entries, *self._coming, name}) > self._settings.max_models:
            raise overloaded(
                f"{self._settings.max_models} models are loaded, as many as may be; unload one of them",
                _RETRY_MS,
                setting="max_models",
            )
        self._coming.append(name)
        try:
            yield
        finally:
            self._coming.remove(name)

    async def _tried(self, name: str, location: str) -> Tried | None:
        """How its trial went; None: it needs none."""
        self._guard.require_going_on()
        try:
            return await kinds.tried(location, self._settings.of_model(name), self._guard.trials)
        except (ModelError, PredictionError) as error:
            log.error("model not loaded", model=name, error=_text_of(error))
            raise

    async def _fetched(self, name: str, location: str, trials: Trials | None) -> Fetched | None:
        """A model of the hub in the cache. It can take hours: other models are loaded meanwhile."""
        stop, progress = Stop(), logged(location)
        entry = self._entries.get(name)
        if entry is None or not entry.required:  # another call may be loading one of this name
            entry = Entry(name, location, required=True)
        self._downloads.add(stop)
        entry.download = progress
        try:
            return await kinds.fetched(location, self._settings.of_model(name), stop, progress, trials)
        except (ModelError, PredictionError, asyncio.CancelledError) as error:
            self._failed(entry, _text_of(error))
            raise
        finally:
            entry.download = None
            self._downloads.discard(stop)

    async def _load(
        self, name: str, location: str, fetched: Fetched | None, trial: bool, tried: Tried | None
    ) -> tuple[Model, str]:
        loading = self._read(name, location, fetched)
        if not trial:
            return await loading
        return await self._guard.loaded(loading, location, is_program=tried is not None and tried.whole)

    async def _read(self, name: str, location: str, fetched: Fetched | None) -> tuple[Model, str]:
        """The model and its version, for which all of its files are read: at the same time, in another thread.

        A server elsewhere is asked for the version once the model is there: before that it may have none yet. What
        comes from the hub has its commit.
        """
        if fetched is not None:
            return await kinds.load(location, self._settings.of_model(name), fetched), fetched.commit
        files_version = None if kinds.is_remote(location) else asyncio.ensure_future(kinds.version_of(location))
        try:
            model = await kinds.load(location, self._settings.of_model(name))
        except BaseException:
            if files_version is not None:
                files_version.cancel()
                await asyncio.gather(files_version, return_exceptions=True)
            raise
        try:
            return model, await (files_version or kinds.version_of(location))
        except BaseException:
            await model.close()
            raise

    async def _shared(self, name: str, location: str, fetched: Fetched | None) -> tuple[Model, str] | None:
        """The model that another name has, where it is of the same files, options and settings; None: there is none."""
        for other in tuple(self._entries.values()):
            if other.name == name or other.model is None or not kinds.is_same_location(other.location, location):
                continue
            if self._settings.of_model(other.name) != self._settings.of_model(name):
                continue
            version = fetched.commit if fetched is not None else await kinds.version_of(location)
            if version == other.version and other.model is not None:
                return other.model, version
        return None

    async def _close(self, model: Model) -> None:
        """Close a model that no name has any more."""
        if any(entry.model is model for entry in self._entries.values()):
            return
        await self._guard.closed(model)
        if self._freed_memory is None:
            self._freed_memory = FreedMemory(asyncio.get_running_loop())
        self._freed_memory.give_back_soon()  # engines do so as they begin, which was before this

    async def unload(self, name: str) -> None:
        """Answer what waits for the model, then free it. Raises NOT_FOUND."""
        entry = self._entry(name, "name")
        if entry.model is None:
            raise unavailable(f"model {name!r} is not loaded yet" + (f": {entry.error}" if entry.error else ""))
        model, entry.model, entry.state = entry.model, None, ModelState.UNLOADING
        self._choose_defaults()
        await self._close(model)
        if entry.model is None:
            self._entries.pop(name, None)
        log.info("model unloaded", model=name)

    async def close(self) -> None:
        """Answer what was accepted and free all models."""
        models: list[Model] = []
        for entry in self._entries.values():
            if entry.model is not None:
                if all(model is not entry.model for model in models):  # two names may have it
                    models.append(entry.model)
                entry.model, entry.state = None, ModelState.UNLOADING
        self._choose_defaults()
        await asyncio.gather(*(model.close() for model in models))
        if self._freed_memory is not None:
            self._freed_memory.close()

    def model(self, capability: Capability, name: str | None, field: str | None = "options.model") -> Model:
        """The model that answers: the named one, or the first that has the capability.

        `field` is where the call names it. Raises NOT_FOUND, INVALID_ARGUMENT, UNAVAILABLE.
        """
        if name is None:
            default = self.defaults.get(capability)
            return default if default is not None else self._no_default(capability)
        entry = self._entry(name, field)
        if entry.model is None:
            raise unavailable(f"model {name!r} is {_STATES[entry.state]}", retry_after_ms=1000)
        if capability not in entry.model.capabilities:
            if capability == Capability.CHAT and Capability.GENERATE in entry.model.capabilities:
                raise _no_chat_template(name, field)
            served = ", ".join(methods_of(entry.model.capabilities))
            raise invalid_argument(f"{name!r} does not serve {METHODS[capability][0]}; it serves {served}", field=field)
        return entry.model

    def default_name(self, method: str) -> str | None:
        """The name of the model that answers a call of the contract's method that names none; None: there is none."""
        model = self.defaults.get(_CAPABILITY_OF[method])
        return None if model is None else self.name_of(model)

    def name_of(self, model: Model) -> str:
        """The name of a model, for errors and the log."""
        return next((entry.name for entry in self._entries.values() if entry.model is model), model.kind)

    def infos(self) -> list[ModelInfo]:
        """Every model, in the order of loading."""
        return [self._info(entry) for entry in self._entries.values()]

    def statuses(self) -> list[ModelStatus]:
        """Every model's queue and counters. May be asked by another thread (metrics)."""
        return [_status(entry) for entry in tuple(self._entries.values())]

    def truncated(self) -> dict[str, int]:
        """For each model that cuts texts, how many it has cut. May be asked by another thread (metrics)."""
        models = [(entry.name, entry.model) for entry in tuple(self._entries.values())]
        stats = {name: model.stats() for name, model in models if model is not None}
        return {name: counts["truncated"] for name, counts in stats.items() if "truncated" in counts}

    def unready(self) -> list[str]:
        """Why the server is not ready; empty when it is."""
        return [
            entry.unready
            for entry in tuple(self._entries.values())
            if entry.required and entry.state != ModelState.READY
        ]

    def _entry(self, name: str, field: str | None) -> Entry:
        entry = self._entries.get(name)
        if entry is None:
            known = ", ".join(self._entries) or "none"
            raise not_found(f"no model is named {name[:_NAME_CHARACTERS]!r}; loaded: {known}", field=field)
        return entry

    def _no_default(self, capability: Capability) -> Model:
        for entry in self._entries.values():
            if entry.state == ModelState.LOADING:
                raise unavailable(f"model {entry.name!r} is loading", retry_after_ms=1000)
        generator = self.defaults.get(Capability.GENERATE) if capability == Capability.CHAT else None
        if generator is not None:
            raise _no_chat_template(self.name_of(generator), "options.model")
        method, wanted = METHODS[capability][0], _MODEL_OF[capability]
        raise not_found(f"no loaded model serves {method}: start the server with {wanted} as --model NAME=LOCATION")

    def _failed(self, entry: Entry, why: str) -> None:
        log.error("model not loaded", model=entry.name, error=why)
        if entry.required and entry.model is None:
            entry.state, entry.error = ModelState.FAILED, without_folders(why, entry.location)
        elif entry.model is None:  # the caller of load_model knows why: no need to keep every name that was ever tried
            del self._entries[entry.name]

    def _choose_defaults(self) -> None:
        self.defaults = {}
        for entry in self._entries.values():
            if entry.model is not None:
                for capability in entry.model.capabilities:
                    self.defaults.setdefault(capability, entry.model)

    def _info(self, entry: Entry) -> ModelInfo:
        model = entry.model
        default_for = tuple(capability for capability, default in self.defaults.items() if default is model)
        return ModelInfo(
            name=entry.name,
            version=entry.version,
            kind=model.kind if model else "",
            state=entry.state,
            location=shown_location(entry.location, self._settings.model_root),
            methods=methods_of(model.capabilities) if model else [],
            default_for=methods_of(default_for),
            limits=model.limits if model else _NO_LIMITS,
            equal_lengths_only=model.equal_lengths_only if model else False,
            details=_details(model) if model else {},
            error=entry.error,
            loaded_at=entry.loaded_at,
        )


def _details(model: Model) -> dict[str, str]:
    return model.details | {"options": ", ".join(sorted(model.takes))} if model.takes else model.details


def _no_chat_template(name: str, field: str | None) -> PredictionError:
    return invalid_argument(
        f"{name!r} has no chat template (chat_template.jinja, or chat_template in tokenizer_config.json): generate"
        " (/v1/completions) continues a prompt",
        field=field,
    )


def _text_of(error: BaseException) -> str:
    if isinstance(error, PredictionError):
        return str(error.message)
    return str(error) or "loading was cancelled"


_STATES = {state: name.lower() for state, name in ModelState._VALUES_TO_NAMES.items()}


def _status(entry: Entry) -> ModelStatus:
    model = entry.model
    stats = model.stats() if model is not None else {}
    return ModelStatus(
        name=entry.name,
        state=entry.state,
        queue_depth=stats.get("waiting", 0),
        queue_tokens=stats.get("waiting_tokens", 0),
        **{
            name: stats.get(name, 0)
            for name in (
                "running",
                "accepted",
                "completed",
                "failed",
                "overloaded",
                "expired",
                "cancelled",
                "batches",
            )
        },
    )
