"""Conversations, and what transformers answers: apply_chat_template, then greedy generate."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from tests.support.folders import reference

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

NEW_TOKENS = 24
CLOSE = 1e-4  # logits of the two likeliest tokens that float32 does not tell apart

Messages = list[dict[str, Any]]

TOOLS: list[dict[str, Any]] = [
    {
        "type": "function",
        "function": {
            "name": "get_weather",
            "description": "The weather at a place, e.g. Zürich",
            "parameters": {"type": "object", "properties": {"place": {"type": "string"}}, "required": ["place"]},
        },
    }
]
CALL = {"id": "abcdef123", "type": "function", "function": {"name": "get_weather", "arguments": {"place": "Köln"}}}

CONVERSATIONS: dict[str, Messages] = {
    "one message": [{"role": "user", "content": "when does the boat leave the harbour?"}],
    "a system message": [
        {"role": "system", "content": "You speak as a pilot does."},
        {"role": "user", "content": "  will it rain in Zürich? 🙂 \n"},
    ],
    "several turns": [
        {"role": "user", "content": "set an alarm"},
        {"role": "assistant", "content": "at what time? "},
        {"role": "user", "content": 'at seven <b>sharp</b> & "not" later'},
        {"role": "assistant", "content": "it is set"},
        {"role": "user", "content": "thank you"},
    ],
}
WITH_TOOLS: dict[str, Messages] = {
    "a tool may be called": [{"role": "user", "content": "will it rain in Köln?"}],
    "a tool was called": [
        {"role": "user", "content": "will it rain in Köln?"},
        {"role": "assistant", "tool_calls": [CALL]},
        {"role": "tool", "content": '{"rain": true}', "name": "get_weather", "tool_call_id": "abcdef123"},
    ],
}


class Right(NamedTuple):
    """What transformers answers."""

    prompt: str
    tokens: list[int]
    """Of the prompt."""
    text: str
    """What follows it; one that float32 does not decide ends before that."""


class Library:
    """A folder in transformers."""

    def __init__(self, folder: Path) -> None:
        import torch
        from transformers import AutoModelForCausalLM, AutoTokenizer

        with reference.quiet():
            self.tokenizer = AutoTokenizer.from_pretrained(folder)
            self._model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()

    def prompt(self, messages: Messages, tools: Any = None, **options: Any) -> tuple[str, list[int]]:
        """Text and tokens."""
        given: dict[str, Any] = {"add_generation_prompt": not options.get("continue_final_message")} | options
        text = self.tokenizer.apply_chat_template(messages, tools=tools, tokenize=False, **given)
        tokens = self.tokenizer.apply_chat_template(messages, tools=tools, tokenize=True, return_dict=False, **given)
        return text, list(tokens)

    def answer(self, messages: Messages, tools: Any = None, **options: Any) -> Right:
        """The likeliest tokens, as text."""
        import torch

        prompt, tokens = self.prompt(messages, tools, **options)
        with reference.quiet(), torch.inference_mode():
            done = self._model.generate(
                torch.tensor([tokens]),
                attention_mask=torch.ones(1, len(tokens), dtype=torch.int64),
                do_sample=False,
                max_new_tokens=NEW_TOKENS,
                output_logits=True,
                return_dict_in_generate=True,
            )
        best = torch.cat(done.logits).topk(2).values
        sure = _sure((best[:, 0] - best[:, 1]).tolist())
        before = self.tokenizer.decode(tokens, skip_special_tokens=True)
        generated = done.sequences[0, len(tokens) :].tolist()[:sure]
        text = self.tokenizer.decode(tokens + generated, skip_special_tokens=True)
        return Right(prompt, tokens, text.removeprefix(before))


def _sure(margins: Sequence[float]) -> int:
    """How many tokens float32 decides."""
    return next((place for place, margin in enumerate(margins) if margin < CLOSE), len(margins))
