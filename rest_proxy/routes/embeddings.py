"""Texts to vectors."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, NamedTuple, Self

import numpy as np
from aiohttp import web
from predictor.ttypes import EmbedOptions, ErrorCode, PredictionError
from pydantic import Field, model_validator
from pydantic_core import PydanticCustomError

from process.options import TRUNCATE
from rest_proxy.backend.contract import EMBED_MATRIX
from rest_proxy.http.content import BINARY, INTEGER, JSON, NUMBER, array_of, object_of
from rest_proxy.http.errors import HttpError, refusal
from rest_proxy.http.requests import ModelRequest, check_count, option_field, read_request
from rest_proxy.http.responses import REQUEST_ID, numbers_response
from rest_proxy.http.route import ANY_FORM, GET_OR_POST, MODEL_ERRORS, Answer, Example, Route

if TYPE_CHECKING:
    from typing import Any

    from predictor.ttypes import RequestOptions

    from rest_proxy.backend.pool import Pool
    from rest_proxy.config import Settings

ROWS, COLUMNS = "X-Rows", "X-Columns"


class EmbedRequest(ModelRequest):
    """Texts to embed. Exactly one of the fields for texts is given."""

    repeated: ClassVar[str | None] = "texts"
    text_fields: ClassVar[tuple[str, ...]] = ("text", "texts")

    text: str | None = Field(None, description="A text, taken as it is.")
    texts: list[str] | None = Field(None, description="Several; answered in their order.")
    truncate: bool | None = option_field(TRUNCATE)

    @model_validator(mode="after")
    def _one_field(self) -> Self:
        if sum(getattr(self, name) is not None for name in self.text_fields) != 1:
            *others, last = self.text_fields
            raise PydanticCustomError("one_field", f"give either {', '.join(others)} or {last}")
        return self

    def field_and_texts(self, _max_texts: int) -> tuple[str, str | list[str]]:
        """The field that is given, and its text or texts; `_max_texts`: how many may be read. Raises HttpError."""
        return ("text", self.text) if self.text is not None else ("texts", self.texts or [])


class Embeddings:
    """GET and POST /embed."""

    def __init__(self, settings: Settings, pool: Pool, kind: type[EmbedRequest]) -> None:
        self._settings = settings
        self._pool = pool
        self._kind = kind

    async def __call__(self, request: web.BaseRequest, request_id: str) -> web.Response:
        """{"embeddings": [a list of numbers for each text]}, or the bare numbers for BINARY in the header Accept.

        The bare numbers are little-endian float32, row after row; the headers X-Rows and X-Columns say how many.
        """
        fields = await read_request(self._kind, request, self._settings)
        field, texts = fields.field_and_texts(self._settings.max_docs)
        options = fields.options(self._settings, request_id, count_of(texts))
        vectors, _ = await embed(self._settings, self._pool, field, texts, options, fields.truncate)
        if BINARY in request.headers.get("Accept", ""):
            rows, columns = vectors.shape
            headers = {"Content-Type": BINARY, ROWS: str(rows), COLUMNS: str(columns), REQUEST_ID: request_id}
            return web.Response(body=vectors.tobytes(), headers=headers)
        return numbers_response({"embeddings": vectors}, request_id)


def count_of(given: str | list[str]) -> int:
    """How many texts a request gives."""
    return 1 if isinstance(given, str) else len(given)


class Embedded(NamedTuple):
    """What a model makes of texts."""

    vectors: np.ndarray[Any, np.dtype[np.float32]]
    """float32[number of texts, columns]; no column when there is no text."""
    tokens: int | None
    """How many tokens the texts are, where the model tells."""


async def embed(
    settings: Settings,
    pool: Pool,
    field: str,
    given: str | list[str],
    options: RequestOptions,
    truncate: bool | None,
) -> Embedded:
    """Vectors of the text or the texts that a request gives in its `field`.

    Raises what Pool.call does, and HttpError: when there are too many, when the server refuses one of them, and when
    its matrix is none.
    """
    texts, names = ([given], {"texts[0]": field}) if isinstance(given, str) else (given, {"texts": field})
    check_count(field, texts, settings)
    if not texts:
        return Embedded(np.zeros((0, 0), np.float32), 0)
    embed_options = None if truncate is None else EmbedOptions(truncate)
    try:
        matrix = await pool.call(EMBED_MATRIX, texts, options, embed_options, timeout_ms=options.timeout_ms)
    except PredictionError as error:
        raise refusal(error, names) from None
    rows, columns = matrix.rows, matrix.columns
    if rows != len(texts) or len(matrix.values) != 4 * rows * columns:
        message = f"the server's matrix has {rows} rows, {columns} columns and {len(matrix.values)} bytes"
        raise HttpError(ErrorCode.INTERNAL, f"{message} for {len(texts)} texts")
    return Embedded(np.frombuffer(matrix.values, "<f4").reshape(rows, columns), matrix.tokens)


def routes(settings: Settings, pool: Pool, kind: type[EmbedRequest], summary: str) -> list[Route]:
    """/embed for requests of this kind."""
    vectors = object_of(embeddings=array_of(array_of(NUMBER)))
    return [
        Route(
            path="/embed",
            methods=GET_OR_POST,
            answer=Embeddings(settings, pool, kind),
            name="embed",
            summary=summary,
            tag="embeddings",
            request=kind,
            request_types=ANY_FORM,
            example=Example({"texts": ["Hello world!", "How are you today?"]}),
            answers=(
                Answer(
                    {JSON: vectors, BINARY: {"type": "string", "format": "binary"}},
                    headers={
                        ROWS: {**INTEGER, "description": f"For {BINARY}: number of vectors."},
                        COLUMNS: {**INTEGER, "description": f"For {BINARY}: numbers in a vector."},
                    },
                    examples={JSON: {"embeddings": [[0.0341, -0.0512], [0.0127, 0.0433]]}},
                ),
            ),
            errors=MODEL_ERRORS,
        )
    ]
