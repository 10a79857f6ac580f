"""What is said of a model behind its location: FOLDER,precision=int8,pooling=cls, or openai://...,serves=embed."""

from __future__ import annotations

import re
from pathlib import Path
from typing import NamedTuple

from server.errors import ModelError
from server.models.folder.sentence_transformers import POOLING_MODES
from server.upstream.servers import NAMES, SERVED

PRECISIONS = ("float32", "bfloat16", "int8")
GENERATOR_PRECISIONS = (*PRECISIONS, "int4")

_OPTIONS = re.compile(r"(?:,[a-z_]+=[^,/]*)+$")


class ModelOptions(NamedTuple):
    """Options of one model."""

    precision: str | None = None
    """None: the setting's."""
    pooling: tuple[str, ...] = ()
    """Of a folder that does not say itself how tokens become a vector; none: the mean. A language model's folder gives
    vectors where one is asked for, and texts else."""
    ignore: frozenset[str] = frozenset()
    """Fields of the folder's files that are not known, and change nothing."""
    server: str | None = None
    """Which kind of server an upstream model's is; None: as the server says."""
    serves: tuple[str, ...] = ()
    """What an upstream model is for; none: what its server answers."""


NO_OPTIONS = ModelOptions()
FOLDER_OPTIONS = frozenset({"precision", "pooling", "ignore"})
GGUF_OPTIONS = frozenset({"precision"})
UPSTREAM_OPTIONS = frozenset({"server", "serves"})


def without_options(location: str) -> str:
    """The location alone. What exists is no option, whatever it looks like."""
    found = _OPTIONS.search(location)
    alone = location
    while found is not None and alone != location[: found.start()] and not Path(alone).exists():
        alone = alone.rpartition(",")[0]
    return alone


def split_options(location: str) -> tuple[str, ModelOptions]:
    """(location, options). Raises ModelError, which names what is allowed."""
    alone = without_options(location)
    given: dict[str, str] = {}
    for part in location[len(alone) :].split(",")[1:]:
        name, _, value = part.partition("=")
        if name in given:
            raise ModelError(f"{name} is given twice")
        given[name] = value
    options = NO_OPTIONS
    for name, value in given.items():
        if name == "precision":
            options = options._replace(precision=_one_of(name, value, GENERATOR_PRECISIONS))
        elif name == "pooling":
            options = options._replace(pooling=tuple(_one_of(name, mode, POOLING_MODES) for mode in value.split("+")))
        elif name == "ignore":
            options = options._replace(ignore=frozenset(value.split("+")))
        elif name == "server":
            options = options._replace(server=_one_of(name, value, NAMES))
        elif name == "serves":
            served = tuple(dict.fromkeys(_one_of(name, method, SERVED) for method in value.split("+")))
            options = options._replace(serves=served)
        else:
            raise ModelError(f"{name} is no option of a model; the options are {', '.join(ModelOptions._fields)}")
    return alone, options


def _one_of(name: str, value: str, allowed: tuple[str, ...]) -> str:
    if value not in allowed:
        raise ModelError(f"{name} is {value!r}; it must be one of {', '.join(allowed)}")
    return value
