"""Texts to vectors: smls's POST /embed, and its fields of our own."""

from __future__ import annotations

import ast
import re
import warnings
from itertools import islice
from typing import TYPE_CHECKING, ClassVar, NamedTuple, Self

import numpy as np
from aiohttp import web
from predictor.ttypes import EmbedOptions, ErrorCode, PredictionError
from pydantic import Field, model_validator
from pydantic_core import PydanticCustomError, from_json

from rest_proxy.backend.contract import EMBED_MATRIX
from rest_proxy.http.errors import HttpError, invalid_argument, too_large
from rest_proxy.http.requests import Asked, Texts, check_count, read_request
from rest_proxy.http.responses import REQUEST_ID, numbers_response

if TYPE_CHECKING:
    from typing import Any

    from predictor.ttypes import RequestOptions

    from rest_proxy.backend.pool import Pool
    from rest_proxy.config import Settings

BINARY = "application/octet-stream"
ROWS, COLUMNS = "X-Rows", "X-Columns"

# Nothing here is tried in two ways: a megabyte of spaces must not cost its square.
_QUOTED = r"""(?:'(?:[^'\\\n]|\\.)*+'|"(?:[^"\\\n]|\\.)*+")"""
_PYTHON_TEXT = re.compile(_QUOTED, re.DOTALL)
_PYTHON_LIST = re.compile(rf"\s*+\[\s*+{_QUOTED}(?:\s*+,\s*+{_QUOTED})*+\s*+(?:,\s*+)?+\]\s*+", re.DOTALL)


class EmbedRequest(Asked):
    """Texts to embed. Exactly one of `message`, `text` and `texts` is given."""

    repeated: ClassVar[str | None] = "texts"

    message: Texts | None = Field(
        None,
        description="smls's field: a text, or a list of texts, which may be written as JSON or Python in a string.",
    )
    text: str | None = Field(None, description="A text, taken as it is.")
    texts: list[str] | None = Field(None, description="Several; answered in their order.")
    truncate: bool | None = Field(
        None, description="Whether a text that is too long for the model is cut (the default) or refused."
    )

    @model_validator(mode="after")
    def _one_of_three(self) -> Self:
        if sum(value is not None for value in (self.message, self.text, self.texts)) != 1:
            raise PydanticCustomError("one_of_three", "give either message, text or texts")
        return self

    def all_texts(self, most: int) -> list[str]:
        """The texts in their order; of a list with Python's quotes at most `most`. Raises HttpError."""
        if self.texts is not None:
            return self.texts
        if self.text is not None:
            return [self.text]
        return texts_of(self.message, most) if isinstance(self.message, str) else self.message or []


def texts_of(message: str, most: int) -> list[str]:
    """The texts in smls's field: those of a list in JSON or with Python's quotes, else the message itself.

    Raises HttpError for a list in JSON that has something else than strings in it, and for one with Python's quotes
    that has more than `most` texts.
    """
    if not message.lstrip().startswith("["):
        return [message]
    try:
        items = from_json(message)
    except ValueError:
        return _python_texts(message, most)
    for index, item in enumerate(items):
        if not isinstance(item, str):
            raise invalid_argument(f"message[{index}] is not a string", field="message")
    return items  # type: ignore[no-any-return]


def _python_texts(message: str, most: int) -> list[str]:
    if not _PYTHON_LIST.fullmatch(message):
        return [message]
    quoted = [text.group() for text in islice(_PYTHON_TEXT.finditer(message), most + 1)]
    if len(quoted) > most:  # not left to the caller, because Python takes 5 us to read each
        raise too_large(f"message has over {most} items (setting max_docs)")
    try:
        with warnings.catch_warnings(action="ignore"):  # of escapes that Python does not know
            return ast.literal_eval(f"[{','.join(quoted)}]")  # type: ignore[no-any-return]
    except (ValueError, SyntaxError):  # an escape that is not complete
        return [message]


class Embeddings:
    """GET and POST /embed."""

    def __init__(self, settings: Settings, pool: Pool) -> None:
        self._settings = settings
        self._pool = pool

    async def __call__(self, request: web.BaseRequest, request_id: str) -> web.Response:
        """{"embeddings": [a list of numbers for each text]}, or the bare numbers for BINARY in the header Accept.

        The bare numbers are little-endian float32, row after row; the headers X-Rows and X-Columns say how many.
        """
        asked = await read_request(EmbedRequest, request, self._settings)
        texts = asked.all_texts(self._settings.max_docs)
        field = "message" if asked.message is not None else "text" if asked.texts is None else "texts"
        check_count(field, texts, self._settings)
        vectors, _ = await embed(self._pool, field, texts, asked.options(self._settings, request_id), asked.truncate)
        if BINARY in request.headers.get("Accept", ""):
            rows, columns = vectors.shape
            headers = {"Content-Type": BINARY, ROWS: str(rows), COLUMNS: str(columns), REQUEST_ID: request_id}
            return web.Response(body=vectors.tobytes(), headers=headers)
        return numbers_response({"embeddings": vectors}, request_id)


class Embedded(NamedTuple):
    """What a model makes of texts."""

    vectors: np.ndarray[Any, np.dtype[np.float32]]
    """float32[number of texts, columns]; no column when there is no text."""
    tokens: int | None
    """How many tokens the texts are, where the model tells."""


async def embed(pool: Pool, field: str, texts: list[str], options: RequestOptions, truncate: bool | None) -> Embedded:
    """Vectors of the texts.

    Raises what Pool.call does, with the request's `field` for the contract's, and HttpError when the server's matrix is
    not one.
    """
    if not texts:
        return Embedded(np.zeros((0, 0), np.float32), 0)
    wanted = None if truncate is None else EmbedOptions(truncate)
    try:
        matrix = await pool.call(EMBED_MATRIX, texts, options, wanted, timeout_ms=options.timeout_ms)
    except PredictionError as error:
        place = field if len(texts) == 1 else rf"{field}[\1]"
        error.message = re.sub(r"^texts\[(\d+)\](?=: )", place, error.message)
        raise
    rows, columns = matrix.rows, matrix.columns
    if rows != len(texts) or len(matrix.values) != 4 * rows * columns:
        message = f"the server's matrix has {rows} rows, {columns} columns and {len(matrix.values)} bytes"
        raise HttpError(ErrorCode.INTERNAL, f"{message} for {len(texts)} texts")
    return Embedded(np.frombuffer(matrix.values, "<f4").reshape(rows, columns), matrix.tokens)
