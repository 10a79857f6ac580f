"""What requests about one text or several have in common."""

from __future__ import annotations

from abc import abstractmethod
from typing import TYPE_CHECKING, Any, ClassVar, Self, TypeVar

import orjson
from predictor.ttypes import PredictionError
from pydantic import Field, model_validator
from pydantic_core import PydanticCustomError

from rest_proxy.http.content import JSON, array_of, object_of
from rest_proxy.http.errors import refusal
from rest_proxy.http.requests import ModelRequest, check_count, read_request

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from aiohttp import web

    from rest_proxy.backend.contract import Method
    from rest_proxy.backend.pool import Pool
    from rest_proxy.config import Settings
    from rest_proxy.http.content import Schema
    from rest_proxy.http.fast.heads import Head

_BYTES_PER_TOKEN = 4  # https://help.openai.com/en/articles/4936856-what-are-tokens-and-how-to-count-them


class OneOrMany(ModelRequest):
    """One text or several."""

    one: ClassVar[str]  # name of the field for one text
    many: ClassVar[str]  # name of the field for several

    @model_validator(mode="after")
    def _one_or_many(self) -> Self:
        if (self.single is None) == (self.several is None):
            raise PydanticCustomError("one_or_many", f"give either {self.one} or {self.many}")
        return self

    @property
    def single(self) -> str | None:
        """The one text, or None when there are several."""
        text: str | None = getattr(self, self.one)
        return text

    @property
    def several(self) -> list[str] | None:
        """The texts, or None when there is one."""
        texts: list[str] | None = getattr(self, self.many)
        return texts

    @property
    def items(self) -> int:
        """How many texts there are."""
        return 1 if self.several is None else len(self.several)


class TextsRequest(OneOrMany):
    """`text` or `texts`."""

    one, many = "text", "texts"
    repeated: ClassVar[tuple[str, ...]] = ("texts",)

    text: str | None = Field(None, description="A text.")
    texts: list[str] | None = Field(None, description="Several; answered in their order.")

    @abstractmethod
    def method_options(self) -> Any:
        """The contract's options of the method, None when the request gives none."""


R = TypeVar("R", bound=OneOrMany)


async def read_texts(kind: type[R], request: web.BaseRequest, settings: Settings) -> R:
    """The request, with no more texts than the setting max_docs allows. Raises HttpError."""
    fields = await read_request(kind, request, settings)
    if fields.several is not None:
        check_count(kind.many, fields.several, settings)
    return fields


async def answer_each(pool: Pool, method: Method, fields: OneOrMany, options: Any, method_options: Any) -> list[Any]:
    """What a method that takes a list of texts answers. Raises HttpError, with the request's own field."""
    texts = [fields.single] if fields.several is None else fields.several
    names = {"texts[0]": fields.one} if fields.several is None else {"texts": fields.many}
    try:
        answers: list[Any] = await pool.call(method, texts, options, method_options, timeout_ms=options.timeout_ms)
    except PredictionError as error:
        raise refusal(error, names) from None
    return answers


def text_alone(field: str) -> Callable[[Head, bytes], str | None]:
    """What reads the text of a body in JSON that has this field and no other; None for all else, right or wrong."""
    beginning = f'{{"{field}":'.encode()

    def read(head: Head, body: bytes) -> str | None:
        if not body.startswith(beginning) or head.content_type != JSON or head.raw_query_string:
            return None
        try:
            fields = orjson.loads(body)
        except ValueError:
            return None
        text = fields[field] if len(fields) == 1 else None
        return text if isinstance(text, str) else None

    return read


def one_or_all(fields: OneOrMany, answers: list[Any], answer: Callable[[Any], dict[str, Any]]) -> dict[str, Any]:
    """The object of the one text, or {"results": [an object for each text]}."""
    if fields.several is None:
        return answer(answers[0])
    return {"results": [answer(value) for value in answers]}


def one_or_all_schema(**properties: Schema) -> Schema:
    """Of what `one_or_all` gives, where an object has these properties."""
    one = object_of(**properties)
    return {"oneOf": [one, object_of(results=array_of(one))]}


def fields_set(struct: Any) -> dict[str, Any]:
    """The fields of a struct of the contract that are set."""
    return {name: value for name, value in vars(struct).items() if value is not None}


def options_of(struct: Any, **values: Any) -> Any:
    """The struct of options with these values, None when none is given."""
    return None if all(value is None for value in values.values()) else struct(**values)


def estimated_tokens(texts: Sequence[str | list[int]]) -> int:
    """How many tokens texts, or lists of ids, may be to a model that does not tell."""
    return sum(
        -(-len(text.encode(errors="replace")) // _BYTES_PER_TOKEN) if isinstance(text, str) else len(text)
        for text in texts
    )
