"""POST /v1/chat/completions: what a model says next in a conversation, whole or as server-sent events."""

from __future__ import annotations

import contextlib
import time
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field

from process.options import ADD_GENERATION_PROMPT, CONTINUE_FINAL_MESSAGE
from rest_proxy.compat.openai.completions import FINISH_REASONS, all_of
from rest_proxy.compat.openai.errors import ERRORS, error_object
from rest_proxy.compat.openai.forced_calls import ForcedCall
from rest_proxy.compat.openai.logprobs import chat_logprobs
from rest_proxy.compat.openai.messages import Message, Tools, chat_options, plain_call
from rest_proxy.compat.openai.requests import TextRequest
from rest_proxy.http.content import EVENT, EVENTS, INTEGER, JSON, STRING, array_of, object_of
from rest_proxy.http.errors import invalid_argument
from rest_proxy.http.requests import option_field, read_json
from rest_proxy.http.responses import json_response
from rest_proxy.http.route import MODEL_ERRORS, Answer, Example, Route
from rest_proxy.http.sse import EventStream
from rest_proxy.routes.generation import deadline, pass_on

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from aiohttp import web
    from predictor.ttypes import (
        ChatCompletion,
        ChatOptions,
        GenerationChunk,
        GenerationOptions,
        RequestOptions,
        ToolCall,
    )

    from rest_proxy.backend.generation import Generator, TextStream
    from rest_proxy.config import Settings

CALL_FIELDS = {"template_arguments": "chat_template_kwargs", "json_schema": "response_format"}
"""The request's names of fields of the contract."""


class ChatRequest(TextRequest):
    """POST /v1/chat/completions."""

    messages: list[Message] = Field(description="The conversation, the oldest message first.")
    logprobs: bool | None = Field(None, description="Whether the logarithm of each token's probability is given.")
    top_logprobs: int | None = Field(
        None, ge=0, le=20, description="The same of so many of the likeliest tokens at its place."
    )
    tools: Tools | None = Field(None, description="Tools that the model may call.")
    tool_choice: Literal["none", "auto", "required"] | dict[str, Any] | None = Field(
        None,
        description="none: the model is not told of the tools. auto: it may call them. required, or one of them as "
        '{"type": "function", "function": {"name": ...}}: it must, and writes JSON by their schema.',
    )
    chat_template_kwargs: dict[str, Any] | None = Field(
        None, description='What the chat template knows besides, such as {"enable_thinking": false}.'
    )
    add_generation_prompt: bool | None = option_field(ADD_GENERATION_PROMPT)
    continue_final_message: bool | None = option_field(CONTINUE_FINAL_MESSAGE)

    @property
    def forced(self) -> ForcedCall | None:
        """Which tool the model must call, where it must. Raises HttpError."""
        if self.tool_choice in (None, "none", "auto"):
            return None
        return ForcedCall(self.tools or [], self.tool_choice)

    def generation_options(self) -> GenerationOptions:
        """The contract's options. Raises HttpError."""
        options = without_prompt(super().generation_options())
        if self.top_logprobs is not None and not self.logprobs:
            raise invalid_argument("only with logprobs: true", field="top_logprobs")
        options.logprobs = (self.top_logprobs or 0) if self.logprobs else None
        if (forced := self.forced) is not None:
            options.json_schema = forced.schema
        return options

    def chat_options(self) -> ChatOptions:
        """The contract's options. Raises HttpError."""
        return chat_options(
            None if self.tool_choice == "none" else self.tools,
            self.chat_template_kwargs,
            self.add_generation_prompt,
            self.continue_final_message,
            parse_tool_calls=None if self.forced is None else False,
        )


def without_prompt(options: GenerationOptions) -> GenerationOptions:
    """Options of a text as those of an answer, whose prompt is the conversation."""
    options.prompt_token_ids = options.prompt_logprobs = None
    return options


class ChatCompletions:
    """The route's answers."""

    def __init__(self, settings: Settings, generator: Generator) -> None:
        self._settings = settings
        self._generator = generator

    async def __call__(self, request: web.BaseRequest, request_id: str) -> web.StreamResponse:
        """An answer, or as many as `n` says."""
        fields = await read_json(ChatRequest, request, self._settings)
        call = ChatCall(fields, fields.options(self._settings, request_id))
        answer = _Answer(fields, request_id)
        with self._generator.places(fields.choices):
            if fields.stream:
                return await self._stream(request, request_id, answer, call)
            done = await all_of(
                self._generator.chat(call.messages, how, call.options, call.chat_options) for how in call.each()
            )
        choices = [answer.choice(index, completion) for index, completion in enumerate(done)]
        return json_response({**answer.head, "choices": choices, "usage": usage(done)}, request_id)

    async def _stream(
        self, request: web.BaseRequest, request_id: str, answer: _Answer, call: ChatCall
    ) -> web.StreamResponse:
        async with contextlib.AsyncExitStack() as stack:
            await stack.enter_async_context(deadline(request, call.options, self._settings))
            texts = [
                await stack.enter_async_context(
                    self._generator.chat_stream(call.messages, how, call.options, call.chat_options)
                )
                for how in call.each()
            ]
            events = EventStream(request, request_id, error_object, error_prefix=b"data: ")
            await stack.enter_async_context(events)
            last = await all_of(answer.send(index, text, events) for index, text in enumerate(texts))
            if answer.with_usage:
                await events.send({**answer.stream_head, "choices": [], "usage": usage(last)})
            await events.send_text("[DONE]")
        return events.response


class ChatCall:
    """The calls that one request becomes."""

    def __init__(self, fields: ChatRequest, options: RequestOptions) -> None:
        self._fields = fields
        self.messages = [message.contract() for message in fields.messages]
        self.options = options
        self.chat_options = fields.chat_options()

    def each(self) -> Iterator[GenerationOptions]:
        """For each answer."""
        return self._fields.each()


def usage(ends: Sequence[ChatCompletion | GenerationChunk]) -> dict[str, int]:
    """Tokens of the conversation and of its answers, of each its whole or its last part."""
    prompt = max(end.prompt_tokens or 0 for end in ends)
    answers = sum(end.token_count for end in ends)
    return {"prompt_tokens": prompt, "completion_tokens": answers, "total_tokens": prompt + answers}


class _Answer:
    """What the parts of one answer have in common."""

    def __init__(self, fields: ChatRequest, request_id: str) -> None:
        self._forced = fields.forced
        self.with_usage = fields.with_usage
        self.head = {
            "id": f"chatcmpl-{request_id}",
            "object": "chat.completion",
            "created": int(time.time()),
            "model": fields.model or "",
        }
        self.stream_head = {**self.head, "object": "chat.completion.chunk"}

    def choice(self, index: int, done: ChatCompletion) -> dict[str, Any]:
        """A whole answer."""
        if self._forced is not None and (call := self._forced.call(done.content)) is not None:
            done.content, done.tool_calls = "", [call]
        message: dict[str, Any] = {"role": "assistant", "content": done.content, "refusal": None}
        if done.tool_calls:
            message |= {
                "content": done.content or None,
                "tool_calls": [plain_call(call) for call in done.tool_calls],
            }
        reason = finish_reason(done.finish_reason, called=bool(done.tool_calls))
        logprobs = chat_logprobs(done.logprobs)
        return {"index": index, "message": message, "logprobs": logprobs, "finish_reason": reason}

    async def send(self, index: int, text: TextStream, events: EventStream) -> GenerationChunk:
        """Pass one answer on: the role, the text, calls of tools, the reason of its end; gives the last part of it."""
        calls: list[ToolCall] = []
        held = ""
        head = {**self.stream_head, "usage": None} if self.with_usage else self.stream_head

        async def tell(
            delta: dict[str, Any], reason: str | None = None, logprobs: dict[str, Any] | None = None
        ) -> None:
            choice = {"index": index, "delta": delta, "logprobs": logprobs, "finish_reason": reason}
            await events.send({**head, "choices": [choice]})

        async def send(chunk: GenerationChunk) -> None:
            nonlocal held
            if self._forced is not None:
                held, chunk.text = held + chunk.text, ""
                if chunk.finish_reason is not None:
                    call = self._forced.call(held)
                    chunk.text, chunk.tool_calls = ("", [call]) if call is not None else (held, [])
            if chunk.text or chunk.logprobs:
                await tell({"content": chunk.text}, logprobs=chat_logprobs(chunk.logprobs))
            for call in chunk.tool_calls or ():
                await tell({"tool_calls": [{"index": len(calls), **plain_call(call)}]})
                calls.append(call)
            if chunk.finish_reason is not None:
                await tell({}, finish_reason(chunk.finish_reason, called=bool(calls)))

        await tell({"role": "assistant", "content": ""})
        return await pass_on(text, events, send)


def finish_reason(reason: int, *, called: bool) -> str:
    """As OpenAI has it."""
    return "tool_calls" if called else FINISH_REASONS.get(reason, "stop")


def routes(settings: Settings, generator: Generator) -> list[Route]:
    """/v1/chat/completions."""
    return [
        Route(
            path="/v1/chat/completions",
            methods=("POST",),
            answer=ChatCompletions(settings, generator),
            name="openaiChat",
            summary="Answer a conversation, as OpenAI does",
            description="By the chat template of the model's folder. `max_tokens` and `max_completion_tokens` are the "
            "same; without them an answer may be as long as there is room for.",
            tag="openai",
            request=ChatRequest,
            example=Example(
                {"model": "chat", "messages": [{"role": "user", "content": "Hello!"}], "max_tokens": 2},
            ),
            answers=(Answer({JSON: _schema(), EVENTS: EVENT}, examples={JSON: _example()}),),
            errors=MODEL_ERRORS,
            error_format=ERRORS,
            call_fields=CALL_FIELDS,
        )
    ]


def _schema() -> dict[str, Any]:
    reason = {"enum": ["length", "stop", "tool_calls", "cancelled"]}
    function = object_of(name=STRING, arguments=STRING)
    message = object_of(role={"const": "assistant"}, content={"type": ["string", "null"]}, refusal={"type": "null"})
    message["properties"]["tool_calls"] = array_of(object_of(id=STRING, type={"const": "function"}, function=function))
    choice = object_of(index=INTEGER, message=message, logprobs={"type": ["object", "null"]}, finish_reason=reason)
    return object_of(
        id=STRING,
        object={"const": "chat.completion"},
        created=INTEGER,
        model=STRING,
        choices=array_of(choice),
        usage=object_of(prompt_tokens=INTEGER, completion_tokens=INTEGER, total_tokens=INTEGER),
    )


def _example() -> dict[str, Any]:
    message = {"role": "assistant", "content": "Good morning", "refusal": None}
    return {
        "id": "chatcmpl-5d1f6a2e-1",
        "object": "chat.completion",
        "created": 1750000000,
        "model": "chat",
        "choices": [{"index": 0, "message": message, "logprobs": None, "finish_reason": "length"}],
        "usage": {"prompt_tokens": 12, "completion_tokens": 2, "total_tokens": 14},
    }
