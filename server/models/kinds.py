"""Which kind of model a file or folder holds, and who loads it. A new kind is a line in one of the two tables.

A location may also be the URL of a model on another server, or name a model of the hub, which becomes a folder.
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import structlog

from server.errors import ModelError, PredictionError
from server.hub import location as hub
from server.hub.errors import HubError
from server.models.formats import is_adapter, is_gguf, is_hugging_face, is_tflite, is_torchscript
from server.models.options import FOLDER_OPTIONS, GGUF_OPTIONS, NO_OPTIONS, UPSTREAM_OPTIONS, split_options
from server.models.refusals import file_of_no_kind, folder_of_no_kind, no_such_location
from server.models.versions import version_of_files
from server.tensorflow.location import is_saved_model, is_url, parse_url
from server.tensorflow.location import short_name as name_on_a_tensorflow_server
from server.upstream import location as upstream

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from server.config import Settings
    from server.hub.progress import Progress
    from server.hub.stop import Stop
    from server.models.from_hub import Fetched
    from server.models.model import Model
    from server.models.options import ModelOptions
    from server.models.trial.trials import Trials, Tried

log = structlog.get_logger()


class Kind(NamedTuple):
    """A kind of model."""

    holds: Callable[[Path], bool]
    """Whether that is what a file or folder holds."""
    module: str
    """Of this package, with a coroutine function load(location, settings) that gives a Model or raises ModelError.

    It is imported when the first model of its kind is loaded: the libraries of one kind are of no matter to the others.
    """
    takes: frozenset[str] = frozenset()
    """Names of options that a location may have; where there are some, load has a third parameter: ModelOptions."""
    check: str = ""
    """module:function, which raises ModelError for a folder that cannot be served, and reads nothing of its weights.

    Its parameters are load's. A kind that has one can come from the hub: it is data, and no program.
    """
    trial: str = ""
    """module:function, which reads all but the contents of weights, and tells whether these are all that is left.

    Its parameters are load's. Without one a trial loads the whole model.
    """
    apart: bool = False
    """It runs in a process of its own in any case."""


_ALL_BUT_WEIGHTS = "folder.load:reads_all_but_weights"
_FILES = (
    Kind(is_torchscript, "torchscript"),
    Kind(is_tflite, "tflite"),
    Kind(is_gguf, "folder.load", takes=GGUF_OPTIONS, trial=_ALL_BUT_WEIGHTS),
)
_FOLDERS = (
    Kind(is_saved_model, "saved_model", apart=True),
    Kind(is_hugging_face, "folder.load", takes=FOLDER_OPTIONS, check="folder.load:check", trial=_ALL_BUT_WEIGHTS),
    Kind(is_adapter, "folder.load", takes=FOLDER_OPTIONS, trial=_ALL_BUT_WEIGHTS),
)
_ON_A_TENSORFLOW_SERVER = Kind(lambda _: False, "saved_model")
_UPSTREAM = Kind(lambda _: False, "upstream.model", takes=UPSTREAM_OPTIONS)


async def load(location: str | Path, settings: Settings, fetched: Fetched | None = None) -> Model:
    """Load whatever kind of model is there; `fetched` where it is on the hub. Raises ModelError."""
    with _naming(location):
        alone, options = split_options(str(location))
        if fetched is not None:
            alone = str(fetched.folder)
        kind = await asyncio.to_thread(_kind_of, alone) if fetched is None else _kind_of_data(fetched.folder)
        _check_options(kind, options)
        module = await asyncio.to_thread(lambda: _imported(kind.module))
        further = (options,) if kind.takes else ()
        only_data = {"programs_too": False} if kind.takes and fetched is not None else {}
        model: Model = await module.load(alone if is_remote(alone) else Path(alone), settings, *further, **only_data)
        return model


async def tried(location: str, settings: Settings, trials: Trials) -> Tried | None:
    """How the trial of a file or folder went; None: it needs none. Raises ModelError, UNAVAILABLE."""
    with _naming(location):
        alone, _ = split_options(location)
        if hub.is_hub(alone) or is_remote(alone):
            return None
        kind = await asyncio.to_thread(_kind_of, alone)
        return None if kind.apart else await asyncio.to_thread(trials.run, location, settings)


async def load_for_trial(location: str, settings: Settings) -> Model | None:
    """The model of a file or folder, in the process that tries it; None: it is data, all of which but weights was read.

    Raises ModelError, OSError, and whatever else a loader raises.
    """
    alone, options = split_options(location)
    kind = _kind_of(alone)
    _check_options(kind, options)
    further = (Path(alone), settings, options) if kind.takes else (Path(alone), settings)
    module, _, function = kind.trial.partition(":")
    if function and getattr(_imported(module), function)(*further):
        return None
    model: Model = await _imported(kind.module).load(*further)
    return model


async def fetched(
    location: str | Path,
    settings: Settings,
    stop: Stop,
    progress: Progress | None = None,
    trials: Trials | None = None,
) -> Fetched | None:
    """A model of the hub, once it is in the cache; None: it is none. Raises ModelError.

    `stop` ends the download, and so does the end of the task. Without `progress` the log tells of it. With `trials` the
    model's files are read in a process of their own; UNAVAILABLE then too.
    """
    with _naming(location):
        alone, options = split_options(str(location))
        if not hub.is_hub(alone):
            return None
        try:
            given = str(location)[len(alone) :]

            def check(folder: Path) -> None:
                if trials is None:
                    check_folder(folder, settings, options)
                else:
                    trials.run(f"{folder}{given}", settings, of_hub=True)

            return await asyncio.to_thread(_fetch, alone, check, settings, stop, progress)
        except asyncio.CancelledError:
            stop.set()
            raise


def _fetch(
    location: str, check: Callable[[Path], None], settings: Settings, stop: Stop, progress: Progress | None
) -> Fetched:
    model = hub.parse_location(location)
    download = _imported("from_hub").Download(
        model,
        check,
        stop,
        cache=settings.hub_cache,
        max_bytes=settings.hub_max_bytes,
        progress=progress,
    )
    found: Fetched = download.fetched()
    return found


def check_folder(folder: Path, settings: Settings, options: ModelOptions = NO_OPTIONS) -> None:
    """Raise ModelError for a folder of the hub that cannot be served; of its weights nothing is read. OSError too."""
    kind = _kind_of_data(folder)
    _check_options(kind, options)
    module, _, function = kind.check.partition(":")
    further = (settings, options) if kind.takes else ()
    getattr(_imported(module), function)(folder, *further)


def check_data(location: str, settings: Settings) -> None:
    """The same, with options behind the folder's name."""
    alone, options = split_options(location)
    check_folder(Path(alone), settings, options)


def check(location: str | Path) -> None:
    """Raise ModelError when there is no model at a location, as far as can be seen without loading it."""
    with _naming(location):
        alone, _ = split_options(str(location))
        if hub.is_hub(alone):
            hub.parse_location(alone)  # the hub itself is asked when the model is loaded
        else:
            _kind_of(alone)


async def version_of(location: str | Path) -> str:
    """The version of a file or folder; of a URL, the number of the version there. Raises ModelError."""
    with _naming(location):
        alone, _ = split_options(str(location))
        if is_url(alone):
            return await asyncio.to_thread(lambda: _imported(_ON_A_TENSORFLOW_SERVER.module).remote_version(alone))
        if upstream.is_upstream(alone):
            return upstream.parse_location(alone).model  # it has no other
        return await asyncio.to_thread(version_of_files, Path(alone))


def is_same_location(one: str, other: str) -> bool:
    """Whether both name the same file, folder or model of the hub with the same options.

    Another server may give another model each time; so may the hub, whose versions are compared.
    """
    if is_remote(one) or is_remote(other):
        return False
    (path, options), (other_path, other_options) = split_options(one), split_options(other)
    if hub.is_hub(path) or hub.is_hub(other_path):
        return one == other
    return options == other_options and Path(path).resolve() == Path(other_path).resolve()


def is_remote(location: str) -> bool:
    """Whether a location names a model on another server."""
    return is_url(location) or upstream.is_upstream(location)


def short_name(location: str) -> str:
    """What a model on another server is called, where nobody gives it a name."""
    return upstream.short_name(location) if upstream.is_upstream(location) else name_on_a_tensorflow_server(location)


def _check_options(kind: Kind, options: ModelOptions) -> None:
    for name, value in zip(options._fields, options, strict=True):
        if value == getattr(NO_OPTIONS, name) or name in kind.takes:
            continue
        if name in UPSTREAM_OPTIONS:
            raise ModelError(f"the option {name} is for models of upstream servers (openai://)")
        raise ModelError(
            f"the option {name} is for folders of Hugging Face{' and GGUF files' if name in GGUF_OPTIONS else ''}"
        )


def _kind_of(location: str) -> Kind:
    if is_url(location):
        parse_url(location)
        return _ON_A_TENSORFLOW_SERVER
    if upstream.is_upstream(location):
        upstream.parse_location(location)
        return _UPSTREAM
    path = Path(location)
    if not path.exists():
        raise ModelError(no_such_location(location))
    if not path.is_dir() and not path.is_file():
        raise ModelError("neither a file nor a folder")
    for kind in _FOLDERS if path.is_dir() else _FILES:
        if kind.holds(path):
            return kind
    raise ModelError(folder_of_no_kind(path) if path.is_dir() else file_of_no_kind(path))


def _kind_of_data(folder: Path) -> Kind:
    """Of a folder of a hub, none of whose programs is run, whoever put it there."""
    for kind in _FOLDERS:
        if kind.check and kind.holds(folder):
            return kind
    raise ModelError(folder_of_no_kind(folder))


def _imported(module: str) -> Any:
    """A module of this package. Raises ModelError when a package that it needs is not installed."""
    try:
        return importlib.import_module(f"{__package__}.{module}")
    except ImportError as error:
        package = _missing_package(error)
        if package is None:
            raise
        raise ModelError(f"this kind of model needs the package {package}, which is not installed") from None


def _missing_package(error: BaseException | None) -> str | None:
    """The package, none of ours, whose absence made an import fail; of an extension module's, the cause names it."""
    while error is not None and not isinstance(error, ModuleNotFoundError):
        error = error.__cause__
    package = (error.name or "").partition(".")[0] if error is not None else ""
    return None if package in ("", "ext", "server") else package.replace("_", "-")


@contextlib.contextmanager
def _naming(location: str | Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise ModelError(f"{location}: {error.strerror or error}") from None
    except ModelError as error:
        kind = type(error) if isinstance(error, HubError) else ModelError
        raise kind(f"{location}: {error}") from None
    except (PredictionError, asyncio.CancelledError, KeyboardInterrupt, SystemExit):
        raise
    except BaseException as error:  # of a file that no loader expects; a panic in a library of Rust is no Exception
        log.exception("a loader failed", location=str(location))
        raise ModelError(f"{location}: {type(error).__name__}: {error}") from error
