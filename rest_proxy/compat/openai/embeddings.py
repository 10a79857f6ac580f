"""POST /v1/embeddings: a vector for each text."""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING

from rest_proxy.compat.openai.errors import ERRORS
from rest_proxy.compat.openai.requests import EmbeddingsRequest
from rest_proxy.http.content import INTEGER, JSON, NUMBER, STRING, array_of, object_of
from rest_proxy.http.errors import invalid_argument
from rest_proxy.http.requests import read_json
from rest_proxy.http.responses import numbers_response
from rest_proxy.http.route import MODEL_ERRORS, Answer, Example, Route
from rest_proxy.routes.embeddings import count_of, embed
from rest_proxy.routes.texts import estimated_tokens

if TYPE_CHECKING:
    from aiohttp import web

    from rest_proxy.backend.pool import Pool
    from rest_proxy.config import Settings

_DESCRIPTION = "`usage` counts the tokens that the model read; where it does not tell, 4 bytes are taken for one."


class Embeddings:
    """The route's answers. Where a model does not tell the tokens of texts, `usage` takes 4 bytes for each."""

    def __init__(self, settings: Settings, pool: Pool) -> None:
        self._settings = settings
        self._pool = pool

    async def __call__(self, request: web.BaseRequest, request_id: str) -> web.Response:
        """A vector for each text of `input`."""
        fields = await read_json(EmbeddingsRequest, request, self._settings)
        options = fields.options(self._settings, request_id, count_of(fields.input))
        wanted = fields.embed_options()
        embedded = await embed(self._settings, self._pool, "input", fields.input, options, wanted)
        if fields.dimensions not in (None, embedded.columns):  # of a server that does not know the option
            message = f"the model's vectors have {embedded.columns} dimensions, not {fields.dimensions}"
            raise invalid_argument(message, field="dimensions")
        as_text = fields.encoding_format == "base64"
        rows = (base64.b64encode(row).decode() for row in embedded.vectors) if as_text else embedded.numbers
        data = [{"object": "embedding", "index": index, "embedding": row} for index, row in enumerate(rows)]
        tokens = embedded.tokens
        if tokens is None:
            tokens = estimated_tokens([fields.input] if isinstance(fields.input, str) else fields.input)
        usage = {"prompt_tokens": tokens, "total_tokens": tokens}
        answer = {"object": "list", "data": data, "model": fields.model or "", "usage": usage}
        return numbers_response(answer, request_id)


def routes(settings: Settings, pool: Pool) -> list[Route]:
    """/v1/embeddings."""
    item = object_of(object={"const": "embedding"}, index=INTEGER, embedding={"oneOf": [STRING, array_of(NUMBER)]})
    usage = object_of(prompt_tokens=INTEGER, total_tokens=INTEGER)
    answer = object_of(object={"const": "list"}, data=array_of(item), model=STRING, usage=usage)
    return [
        Route(
            path="/v1/embeddings",
            methods=("POST",),
            answer=Embeddings(settings, pool),
            name="openaiEmbeddings",
            summary="Turn texts into vectors, as OpenAI does",
            description=_DESCRIPTION,
            tag="openai",
            request=EmbeddingsRequest,
            example=Example({"model": "encoder", "input": "Hello world!"}),
            answers=(
                Answer(
                    {JSON: answer},
                    examples={
                        JSON: {
                            "object": "list",
                            "data": [{"object": "embedding", "index": 0, "embedding": [0.0341, -0.0512]}],
                            "model": "encoder",
                            "usage": {"prompt_tokens": 5, "total_tokens": 5},
                        }
                    },
                ),
            ),
            errors=MODEL_ERRORS,
            error_format=ERRORS,
        )
    ]
