"""Texts to vectors: /embed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Literal, NamedTuple, Self

import numpy as np
from aiohttp import web
from predictor.ttypes import EmbedOptions, ErrorCode, PredictionError, TruncationSide, VectorEncoding
from pydantic import Field, model_validator
from pydantic_core import PydanticCustomError

from process.options import DIMENSIONS, ENCODING, NORMALIZE, PROMPT, PROMPT_NAME, SPLIT, TRUNCATE, TRUNCATION_SIDE
from rest_proxy.backend.contract import EMBED_IDS, EMBED_MATRIX
from rest_proxy.http.content import BINARY, INTEGER, JSON, NUMBER, array_of, object_of
from rest_proxy.http.errors import HttpError, refusal
from rest_proxy.http.requests import ModelRequest, check_count, option_field, read_request
from rest_proxy.http.responses import REQUEST_ID, numbers_response
from rest_proxy.http.route import ANY_FORM, GET_OR_POST, MODEL_ERRORS, Answer, Example, Route
from rest_proxy.routes.texts import options_of

if TYPE_CHECKING:
    from predictor.ttypes import EmbeddingMatrix, RequestOptions

    from rest_proxy.backend.pool import Pool
    from rest_proxy.config import Settings

    Texts = str | list[str] | list[list[int]]

ROWS, COLUMNS = "X-Rows", "X-Columns"

SIDES = {name.lower(): value for name, value in TruncationSide._NAMES_TO_VALUES.items()}
_ENCODINGS = {name.lower(): value for name, value in VectorEncoding._NAMES_TO_VALUES.items()}
_DTYPES = {VectorEncoding.FLOAT32: "<f4", VectorEncoding.INT8: "i1", VectorEncoding.BINARY: "u1"}


class VectorRequest(ModelRequest):
    """What requests for vectors may say beside their texts."""

    truncate: bool | None = option_field(TRUNCATE)
    truncation_side: Literal["right", "left"] | None = option_field(TRUNCATION_SIDE)
    split: bool | None = option_field(SPLIT)
    dimensions: int | None = option_field(DIMENSIONS)
    normalize: bool | None = option_field(NORMALIZE)
    prompt_name: str | None = option_field(PROMPT_NAME)
    prompt: str | None = option_field(PROMPT)
    encoding: Literal["float32", "int8", "binary"] | None = option_field(ENCODING)

    def embed_options(self) -> EmbedOptions | None:
        """The contract's options of the embed methods, None when the request gives none."""
        options: EmbedOptions | None = options_of(
            EmbedOptions,
            truncate=self.truncate,
            truncation_side=None if self.truncation_side is None else SIDES[self.truncation_side],
            split=self.split,
            dimensions=self.dimensions,
            normalize=self.normalize,
            prompt_name=self.prompt_name,
            prompt=self.prompt,
            encoding=None if self.encoding is None else _ENCODINGS[self.encoding],
        )
        return options


class EmbedRequest(VectorRequest):
    """Texts to embed. Exactly one of the fields for texts is given."""

    repeated = ("texts",)
    text_fields: ClassVar[tuple[str, ...]] = ("text", "texts")

    text: str | None = Field(None, description="A text, taken as it is.")
    texts: list[str] | None = Field(None, description="Several; answered in their order.")

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

        The bare numbers are those of `encoding`, little-endian float32 unless it says otherwise, row after row; the
        headers X-Rows and X-Columns say how many.
        """
        fields = await read_request(self._kind, request, self._settings)
        field, texts = fields.field_and_texts(self._settings.max_docs)
        options = fields.options(self._settings, request_id, count_of(texts))
        embedded = await embed(self._settings, self._pool, field, texts, options, fields.embed_options())
        if BINARY in request.headers.get("Accept", ""):
            rows, columns = len(embedded.vectors), embedded.columns
            headers = {"Content-Type": BINARY, ROWS: str(rows), COLUMNS: str(columns), REQUEST_ID: request_id}
            return web.Response(body=embedded.vectors.tobytes(), headers=headers)
        return numbers_response({"embeddings": embedded.numbers}, request_id)


class Embedded(NamedTuple):
    """What a model makes of texts."""

    vectors: np.ndarray[Any, np.dtype[Any]]
    """Of float32, int8 or, where the numbers are bits, uint8; a row for each text."""
    columns: int
    """Numbers in a vector, of which eight are in a byte where they are bits; none when there is no text."""
    tokens: int | None
    """How many tokens the texts are, where the model tells."""

    @property
    def numbers(self) -> np.ndarray[Any, np.dtype[Any]]:
        """The vectors in a type that JSON's writer takes."""
        return self.vectors if self.vectors.dtype == np.float32 else self.vectors.astype(np.int32)


def count_of(given: Texts) -> int:
    """How many texts a request gives."""
    return 1 if isinstance(given, str) else len(given)


async def embed(
    settings: Settings,
    pool: Pool,
    field: str,
    given: Texts,
    options: RequestOptions,
    embed_options: EmbedOptions | None,
) -> Embedded:
    """Vectors of the text or the texts that a request gives in its `field`; a list of numbers is a text's token ids.

    Raises what Pool.call does, and HttpError: when there are too many, when the server refuses one of them, and when
    its matrix is none.
    """
    texts: Any = [given] if isinstance(given, str) else given
    check_count(field, texts, settings)
    if not texts:
        return Embedded(np.zeros((0, 0), np.float32), 0, 0)
    method, argument = (EMBED_MATRIX, "texts") if isinstance(texts[0], str) else (EMBED_IDS, "ids")
    names = {f"{argument}[0]": field} if isinstance(given, str) else {argument: field}
    try:
        matrix = await pool.call(method, texts, options, embed_options, timeout_ms=options.timeout_ms)
    except PredictionError as error:
        raise refusal(error, names) from None
    return _embedded(matrix, len(texts))


def _embedded(matrix: EmbeddingMatrix, count: int) -> Embedded:
    encoding = VectorEncoding.FLOAT32 if matrix.encoding is None else matrix.encoding
    dtype = np.dtype(_DTYPES.get(encoding, "<f4"))
    rows, columns = matrix.rows, matrix.columns
    in_row = -(-columns // 8) if encoding == VectorEncoding.BINARY else columns
    if rows != count or len(matrix.values) != dtype.itemsize * rows * in_row:
        message = f"the server's matrix has {rows} rows, {columns} columns and {len(matrix.values)} bytes"
        raise HttpError(ErrorCode.INTERNAL, f"{message} for {count} texts")
    return Embedded(np.frombuffer(matrix.values, dtype).reshape(rows, in_row), columns, matrix.tokens)


def embedded_rows(matrix: EmbeddingMatrix) -> np.ndarray[Any, np.dtype[Any]]:
    """A matrix of the server's that may have any number of rows, for JSON. Raises HttpError."""
    return _embedded(matrix, matrix.rows).numbers


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
            small=True,
        )
    ]
