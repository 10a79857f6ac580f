"""POST /v1/responses: OpenAI's newer form of conversations, for texts and calls of tools, whole or as events.

Nothing is stored: previous_response_id and the like are refused, and a client sends the conversation whole.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

from predictor.ttypes import ChatMessage, FinishReason, ToolCall
from pydantic import AfterValidator, BeforeValidator, ConfigDict, Field, WithJsonSchema
from pydantic_core import PydanticCustomError

from process.options import MAX_TOKENS
from rest_proxy.compat.openai.chat import CALL_FIELDS, without_prompt
from rest_proxy.compat.openai.errors import ERRORS, error_object
from rest_proxy.compat.openai.messages import CONTENT, Message, chat_options, form_of
from rest_proxy.http.content import EVENT, EVENTS, INTEGER, JSON, STRING, array_of, object_of
from rest_proxy.http.requests import Also, model_field, option_field, read_json
from rest_proxy.http.responses import json_response
from rest_proxy.http.route import MODEL_ERRORS, Answer, Example, Route
from rest_proxy.http.sse import EventStream
from rest_proxy.routes.generation import GenerationRequest, deadline, pass_on

if TYPE_CHECKING:
    from aiohttp import web
    from predictor.ttypes import ChatCompletion, ChatOptions, GenerationChunk, GenerationOptions

    from rest_proxy.backend.generation import Generator
    from rest_proxy.config import Settings


_CALL = {
    "type": "object",
    "properties": {
        "type": {"const": "function_call"},
        "name": STRING,
        "arguments": {"type": ["string", "object"]},
        "call_id": STRING,
    },
    "required": ["type", "name"],
}
_OUTPUT = {
    "type": "object",
    "properties": {
        "type": {"const": "function_call_output"},
        "call_id": {"type": ["string", "null"]},
        "output": CONTENT,
    },
    "required": ["type"],
}
_REASONING = {
    **object_of(type={"const": "reasoning"}),
    "description": "What other models thought before; not read.",
}


def _refused(value: Any) -> Any:
    if value is not None:
        raise PydanticCustomError("stored", "nothing is stored here: send the conversation whole, as input")
    return value


Stored = Annotated[None, BeforeValidator(_refused), WithJsonSchema({"type": "null"})]
"""What names something that would be stored here."""


def _text_format(value: dict[str, Any]) -> dict[str, Any]:
    form_of(value.get("format"))
    return value


def _as_message(item: Any, index: int) -> dict[str, Any]:
    """An item of `input` as a message of a chat."""
    if not isinstance(item, dict):
        raise PydanticCustomError("item", "{message}", {"index": index, "message": "expected an object"})
    kind = item.get("type", "message")
    if kind == "message":
        return item
    if kind == "function_call":
        function = {"name": item.get("name"), "arguments": item.get("arguments", "{}")}
        return {"role": "assistant", "tool_calls": [{"id": item.get("call_id", ""), "function": function}]}
    if kind == "function_call_output":
        return {"role": "tool", "tool_call_id": item.get("call_id"), "content": item.get("output")}
    message = f"an item of the type {str(kind)[:64]!r} is not supported"
    raise PydanticCustomError("item", "{message}", {"index": index, "message": message})


def _messages(value: Any) -> Any:
    if isinstance(value, str):
        return [{"role": "user", "content": value}]
    if not isinstance(value, list):
        return value
    return [_as_message(item, index) for index, item in enumerate(value) if not _is_reasoning(item)]


def _is_reasoning(item: Any) -> bool:
    """What other models thought before, which clients send back."""
    return isinstance(item, dict) and item.get("type") == "reasoning"


def _functions(value: Any) -> Any:
    """Tools, whose function's fields stand in the tool itself here."""
    if not isinstance(value, list):
        return value
    found = []
    for index, tool in enumerate(value):
        if not isinstance(tool, dict) or tool.get("type") != "function" or not isinstance(tool.get("name"), str):
            message = 'only tools of the form {"type": "function", "name": ..., "parameters": ...} are supported'
            raise PydanticCustomError("item", "{message}", {"index": index, "message": message})
        found.append(tool)
    return found


class ResponsesRequest(GenerationRequest):
    """POST /v1/responses. Fields that are not known are not read: clients have ever more of them."""

    model_config = ConfigDict(extra="ignore", frozen=True)
    repeated: ClassVar[tuple[str, ...]] = ()

    model: str | None = model_field()
    input: Annotated[
        list[Annotated[Message, Also(_CALL, _OUTPUT, _REASONING)]], BeforeValidator(_messages), Also(STRING)
    ] = Field(description="A text, or messages, calls of tools and their outputs.")
    instructions: str | None = Field(None, description="A system message before the conversation.")
    max_output_tokens: int | None = option_field(MAX_TOKENS)
    stream: bool | None = Field(None, description="Server-sent events.")
    tools: Annotated[list[dict[str, Any]], BeforeValidator(_functions)] | None = Field(
        None, description="Tools that the model may call."
    )
    tool_choice: Literal["none", "auto"] | None = Field(
        None, description="none: the model is not told of the tools. auto: it may call them."
    )
    chat_template_kwargs: dict[str, Any] | None = Field(None, description="What the chat template knows besides.")
    text: Annotated[dict[str, Any], AfterValidator(_text_format)] | None = Field(
        None, description='Its format: {"format": {"type": "text"}}, json_object or json_schema.'
    )
    previous_response_id: Stored = Field(None, description="Not supported.")
    conversation: Stored = Field(None, description="Not supported.")
    user: str | None = Field(None, description="Not used.")

    @property
    def messages(self) -> list[ChatMessage]:
        """The contract's; calls that follow each other are one message's."""
        found: list[ChatMessage] = [] if self.instructions is None else [ChatMessage("system", self.instructions)]
        for message in (given.contract() for given in self.input):
            if found and message.tool_calls and message.content is None and found[-1].role == message.role:
                found[-1].tool_calls = [*(found[-1].tool_calls or ()), *message.tool_calls]
            else:
                found.append(message)
        return found

    def generation_options(self) -> GenerationOptions:
        """The contract's options."""
        options = without_prompt(super().generation_options())
        options.clamp_max_tokens = True
        if self.text is not None:
            options.json_schema = form_of(self.text.get("format"))
        if self.max_output_tokens is not None:
            options.max_tokens = self.max_output_tokens
        return options

    def chat_options(self) -> ChatOptions:
        """The contract's options."""
        tools = None if self.tool_choice == "none" else self.tools
        named = [
            {"type": "function", "function": {name: value for name, value in tool.items() if name != "type"}}
            for tool in tools or ()
        ]
        return chat_options(named or None, self.chat_template_kwargs, None, None)


class Responses:
    """The route's answers."""

    def __init__(self, settings: Settings, generator: Generator) -> None:
        self._settings = settings
        self._generator = generator

    async def __call__(self, request: web.BaseRequest, request_id: str) -> web.StreamResponse:
        """A response, or its events."""
        fields = await read_json(ResponsesRequest, request, self._settings)
        options = fields.options(self._settings, request_id)
        asked = (fields.messages, fields.generation_options(), options, fields.chat_options())
        response = _Response(fields, request_id)
        with self._generator.places():
            if not fields.stream:
                done = await self._generator.chat(*asked)
                return json_response(response.whole(done.content, done.tool_calls, done), request_id)
            async with (
                deadline(request, options, self._settings),
                self._generator.chat_stream(*asked) as text,
                _Events(request, request_id, error_object, error_prefix=b"event: error\ndata: ") as events,
            ):
                await events.tell("response.created", response=response.begun())
                await events.tell("response.in_progress", response=response.begun())
                told = _Told(response, events)
                last = await pass_on(text, events, told.send)
                await told.end()
                whole = response.whole(told.text, told.calls, last)
                await events.tell(f"response.{whole['status']}", response=whole)
            return events.response


class _Events(EventStream):
    """Events that have a type and a number."""

    _count = 0

    async def tell(self, kind: str, **fields: Any) -> None:
        """One event."""
        event = {"type": kind, "sequence_number": self._count, **fields}
        self._count += 1
        await self.send_named(kind, event)


class _Response:
    """What all that is said of one response has in common."""

    def __init__(self, fields: ResponsesRequest, request_id: str) -> None:
        self._id = request_id
        self._head = {
            "id": f"resp_{request_id}",
            "object": "response",
            "created_at": int(time.time()),
            "model": fields.model or "",
            "instructions": fields.instructions,
            "max_output_tokens": fields.max_output_tokens,
            "parallel_tool_calls": True,
            "previous_response_id": None,
            "store": False,
            "temperature": fields.temperature,
            "tool_choice": fields.tool_choice or "auto",
            "tools": fields.tools or [],
            "top_p": fields.top_p,
            "metadata": {},
            "error": None,
        }

    def begun(self) -> dict[str, Any]:
        """Before anything is there of it."""
        return {**self._head, "status": "in_progress", "incomplete_details": None, "output": [], "usage": None}

    def whole(self, text: str, calls: list[ToolCall], end: ChatCompletion | GenerationChunk) -> dict[str, Any]:
        """The end of it."""
        cut = end.finish_reason not in (FinishReason.STOP, FinishReason.END_OF_TEXT)
        output = [self.message(text)] if text or not calls else []
        output += [self.call(index, call) for index, call in enumerate(calls)]
        prompt = end.prompt_tokens or 0
        return {
            **self._head,
            "status": "incomplete" if cut else "completed",
            "incomplete_details": {"reason": "max_output_tokens"} if cut else None,
            "output": output,
            "usage": {
                "input_tokens": prompt,
                "input_tokens_details": {"cached_tokens": 0},
                "output_tokens": end.token_count,
                "output_tokens_details": {"reasoning_tokens": 0},
                "total_tokens": prompt + end.token_count,
            },
        }

    def message(self, text: str | None, status: str = "completed") -> dict[str, Any]:
        """Without a text: as it begins."""
        content = [] if text is None else [part_of(text)]
        head = {"id": f"msg_{self._id}", "type": "message", "role": "assistant"}
        return {**head, "status": status, "content": content}

    def call(self, index: int, call: ToolCall) -> dict[str, Any]:
        """A call of a tool."""
        return {
            "id": f"fc_{self._id}_{index}",
            "type": "function_call",
            "call_id": call.id,
            "name": call.name,
            "arguments": call.arguments,
            "status": "completed",
        }


def part_of(text: str) -> dict[str, Any]:
    """A text as part of a message."""
    return {"type": "output_text", "text": text, "annotations": [], "logprobs": []}


class _Told:
    """A response's output as it grows: a message, then calls of tools, each an item."""

    def __init__(self, response: _Response, events: _Events) -> None:
        self._response = response
        self._events = events
        self._has_begun = False
        self._has_ended = False
        self.text = ""
        self.calls: list[ToolCall] = []

    async def send(self, chunk: GenerationChunk) -> None:
        """What came."""
        if chunk.text and not self._has_ended:
            await self._begin()
            self.text += chunk.text
            await self._of_text("response.output_text.delta", delta=chunk.text, logprobs=[])
        for call in chunk.tool_calls or ():
            await self._call(call)

    async def end(self) -> None:
        """No more comes."""
        if not self.calls:
            await self._begin()
        await self._end_text()

    async def _begin(self) -> None:
        if not self._has_begun:
            self._has_begun = True
            item = self._response.message(None, "in_progress")
            await self._events.tell("response.output_item.added", output_index=0, item=item)
            await self._of_text("response.content_part.added", part=part_of(""))

    async def _end_text(self) -> None:
        if self._has_begun and not self._has_ended:
            self._has_ended = True
            await self._of_text("response.output_text.done", text=self.text, logprobs=[])
            await self._of_text("response.content_part.done", part=part_of(self.text))
            item = self._response.message(self.text)
            await self._events.tell("response.output_item.done", output_index=0, item=item)

    async def _of_text(self, kind: str, **fields: Any) -> None:
        item_id = self._response.message(None)["id"]
        await self._events.tell(kind, item_id=item_id, output_index=0, content_index=0, **fields)

    async def _call(self, call: ToolCall) -> None:
        await self._end_text()
        place = int(self._has_begun) + len(self.calls)
        item = self._response.call(len(self.calls), call)
        self.calls.append(call)
        begun = {**item, "arguments": "", "status": "in_progress"}
        await self._events.tell("response.output_item.added", output_index=place, item=begun)
        where = {"item_id": item["id"], "output_index": place}
        await self._events.tell("response.function_call_arguments.delta", **where, delta=call.arguments)
        await self._events.tell(
            "response.function_call_arguments.done", **where, name=call.name, arguments=call.arguments
        )
        await self._events.tell("response.output_item.done", output_index=place, item=item)


def routes(settings: Settings, generator: Generator) -> list[Route]:
    """/v1/responses."""
    return [
        Route(
            path="/v1/responses",
            methods=("POST",),
            answer=Responses(settings, generator),
            name="openaiResponses",
            summary="Answer a conversation, as OpenAI's Responses API does",
            description="Texts and calls of tools. Nothing is stored: a client sends the conversation whole.",
            tag="openai",
            request=ResponsesRequest,
            example=Example({"model": "chat", "input": "Hello!", "max_output_tokens": 2}),
            answers=(Answer({JSON: _schema(), EVENTS: EVENT}),),
            errors=MODEL_ERRORS,
            error_format=ERRORS,
            call_fields={**CALL_FIELDS, "messages": "input", "json_schema": "text.format"},
        )
    ]


def _schema() -> dict[str, Any]:
    return object_of(
        id=STRING,
        object={"const": "response"},
        created_at=INTEGER,
        model=STRING,
        status={"enum": ["completed", "incomplete"]},
        output=array_of({"type": "object"}),
        usage=object_of(input_tokens=INTEGER, output_tokens=INTEGER, total_tokens=INTEGER),
    )
