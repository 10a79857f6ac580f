"""vLLM's /tokenize and /detokenize: the tokens of a prompt or of a conversation, and the text of tokens.

A body in JSON with `prompt` or `messages` is its own; our /tokenize has no such field.
"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Annotated, Any

from predictor.ttypes import PredictionError, TokenizeOptions
from pydantic import ConfigDict, Field
from pydantic_core import from_json

from process.options import ADD_GENERATION_PROMPT, CONTINUE_FINAL_MESSAGE, SPECIAL_TOKENS
from rest_proxy.backend.contract import CHAT_PROMPT, DETOKENIZE, LIST_MODELS, TOKENIZE
from rest_proxy.compat.openai.chat import CALL_FIELDS
from rest_proxy.compat.openai.messages import Message, Tools, chat_options
from rest_proxy.http.bodies.reading import read_body
from rest_proxy.http.content import INTEGER, JSON, STRING, array_of, object_of
from rest_proxy.http.errors import invalid_argument, refusal
from rest_proxy.http.requests import I32, ModelRequest, option_field, read_json
from rest_proxy.http.responses import json_response
from rest_proxy.http.route import MODEL_ERRORS, Answer, Example, Route

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from aiohttp import web
    from predictor.ttypes import ChatOptions, ModelInfo, RequestOptions

    from rest_proxy.backend.pool import Pool
    from rest_proxy.config import Settings

    Answering = Callable[[web.BaseRequest, str], Awaitable[web.StreamResponse]]

_NOTE = "With `prompt` or `messages` it is vLLM's: requests and answers have its form."
_NAMES = {"texts[0]": "prompt", "texts": "prompt", "ids[0]": "tokens", "ids": "tokens", **CALL_FIELDS}
_OPTIONAL_STRINGS = {"anyOf": [array_of(STRING), {"type": "null"}]}


class TokenizeRequest(ModelRequest):
    """A prompt, or a conversation, to split into tokens, as vLLM has it."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    prompt: str | None = Field(None, description="A text; give this or messages.")
    messages: list[Message] | None = Field(None, description="A conversation, by the model's chat template.")
    add_special_tokens: bool | None = option_field(SPECIAL_TOKENS)
    return_token_strs: bool | None = Field(None, description="Whether the tokens' texts are given too.")
    tools: Tools | None = Field(None, description="Tools of the conversation.")
    chat_template_kwargs: dict[str, Any] | None = Field(None, description="What the chat template knows besides.")
    add_generation_prompt: bool | None = option_field(ADD_GENERATION_PROMPT)
    continue_final_message: bool | None = option_field(CONTINUE_FINAL_MESSAGE)

    def chat_options(self) -> ChatOptions:
        """The contract's options."""
        return chat_options(
            self.tools, self.chat_template_kwargs, self.add_generation_prompt, self.continue_final_message
        )


class DetokenizeRequest(ModelRequest):
    """Tokens to put together."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    tokens: list[Annotated[int, Field(ge=0, le=I32)]] = Field(description="Ids of the model's tokens.")


class Tokens:
    """The routes' answers."""

    def __init__(self, settings: Settings, pool: Pool) -> None:
        self._settings = settings
        self._pool = pool

    async def tokenize(self, request: web.BaseRequest, request_id: str) -> web.Response:
        """The ids of the tokens, how many they are, and how many the model reads."""
        fields = await read_json(TokenizeRequest, request, self._settings)
        if (fields.prompt is None) == (fields.messages is None):
            raise invalid_argument("give this or messages", field="prompt")
        options = fields.options(self._settings, request_id)
        try:
            if fields.messages is not None:
                messages = [message.contract() for message in fields.messages]
                prompt = await self._call(CHAT_PROMPT, options, messages, options, fields.chat_options())
                ids, strings = list(prompt.ids), None
                if fields.return_token_strs:
                    strings = await self._strings(ids, options)
            else:
                how = TokenizeOptions(fields.add_special_tokens)
                [tokens] = await self._call(TOKENIZE, options, [fields.prompt], options, how)
                ids = [token.id for token in tokens]
                strings = [token.text for token in tokens] if fields.return_token_strs else None
            infos = await self._call(LIST_MODELS, options)
        except PredictionError as error:
            raise refusal(error, _NAMES) from None
        method = CHAT_PROMPT.name if fields.messages is not None else TOKENIZE.name
        most = _positions(infos, fields.model, method)
        return json_response(
            {"count": len(ids), "max_model_len": most, "tokens": ids, "token_strs": strings}, request_id
        )

    async def detokenize(self, request: web.BaseRequest, request_id: str) -> web.Response:
        """The text."""
        fields = await read_json(DetokenizeRequest, request, self._settings)
        options = fields.options(self._settings, request_id)
        try:
            [text] = await self._call(DETOKENIZE, options, [fields.tokens], options)
        except PredictionError as error:
            raise refusal(error, _NAMES) from None
        return json_response({"prompt": text}, request_id)

    async def _strings(self, ids: list[int], options: RequestOptions) -> list[str]:
        strings: list[str] = await self._call(DETOKENIZE, options, [[id_] for id_ in ids], options)
        return strings

    async def _call(self, method: Any, options: RequestOptions, *arguments: Any) -> Any:
        return await self._pool.call(method, *arguments, timeout_ms=options.timeout_ms)


def _positions(infos: Sequence[ModelInfo], name: str | None, method: str) -> int:
    """Tokens that the model which answered reads; 0 where it is not there any more."""
    for info in infos:
        if info.name == name or (name is None and method in info.default_for):
            return int((info.details or {}).get("context", info.limits.max_tokens))
    return 0


class Beside:
    """Our own answer, or vLLM's to a body in JSON with `prompt` or `messages`."""

    def __init__(self, settings: Settings, own: Answering, theirs: Answering) -> None:
        self._settings = settings
        self._own = own
        self._theirs = theirs

    async def __call__(self, request: web.BaseRequest, request_id: str) -> web.StreamResponse:
        """By the body."""
        theirs = await _is_theirs(request, self._settings)
        return await (self._theirs if theirs else self._own)(request, request_id)


async def _is_theirs(request: web.BaseRequest, settings: Settings) -> bool:
    if request.content_type != JSON or request.rel_url.raw_query_string:
        return False
    body = await read_body(request, settings, again=True)
    if b'"prompt"' not in body and b'"messages"' not in body:
        return False
    try:
        content = from_json(body)
    except ValueError:  # said by the route itself
        return False
    return isinstance(content, dict) and not content.keys().isdisjoint(("prompt", "messages"))


def beside(routes: Sequence[Route], settings: Settings, pool: Pool) -> list[Route]:
    """Our own routes; /tokenize answers vLLM's requests as well."""
    theirs = Tokens(settings, pool).tokenize
    return [_beside(route, settings, theirs) if route.path == "/tokenize" else route for route in routes]


def _beside(route: Route, settings: Settings, theirs: Answering) -> Route:
    first, *others = route.answers
    schema = object_of(count=INTEGER, max_model_len=INTEGER, tokens=array_of(INTEGER), token_strs=_OPTIONAL_STRINGS)
    either = dataclasses.replace(first, content={**first.content, JSON: {"anyOf": [first.content[JSON], schema]}})
    return dataclasses.replace(
        route,
        answer=Beside(settings, route.answer, theirs),
        answers=(either, *others),
        further_requests=(*route.further_requests, TokenizeRequest),
        description=f"{route.description} {_NOTE}".lstrip(),
    )


def routes(settings: Settings, pool: Pool) -> list[Route]:
    """/detokenize."""
    return [
        Route(
            path="/detokenize",
            methods=("POST",),
            answer=Tokens(settings, pool).detokenize,
            name="detokenize",
            summary="Put tokens together to a text, as vLLM does",
            description="Special tokens are written by their names.",
            tag="vllm",
            request=DetokenizeRequest,
            example=Example({"model": "gpt2", "tokens": [5, 6]}),
            answers=(Answer({JSON: object_of(prompt=STRING)}, examples={JSON: {"prompt": "Hello"}}),),
            errors=MODEL_ERRORS,
        )
    ]
