"""What a request may say, from its query, its form or its JSON, checked."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, Self, TypeVar
from urllib.parse import parse_qsl

from predictor.ttypes import Lane, ReplyOptions, RequestOptions
from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    FiniteFloat,
    PlainValidator,
    ValidationError,
    WithJsonSchema,
    model_validator,
)
from pydantic_core import PydanticCustomError

from rest_proxy.http.bodies import OTHER_FIELDS, read_body, read_multipart, too_many_documents
from rest_proxy.http.errors import invalid_argument, too_large, unsupported_media_type

if TYPE_CHECKING:
    from collections.abc import Iterable, Sized

    from aiohttp import web

    from rest_proxy.config import Settings
    from rest_proxy.http.errors import HttpError

JSON = "application/json"
FORM = "application/x-www-form-urlencoded"
MULTIPART = "multipart/form-data"

_LANES = {"interactive": Lane.INTERACTIVE, "bulk": Lane.BULK}


def _text_or_texts(value: Any) -> Any:
    if isinstance(value, list):
        for index, item in enumerate(value):
            if not isinstance(item, str):
                raise PydanticCustomError("texts", "item {index} is not a string", {"index": index})
    elif not isinstance(value, str):
        raise PydanticCustomError("texts", "Input should be a string or a list of strings")
    return value


Texts = Annotated[
    str | list[str],
    PlainValidator(_text_or_texts),
    WithJsonSchema({"anyOf": [{"type": "string"}, {"type": "array", "items": {"type": "string"}}]}),
]


class Asked(BaseModel):
    """What everything that a model answers takes beside its text."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    repeated: ClassVar[str | None] = None  # name of the field that a query or a form may repeat

    model: str | None = Field(None, max_length=256, description="A model's name; /models lists them.")
    timeout_ms: int | None = Field(None, ge=1, description="Milliseconds until an answer is of no use any more.")
    lane: Literal["interactive", "bulk"] | None = Field(None, description="bulk yields to interactive, the default.")

    def options(self, settings: Settings, request_id: str) -> RequestOptions:
        """The contract's options, with the settings' deadline where the request says nothing. Raises HttpError."""
        if self.timeout_ms is not None and self.timeout_ms > settings.max_timeout_ms:
            raise invalid_argument(f"timeout_ms is over {settings.max_timeout_ms} (setting max_timeout_ms)")
        timeout_ms = self.default_timeout_ms(settings) if self.timeout_ms is None else self.timeout_ms
        return RequestOptions(self.model, timeout_ms, _LANES[self.lane] if self.lane else None, request_id)

    def default_timeout_ms(self, settings: Settings) -> int:
        """Milliseconds for a request of this kind that says nothing else."""
        return settings.timeout_ms


A = TypeVar("A", bound=Asked)
M = TypeVar("M", bound=BaseModel)


class Prediction(Asked):
    """One text or several."""

    one: ClassVar[str]  # name of the field for one text
    many: ClassVar[str]  # name of the field for several

    @model_validator(mode="after")
    def _one_or_many(self) -> Self:
        if (self.text is None) == (self.texts is None):
            raise PydanticCustomError("one_or_many", f"give either {self.one} or {self.many}")
        return self

    @property
    def text(self) -> str | None:
        """The one text, or None when there are several."""
        text: str | None = getattr(self, self.one)
        return text

    @property
    def texts(self) -> list[str] | None:
        """The texts, or None when there is one."""
        texts: list[str] | None = getattr(self, self.many)
        return texts


P = TypeVar("P", bound=Prediction)


class PredictRequest(Prediction):
    """Documents to classify."""

    one, many, repeated = "doc", "docs", "docs"

    doc: str | None = Field(None, description="A document.")
    docs: list[str] | None = Field(None, description="Several; answered in their order.")


class ReplyRequest(Prediction):
    """Messages to suggest replies to."""

    one, many, repeated = "message", "messages", "messages"

    message: str | None = Field(None, description="A message.")
    messages: list[str] | None = Field(None, description="Several; answered in their order.")
    max_replies: int | None = Field(None, ge=1, le=1000, description="Best replies at most.")
    threshold: FiniteFloat | None = Field(None, description="Least score of a reply.")

    def reply_options(self) -> ReplyOptions | None:
        """The contract's options of the reply methods, None when nothing was asked for."""
        if self.max_replies is None and self.threshold is None:
            return None
        return ReplyOptions(self.max_replies, self.threshold)


async def read_prediction(kind: type[P], request: web.BaseRequest, settings: Settings) -> P:
    """As read_request, with no more texts than may be."""
    asked = await read_request(kind, request, settings)
    if asked.texts is not None:
        check_count(kind.many, asked.texts, settings)
    return asked


def check_count(name: str, texts: Sized, settings: Settings) -> None:
    """Raise TOO_LARGE when the field `name` has more items than the setting max_docs."""
    if len(texts) > settings.max_docs:
        raise too_large(f"{name} has {len(texts)} items, over {settings.max_docs} (setting max_docs)")


async def read_request(kind: type[A], request: web.BaseRequest, settings: Settings) -> A:
    """The request as `kind`: the query's and the form's fields together, or a JSON body alone. Raises HttpError."""
    try:
        return await _read(kind, request, settings)
    except ValidationError as error:
        raise _what_is_wrong(error) from None


def read_query(kind: type[M], request: web.BaseRequest) -> M:
    """The request's query as `kind`. Raises HttpError."""
    try:
        return kind.model_validate(_fields(None, _query(request)))
    except ValidationError as error:
        raise _what_is_wrong(error) from None


async def read_json(kind: type[M], request: web.BaseRequest, settings: Settings) -> M:
    """The request's JSON body as `kind`. Raises HttpError."""
    if request.content_type != JSON:
        raise unsupported_media_type(request.content_type, JSON)
    try:
        return kind.model_validate_json(await read_body(request, settings), strict=True)
    except ValidationError as error:
        raise _what_is_wrong(error) from None


async def _read(kind: type[A], request: web.BaseRequest, settings: Settings) -> A:
    query = _query(request)
    if not request.body_exists:
        return kind.model_validate(_fields(kind.repeated, query))
    content_type = request.content_type
    if content_type == JSON:
        if query:
            raise invalid_argument(f"with a JSON body, {query[0][0][:64]!r} belongs into it and not into the query")
        return await read_json(kind, request, settings)
    if content_type == FORM:
        form = _parse_form(await read_body(request, settings), settings)
    elif content_type == MULTIPART:
        form = await read_multipart(request, settings)
    else:
        raise unsupported_media_type(content_type, f"{JSON}, {FORM} or {MULTIPART}")
    return kind.model_validate(_fields(kind.repeated, (*query, *form)))


def _query(request: web.BaseRequest) -> list[tuple[str, str]]:
    """The query's fields; one with bytes that are no UTF-8 is refused, where a URL of aiohttp replaces them."""
    try:
        return parse_qsl(request.rel_url.raw_query_string, keep_blank_values=True, errors="strict")
    except UnicodeDecodeError as error:
        raise invalid_argument(f"the query is not valid UTF-8: {error.reason}") from None


def _parse_form(body: bytes, settings: Settings) -> list[tuple[str, str]]:
    try:
        return parse_qsl(
            body.decode(), keep_blank_values=True, errors="strict", max_num_fields=settings.max_docs + OTHER_FIELDS
        )
    except UnicodeDecodeError as error:
        raise invalid_argument(f"the form is not valid UTF-8: {error.reason}") from None
    except ValueError:
        raise too_many_documents(settings) from None


def _fields(repeated: str | None, pairs: Iterable[tuple[str, str]]) -> dict[str, Any]:
    fields: dict[str, Any] = {}
    for name, value in pairs:
        if name == repeated:
            fields.setdefault(name, []).append(value)
        elif name in fields:
            hint = f"; {repeated!r} may be repeated" if repeated else ""
            raise invalid_argument(f"field {name[:64]!r} is given twice{hint}")
        else:
            fields[name] = value
    return fields


def _what_is_wrong(error: ValidationError) -> HttpError:
    first = error.errors(include_url=False, include_input=False, include_context=False)[0]
    path = "".join(f"[{part}]" if isinstance(part, int) else f".{part[:64]}" for part in first["loc"]).lstrip(".")
    if not path:
        return invalid_argument(first["msg"])
    return invalid_argument(f"field {path!r}: {first['msg']}", field=str(first["loc"][0])[:64])
