"""A model of the hub into the cache: what the server reads of it, and nothing else. The configuration comes first.

What cannot be served is refused before any of its weights is asked for, by the code that refuses a folder. That code
looks at a mirror: a folder in which the small files are real, and all others that the hub lists are empty. A file that
it would read and that was not fetched is thus an error, and never silently left out.
"""

from __future__ import annotations

import contextlib
import difflib
import tempfile
from fnmatch import fnmatch
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import structlog

from server.errors import ModelError
from server.hub.client import Hub, default_cache
from server.hub.errors import HubError, HubUnavailableError
from server.hub.progress import Progress, logged
from server.hub.store import ModelStore
from server.hub.transfer import Transfer
from server.models.chat import templates
from server.models.folder import sentence_transformers
from server.models.folder.weights import SAFETENSORS, TORCH, files_of, has_weights
from server.models.refusals import no_weights

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from server.hub.files import HubFile, Listing
    from server.hub.location import HubModel
    from server.hub.stop import Stop

    Check = Callable[[Path], object]

log = structlog.get_logger()

# What loaders read of a folder besides its weights.
_SMALL = (
    "added_tokens.json",
    "chat_template.jinja",
    "chat_template.json",
    "config.json",
    "config_sentence_transformers.json",
    "generation_config.json",
    "merges.txt",
    "modules.json",
    "special_tokens_map.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "vocab.json",
    "vocab.txt",
    *sentence_transformers.TRANSFORMER_CONFIGS,
)
_CHAT_TEMPLATES = f"{templates.FOLDER}/*.jinja"
_INDEX = ".index.json"
_MOST_SMALL_BYTES = 256 << 20
_PATIENCE_S = 10  # with a busy hub, where the cache may have the model


class Fetched(NamedTuple):
    """A model in the cache."""

    folder: Path
    """A snapshot, whose files are links; all that the server reads is there."""
    commit: str
    """Its version."""
    files: tuple[HubFile, ...] = ()
    """What was fetched now or before; empty where the hub could not be asked."""


class Download:
    """Of one model. `check` raises ModelError for a folder that cannot be served; of its weights it reads nothing."""

    def __init__(
        self,
        model: HubModel,
        check: Check,
        stop: Stop,
        *,
        cache: Path | None = None,
        max_bytes: int,
        progress: Progress | None = None,
    ) -> None:
        self._model = model
        self._check = check
        self._stop = stop
        self._max_bytes = max_bytes
        self._progress = progress or logged(str(model))
        self._hub = Hub()
        self._store = ModelStore(cache or default_cache(), model)

    def fetched(self) -> Fetched:
        """Until all is there. Where the hub cannot be asked, what was fetched before. Raises ModelError."""
        with self._naming_the_cache():
            return self._fetched()

    @contextlib.contextmanager
    def _naming_the_cache(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            where = error.filename or self._store.cache
            raise HubError(f"{where}: {error.strerror or error} (setting hub_cache)") from None

    def _fetched(self) -> Fetched:
        try:
            patience = {} if self._store.known_commit() is None else {"patience_s": _PATIENCE_S}
            listing = self._hub.listing(self._model, self._stop, **patience)
        except HubUnavailableError as error:
            self._stop.check()
            return self._fetched_before(error)
        files = self.needed(listing)
        self._begin(listing, files)
        self._transfer(listing, files)
        for file in files:
            if not self._store.has(listing.commit, file):
                self._store.link(listing.commit, file)
        self._store.remember(listing.commit)
        return Fetched(self._store.snapshot(listing.commit), listing.commit, files)

    def planned(self) -> tuple[HubFile, ...]:
        """Which files are needed, once the small ones of them are there and have been looked at. Raises ModelError."""
        return self.needed(self._hub.listing(self._model, self._stop))

    def listed(self, names: Iterable[str]) -> tuple[HubFile, ...]:
        """Files by their names, whatever they are. Raises HubError."""
        return self._listed(self._hub.listing(self._model, self._stop), names)

    def named(self, names: Iterable[str]) -> tuple[HubFile, ...]:
        """The same, once they are in the cache. Raises HubError, OSError."""
        listing = self._hub.listing(self._model, self._stop)
        files = self._listed(listing, names)
        self._begin(listing, files)
        self._transfer(listing, files)
        return files

    def blob(self, file: HubFile) -> Path:
        """Where the cache has the content of a file that was fetched."""
        return self._store.blob(file)

    def _begin(self, listing: Listing, files: Iterable[HubFile]) -> None:
        missing = self._store.missing_bytes(listing.commit, files)
        self._store.require_space(missing)
        if missing:
            log.info("fetching a model", model=str(self._model), commit=listing.commit, bytes=missing)

    def needed(self, listing: Listing) -> tuple[HubFile, ...]:
        """The same, of a list of files."""
        with tempfile.TemporaryDirectory(prefix="predictor-hub-") as temporary:
            mirror = Path(temporary, "model")
            try:
                files = self._needed(listing, mirror)
            except ModelError as error:  # it speaks of the mirror where it means the model
                message = str(error).replace(f"{mirror}/", "").replace(str(mirror), self._model.name)
                raise type(error)(message) from None
        size = sum(file.size for file in files)
        if size > self._max_bytes:
            raise HubError(
                f"its files have {size} bytes; at most {self._max_bytes} are fetched (setting hub_max_bytes)"
            )
        return files

    def _listed(self, listing: Listing, names: Iterable[str]) -> tuple[HubFile, ...]:
        for name in names:
            if name not in listing.files:
                near = difflib.get_close_matches(name, listing.files, 3, 0.3)
                hint = f": is it {' or '.join(near)}?" if near else ""
                raise HubError(f"there is no file {name}{hint}")
        return tuple(listing.files[name] for name in names)

    def _needed(self, listing: Listing, mirror: Path) -> tuple[HubFile, ...]:
        _lay_out(listing, mirror)
        names = _small_files(listing, [""])
        self._bring(listing, names, mirror)
        folders = _folders(mirror)
        further = [name for name in _small_files(listing, folders) if name not in names]
        self._bring(listing, further, mirror)
        self._check(mirror)
        names = [*dict.fromkeys([*_read_of(names, folders), *further, *_weights(mirror, folders)])]
        return tuple(listing.files[name] for name in names)

    def _bring(self, listing: Listing, names: Iterable[str], mirror: Path) -> None:
        """Small files into the cache, and into the mirror."""
        files = [listing.files[name] for name in names]
        for file in files:
            if file.size > _MOST_SMALL_BYTES:
                raise HubError(f"{file.name} has {file.size} bytes; at most {_MOST_SMALL_BYTES} are read")
        self._transfer(listing, files)
        for file in files:
            (mirror / file.name).unlink()
            content = self._store.content(listing.commit, file)
            assert content is not None
            (mirror / file.name).symlink_to(content)

    def _transfer(self, listing: Listing, files: Iterable[HubFile]) -> None:
        Transfer(self._hub, self._model, listing.commit, self._store, self._stop, self._progress).fetch(files)

    def _fetched_before(self, error: HubUnavailableError) -> Fetched:
        commit = self._store.known_commit()
        folder = self._store.snapshot(commit or "")
        if commit is None or not folder.is_dir():
            raise HubUnavailableError(f"{error}; and {self._store.cache} does not have it") from None
        try:
            self._check(folder)
            _weights(folder, _folders(folder))
        except ModelError as reason:
            raise HubUnavailableError(
                f"{error}; and what {self._store.cache} has of it is not whole: {reason}"
            ) from None
        log.warning("the hub cannot be asked: a model comes from the cache", model=str(self._model), error=str(error))
        return Fetched(folder, commit)


def _lay_out(listing: Listing, mirror: Path) -> None:
    """Every file that the hub lists, empty."""
    mirror.mkdir()
    for name in listing.files:
        (mirror / name).parent.mkdir(parents=True, exist_ok=True)
        (mirror / name).touch()


def _folders(folder: Path) -> list[str]:
    """Of the modules, from the folder on, where there are any; else the folder itself, which is ''."""
    if not (folder / sentence_transformers.MODULES).is_file():
        return [""]
    found = (path.relative_to(folder).as_posix() for path in sentence_transformers.folders(folder))
    return [*dict.fromkeys("" if path == "." else path for path in found)]


def _small_files(listing: Listing, folders: Iterable[str]) -> list[str]:
    """Names of what is read of these folders besides weights; of indices of weights only the one that counts."""
    return [
        name
        for folder in folders
        for name in (
            *(_in(folder, short) for short in (*_SMALL, *_index(listing, folder))),
            *(name for name in listing.files if fnmatch(name, _in(folder, _CHAT_TEMPLATES))),
        )
        if name in listing.files
    ]


def _index(listing: Listing, folder: str) -> tuple[str, ...]:
    for weights in (SAFETENSORS, TORCH):
        if _in(folder, weights + _INDEX) in listing.files:
            return (weights + _INDEX,)
        if _in(folder, weights) in listing.files:
            return ()
    return ()


def _read_of(names: Iterable[str], folders: Iterable[str]) -> list[str]:
    """Of the root's files those that are read: an index only where the root's weights are."""
    return [name for name in names if "" in folders or not name.endswith(_INDEX)]


def _weights(folder: Path, folders: Iterable[str]) -> list[str]:
    """Names of the files of weights. Raises ModelError where there are none, or one is missing."""
    names = [
        path.relative_to(folder).as_posix()
        for below in folders
        if has_weights(folder / below)
        for path in files_of(folder / below)
    ]
    if not names:
        raise ModelError(no_weights(folder))
    return names


def _in(folder: str, name: str) -> str:
    return f"{folder}/{name}" if folder else name
