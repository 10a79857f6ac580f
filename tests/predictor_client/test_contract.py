"""The client has all that predictor.thrift has, under its names."""

from __future__ import annotations

import dataclasses
import inspect
from typing import Any

import pytest
from predictor import Predictor, ttypes

import predictor_client
from predictor_client import AsyncClient, Client, options, types
from predictor_client.errors import BY_CODE
from scripts import write_client

# What a stream's methods are called here, and those that only it calls.
STREAMS = {"generate_begin": "generate_stream", "chat_begin": "chat_stream"}
WITHIN_STREAMS = ("generate_next", "generate_cancel")
RPCS = [name for name in vars(Predictor.Iface) if not name.startswith("_") and name not in WITHIN_STREAMS]
STRUCTS = [
    name
    for name, kind in vars(types).items()
    if dataclasses.is_dataclass(kind) and kind.__module__ == types.__name__  # type: ignore[union-attr]
]
ENUMS = [
    name
    for name, kind in vars(ttypes).items()
    if isinstance(kind, type) and kind.__module__ == ttypes.__name__
    if hasattr(kind, "_VALUES_TO_NAMES") and name != "ErrorCode"
]
OPTIONS = {
    "ReplyOptions": ["ReplyOptions"],
    "ClassifyOptions": ["ClassifyOptions"],
    "RerankOptions": ["RerankOptions"],
    "TokenOptions": ["TokenOptions"],
    "EmbedOptions": ["EmbedOptions"],
    "SparseOptions": ["SparseOptions"],
    "TokenizeOptions": ["TokenizeOptions"],
    "GenerationOptions": ["GenerationOptions"],
    "PromptOptions": ["ChatOptions"],
    "ChatOptions": ["ChatOptions", "GenerationOptions"],
    "CallOptions": [],
}


def names_of(struct: str) -> list[str]:
    return [field[2] for field in getattr(ttypes, struct).thrift_spec if field is not None]


@pytest.mark.parametrize("client", [Client, AsyncClient])
@pytest.mark.parametrize("name", RPCS)
def test_every_method_is_there(client: type[Any], name: str) -> None:
    method = getattr(client, STREAMS.get(name, name))
    assert inspect.getdoc(method)


def test_both_clients_have_the_same() -> None:
    public = [{name for name in vars(each) if not name.startswith("_")} for each in (Client, AsyncClient)]
    assert public[0] - {"close"} == public[1] - {"aclose"}


@pytest.mark.parametrize("name", STRUCTS)
def test_structs_have_the_fields_of_the_contract(name: str) -> None:
    fields = {field.name: field for field in dataclasses.fields(getattr(types, name))}
    assert sorted(fields) == sorted(names_of(name))
    optional = {
        field_name
        for field_name, field in fields.items()
        if field.default is not dataclasses.MISSING or field.default_factory is not dataclasses.MISSING
    }
    # A required field is set in a struct that was made without one: the generated class has no other sign of it.
    empty = getattr(ttypes, name)()
    with pytest.raises(Exception, match="Required field") if len(optional) < len(fields) else _nothing():
        empty.validate()
    for field_name in fields.keys() - optional:
        setattr(empty, field_name, 0)
    empty.validate()


class _nothing:  # noqa: N801 - used as a function
    def __enter__(self) -> None: ...
    def __exit__(self, *_: object) -> None: ...


@pytest.mark.parametrize("name", ENUMS)
def test_enums_have_the_values_of_the_contract(name: str) -> None:
    ours = {member.value: member.name for member in getattr(types, name)}
    assert ours == getattr(ttypes, name)._VALUES_TO_NAMES


def test_a_value_of_a_newer_server_is_kept() -> None:
    unknown = types.FinishReason(99)
    assert (unknown, unknown.name) == (99, "UNKNOWN_99")
    with pytest.raises(ValueError, match="x"):
        types.FinishReason("x")


@pytest.mark.parametrize("name", OPTIONS)
def test_options_have_the_names_of_the_contract(name: str) -> None:
    wanted = ["timeout" if field == "timeout_ms" else field for field in names_of("RequestOptions")]
    for struct in OPTIONS[name]:
        wanted += names_of(struct)
    assert getattr(options, name).__optional_keys__ == set(wanted)


def test_options_of_jobs() -> None:
    wanted = set(names_of("BatchRequest")) - {"method", "input", "output"}
    assert options.JobOptions.__optional_keys__ == wanted


def test_every_code_has_its_error() -> None:
    assert set(ttypes.ErrorCode._NAMES_TO_VALUES) <= BY_CODE.keys()


def test_all_is_exported() -> None:
    wanted = {*STRUCTS, *ENUMS, *(error.__name__ for error in BY_CODE.values())}
    assert wanted <= set(predictor_client.__all__)
    assert sorted(predictor_client.__all__) == predictor_client.__all__


def test_the_client_of_threads_is_written_from_that_of_asyncio() -> None:
    assert write_client.TARGET.read_text() == write_client.written(), "run python scripts/write_client.py"
