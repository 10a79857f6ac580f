"""A model's chats: its templates, the process that renders them, and the form in which it calls tools."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from predictor.ttypes import ToolCall

from server.errors import too_large
from server.models.chat import conversation as conversations
from server.models.chat import prompt, tool_calls
from server.models.chat.renderer import Limits, Renderer
from server.models.requests import ChatAnswer

if TYPE_CHECKING:
    from collections.abc import Callable

    from server.config import Settings
    from server.models.chat.conversation import Conversation
    from server.models.chat.templates import ChatTemplates
    from server.models.requests import Generated, Scores

    Listener = Callable[[str, int, Scores, list[ToolCall]], object]


class ReadyPrompt(NamedTuple):
    """A conversation as the model reads it."""

    text: str
    tokens: list[int]
    form: str | None
    """Of the calls of tools that are to be taken out of the answer; None: none are."""


class Chat:
    """Belongs to the event loop that runs when it is made."""

    def __init__(self, templates: ChatTemplates, settings: Settings) -> None:
        self._templates = templates
        self._most_bytes = settings.max_message_bytes
        limits = Limits(
            settings.chat_template_ms, settings.chat_template_bytes, settings.max_message_bytes, settings.queue_items
        )
        self._renderer = Renderer(templates.sources, limits)

    @property
    def details(self) -> dict[str, str]:
        """For ModelInfo.details."""
        names = sorted(self._templates.sources)
        form = tool_calls.form_of(self._templates.sources[self._templates.chosen(with_tools=True)])
        return {"chat_templates": ", ".join(names), "tool_calls": form or "of an unknown form"}

    def form_of(self, conversation: Conversation) -> str | None:
        """How the answer calls tools, where they are to be taken out of it."""
        if not conversation.tools or not conversation.parse_tool_calls:
            return None
        return tool_calls.form_of(self._templates.sources[self._templates.chosen(with_tools=True)])

    async def text_of(self, conversation: Conversation, deadline_ns: int) -> str:
        """The conversation as the template writes it. Raises PredictionError."""
        size = conversations.size_of(conversation)
        if size > self._most_bytes:
            message = f"{size} bytes, over the limit of {self._most_bytes}"
            raise too_large(message, field="messages", setting="max_message_bytes")
        name = self._templates.chosen(bool(conversation.tools))
        variables = prompt.variables_of(conversation, self._templates.sources[name], self._templates.special_tokens)
        return prompt.finished(await self._renderer.render(name, variables, deadline_ns), conversation)

    async def close(self) -> None:
        """End the process of the templates."""
        await self._renderer.close()


class Answer:
    """What a model says, with the calls of tools taken out of it as it grows."""

    def __init__(self, form: str | None, on_part: Listener | None) -> None:
        self._parser = None if form is None else tool_calls.parser_of(form)
        self._on_part = on_part

    def hand_on(self, text: str, tokens: int, scores: Scores) -> None:
        """To the listener: the next part of the text."""
        assert self._on_part is not None
        shown, calls = (text, []) if self._parser is None else self._parser.feed(text)
        self._on_part(shown, tokens, scores, calls)

    def end(self, done: Generated) -> ChatAnswer:
        """What the listener was not given; the whole answer, where there is none."""
        text, calls = done.text, list[ToolCall]()
        if self._parser is not None:
            shown, calls = self._parser.feed(done.text)
            rest, further = self._parser.end()
            text, calls = shown + rest, calls + further
        return ChatAnswer(text, calls, done.token_count, done.finish_reason, done.prompt_tokens, done.scores)
