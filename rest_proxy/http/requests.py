"""What a request may say, from its query, its form or its JSON, checked."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, TypeVar
from urllib.parse import parse_qsl

from predictor.ttypes import Lane, RequestOptions
from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    GetCoreSchemaHandler,
    GetJsonSchemaHandler,
    PlainValidator,
    ValidationError,
    WithJsonSchema,
)
from pydantic_core import CoreSchema, PydanticCustomError, from_json

from process.options import LANE, MODEL, TIMEOUT_MS, Option
from rest_proxy.http.bodies.forms import TooManyFieldsError, form_fields
from rest_proxy.http.bodies.parts import part_fields
from rest_proxy.http.bodies.reading import read_body
from rest_proxy.http.bodies.values import LARGE, require_few_values
from rest_proxy.http.content import FORM, INTEGER, JSON, MULTIPART, STRING, array_of, boundary_of
from rest_proxy.http.errors import invalid_argument, too_large, unsupported_media_type
from rest_proxy.http.validation import expected_text, json_type, what_is_wrong

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Sequence, Sized

    from aiohttp import web

    from rest_proxy.config import Settings
    from rest_proxy.http.content import Schema

I32 = (1 << 31) - 1
I64 = (1 << 63) - 1

_OTHER_FIELDS = 16  # in a form, beside its documents
_FORMS = ThreadPoolExecutor(1, "forms")
"""Large ones are read one after the other: what a thread has freed is kept for that thread."""
_MODEL_CHARACTERS = 256
_EXPECTED_IDS = "expected a list of token ids, whole numbers of at least 0"
_LANES = {"interactive": Lane.INTERACTIVE, "bulk": Lane.BULK}


def option_field(option: Option, *, default: Any = None, largest: int = I32) -> Any:
    """A request's field for an option of a method: its range, its help and, for the document, its default.

    `default`: another one than the option's. `largest`: the maximum of an integer that has none, which is its type's.
    """
    described = option.default if default is None else default
    rules: dict[str, Any] = {"json_schema_extra": {"default": described}} if described is not None else {}
    if option.type in (str, list, dict):
        rules |= {"min_length": option.minimum, "max_length": option.maximum}
    elif option.type in (int, float):
        rules |= {"gt" if option.over_minimum else "ge": option.minimum, "le": option.maximum}
    if option.type is int and option.maximum is None:
        rules["le"] = largest
    if option.type is float:
        rules["allow_inf_nan"] = False
    return Field(None, description=option.help, **rules)


class Also:
    """What a type's validator takes beside the type itself, for the document."""

    def __init__(self, *schemas: Schema) -> None:
        self._schemas = schemas

    def __get_pydantic_json_schema__(self, core_schema: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        """The type's own schema, or one of the others."""
        return {"anyOf": [handler(core_schema), *map(dict, self._schemas)]}


def model_field(default: Any = None) -> Any:
    """The field that names a model; `...` where it must be given."""
    return Field(default, max_length=_MODEL_CHARACTERS, description=MODEL.help)


def text_or_texts(value: Any) -> Any:
    """A string or a list of strings as it is, for pydantic."""
    if isinstance(value, list):
        for index, item in enumerate(value):
            if not isinstance(item, str):
                raise PydanticCustomError("item", "{message}", {"index": index, "message": expected_text(item)})
    elif not isinstance(value, str):
        got = {"got": json_type(value)}
        raise PydanticCustomError("texts", "expected a string or a list of strings, got {got}", got)
    return value


Texts = Annotated[
    str | list[str],
    PlainValidator(text_or_texts),
    WithJsonSchema({"anyOf": [STRING, array_of(STRING)]}),
]


def _texts_or_ids(value: Any) -> Any:
    """A text, texts, the ids of a text's tokens, or of several's, for pydantic."""
    if not isinstance(value, list):
        return text_or_texts(value)
    if not value:
        raise PydanticCustomError("empty", "the list is empty")
    if isinstance(value[0], list):
        for index, ids in enumerate(value):
            if not isinstance(ids, list):
                raise PydanticCustomError("item", "{message}", {"index": index, "message": _EXPECTED_IDS})
            _check_ids(ids, index)
        return value
    if type(value[0]) is int:
        _check_ids(value, None)
        return [value]
    return text_or_texts(value)


def _check_ids(ids: list[Any], index: int | None) -> None:
    if not ids or not all(type(id_) is int and 0 <= id_ <= I32 for id_ in ids):
        place = {} if index is None else {"index": index}
        raise PydanticCustomError("item", "{message}", {**place, "message": _EXPECTED_IDS})


def _some(items: Schema) -> Schema:
    return {**array_of(items), "minItems": 1}


_ID: Schema = {**INTEGER, "minimum": 0, "maximum": I32}

TokenId = Annotated[int, Field(ge=0, le=I32)]

TextsOrIds = Annotated[
    str | list[str] | list[list[int]],
    PlainValidator(_texts_or_ids),
    WithJsonSchema(
        {"anyOf": [STRING, _some(STRING), _some(_ID), _some(_some(_ID))]},
    ),
]


def _fail_fast(schema: Any) -> None:
    if isinstance(schema, dict):
        if schema.get("type") == "list":
            schema["fail_fast"] = True
        for part in schema.values():
            _fail_fast(part)
    elif isinstance(schema, list):
        for part in schema:
            _fail_fast(part)


class FailFast(BaseModel):
    """What may come from outside: lists are read up to the first item that is wrong."""

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        """As it would be, with lists that fail fast: of a million wrong items one is told."""
        schema = handler(source)
        _fail_fast(schema)
        return schema


class Strict(FailFast):
    """What a request may say, and nothing else."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class ModelRequest(Strict):
    """What every request to a model may say beside its text."""

    repeated: ClassVar[tuple[str, ...]] = ()  # names of the fields that a query or a form may repeat

    model: str | None = model_field()
    timeout_ms: int | None = option_field(TIMEOUT_MS)
    lane: Literal["interactive", "bulk"] | None = option_field(LANE)

    def options(self, settings: Settings, request_id: str, items: int = 1) -> RequestOptions:
        """The contract's options, with the settings' deadline where the request says nothing. Raises HttpError.

        `items`: how many texts the model is asked for.
        """
        timeout_ms = self.timeout_ms
        if timeout_ms is None:
            timeout_ms = self.default_timeout_ms(settings, items)
        elif timeout_ms > settings.max_timeout_ms and (wrong := TIMEOUT_MS.wrong(timeout_ms, settings.max_timeout_ms)):
            raise invalid_argument(wrong, field="timeout_ms", setting="max_timeout_ms")
        return RequestOptions(self.model, timeout_ms, _LANES[self.lane] if self.lane else None, request_id)

    def default_timeout_ms(self, settings: Settings, items: int) -> int:
        """Milliseconds for a request of this kind, with so many texts, that says nothing else."""
        return settings.timeout_ms_of(items)


R = TypeVar("R", bound=ModelRequest)
M = TypeVar("M", bound=BaseModel)


def check_count(field: str, texts: Sized, settings: Settings) -> None:
    """Raise TOO_LARGE when a field has more items than the setting max_docs."""
    if len(texts) > settings.max_docs:
        message = f"{len(texts)} items are over the limit of {settings.max_docs}"
        raise too_large(message, field=field, setting="max_docs")


async def read_request(kind: type[R], request: web.BaseRequest, settings: Settings) -> R:
    """The request as `kind`: its query and its form together, or its JSON body alone. Raises HttpError."""
    query = _query(request)
    if request.body_exists and request.content_type == JSON:
        if query:
            message = "with a JSON body, every field belongs into the body, not into the query"
            raise invalid_argument(message, field=query[0][0][:64])
        return await read_json(kind, request, settings)
    fields = _fields(kind.repeated, (*query, *await _read_form(request, settings)))
    try:
        return kind.model_validate(fields)
    except ValidationError as error:
        raise what_is_wrong(error, kind.model_fields, fields) from None


def read_query(kind: type[M], request: web.BaseRequest) -> M:
    """The request's query as `kind`. Raises HttpError."""
    fields = _fields((), _query(request))
    try:
        return kind.model_validate(fields)
    except ValidationError as error:
        raise what_is_wrong(error, kind.model_fields, fields) from None


async def read_json(kind: type[M], request: web.BaseRequest, settings: Settings, *, any_type: bool = False) -> M:
    """The request's JSON body as `kind`; with `any_type` whatever content type it has. Raises HttpError."""
    if request.content_type != JSON and not any_type:
        raise unsupported_media_type(request.headers.get("Content-Type"), JSON)
    body = await read_body(request, settings)
    if len(body) > LARGE and request.content_type != JSON:
        await require_few_values(body, settings)
    if len(body) > LARGE:
        return _validated(kind, body, request.headers.get("Content-Length"))
    try:
        return kind.model_validate_json(body, strict=True)
    except ValidationError as error:
        raise what_is_wrong(error, kind.model_fields, _names(body), request.headers.get("Content-Length")) from None


def _validated(kind: type[M], body: bytes, content_length: str | None) -> M:
    """Of a large body. What is wrong with an object of Python's is told without a copy of it for each fault."""
    content: Any = ()
    try:
        content = from_json(body)
        return kind.model_validate(content, strict=True)
    except ValidationError as error:
        given = content if isinstance(content, dict) else ()
        raise what_is_wrong(error, kind.model_fields, given, content_length) from None
    except ValueError:
        try:
            return kind.model_validate_json(body, strict=True)
        except ValidationError as error:
            raise what_is_wrong(error, kind.model_fields, (), content_length) from None


async def _read_form(request: web.BaseRequest, settings: Settings) -> list[tuple[str, str]]:
    if not request.body_exists:
        return []
    content_type = request.content_type
    if content_type not in (FORM, MULTIPART):
        raise unsupported_media_type(request.headers.get("Content-Type"), f"{JSON}, {FORM} or {MULTIPART}")
    body = await read_body(request, settings)
    if content_type == FORM and body[:64].lstrip()[:1] == b"{":
        message = "this is JSON, sent as a form: say Content-Type: application/json, as curl --json does"
        raise invalid_argument(message)
    boundary = boundary_of(request.headers) if content_type == MULTIPART else None
    if len(body) > LARGE:  # in plain Python, which lets the event loop have its turns
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(_FORMS, _parse_form, content_type, body, boundary, settings)
    return _parse_form(content_type, body, boundary, settings)


def _names(body: bytes) -> Collection[str]:
    """The fields of a body that is a JSON object."""
    try:
        content = from_json(body)
    except ValueError:
        return ()
    return content if isinstance(content, dict) else ()


def _query(request: web.BaseRequest) -> list[tuple[str, str]]:
    """The query's fields; one with bytes that are no UTF-8 is refused, where a URL of aiohttp replaces them."""
    try:
        return parse_qsl(request.rel_url.raw_query_string, keep_blank_values=True, errors="strict")
    except UnicodeDecodeError as error:
        raise invalid_argument(f"the query is not valid UTF-8: {error.reason}") from None


def _parse_form(content_type: str, body: bytes, boundary: str | None, settings: Settings) -> list[tuple[str, str]]:
    most = settings.max_docs + _OTHER_FIELDS
    try:
        return form_fields(body, most) if content_type == FORM else part_fields(body, boundary, most)
    except UnicodeDecodeError as error:
        raise invalid_argument(f"the form is not valid UTF-8: {error.reason}") from None
    except TooManyFieldsError:
        raise too_large(f"the form has over {settings.max_docs} documents", setting="max_docs") from None
    except ValueError as error:
        raise invalid_argument(f"the body cannot be read: {error}") from None


def _fields(repeated: Sequence[str], pairs: Iterable[tuple[str, str]]) -> dict[str, Any]:
    fields: dict[str, Any] = {}
    for name, value in pairs:
        if name in repeated:
            fields.setdefault(name, []).append(value)
        elif name in fields:
            hint = f"; only {' and '.join(map(repr, repeated))} may be" if repeated else ""
            raise invalid_argument(f"this field is given more than once{hint}", field=name[:64])
        else:
            fields[name] = value
    return fields
