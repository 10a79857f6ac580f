"""What requests to OpenAI's routes may say (https://platform.openai.com/docs/api-reference), as far as it is answered.

OpenAI's fields that are not supported may be there with the value that means nothing; ours, as `top_k` and
`timeout_ms`, are taken beside OpenAI's.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationInfo, field_validator
from pydantic_core import PydanticCustomError

from process.options import MAX_TOKENS, STOP
from rest_proxy.compat.openai.messages import ResponseFormat
from rest_proxy.http.content import STRING
from rest_proxy.http.requests import Also, TextsOrIds, model_field, option_field
from rest_proxy.routes.embeddings import VectorRequest
from rest_proxy.routes.generation import GenerationRequest, JsonText, in_list

if TYPE_CHECKING:
    from collections.abc import Iterator

    from predictor.ttypes import GenerationOptions

_DEFAULT_MAX_TOKENS = 16
_FORM_FIELDS = {
    "json_schema": ("guided_json", "response_format"),
    "regex": ("guided_regex",),
    "grammar": ("guided_grammar",),
}
MOST_CHOICES = 128


def _only(*supported: Any) -> BeforeValidator:
    def check(value: Any) -> Any:
        if value is not None and value not in supported:
            nothing_else = f"only {supported[0]!r} is supported" if supported else "this field is not supported"
            raise PydanticCustomError("unsupported", nothing_else)
        return value

    return BeforeValidator(check)


def _without_empty(value: Any) -> Any:
    """Clients send an empty stop string for none."""
    if value == "":
        return None
    if isinstance(value, list) and len(value) <= (STOP.maximum or 0):  # a longer one is refused as it is
        return [item for item in value if item != ""]
    return value


class EmbeddingsRequest(VectorRequest):
    """POST /v1/embeddings. Fields that are not known here are not read, as OpenAI's service has ever more of them."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    model: str = model_field(...)
    input: TextsOrIds = Field(
        description="A text, or a list of texts; or ids of the model's tokens, special ones included, of a text or of "
        "a list of texts."
    )
    encoding_format: Literal["float", "base64"] | None = Field(
        None, description="base64: the numbers as little-endian bytes."
    )
    user: str | None = Field(None, description="Not used.")


class StreamOptions(BaseModel):
    """What a stream has beside the text."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    include_usage: bool | None = Field(None, description="A last event with the usage.")


def _first_given(*values: str | None) -> str | None:
    return next((value for value in values if value is not None), None)


class TextRequest(GenerationRequest):
    """What requests for completions and for conversations have in common. Fields that are not known are not read."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    repeated: ClassVar[tuple[str, ...]] = ()

    model: str | None = model_field()
    stop: Annotated[list[str] | None, BeforeValidator(in_list), BeforeValidator(_without_empty), Also(STRING)] = (
        option_field(STOP)
    )
    max_completion_tokens: int | None = option_field(MAX_TOKENS)
    n: int | None = Field(None, ge=1, le=MOST_CHOICES, description="Number of texts, of each prompt.")
    stream: bool | None = Field(None, description="Server-sent events, the last one [DONE].")
    stream_options: StreamOptions | None = Field(None, description="For streams.")
    user: str | None = Field(None, description="Not used.")
    response_format: ResponseFormat = Field(
        None, description="text, json_object, or json_schema with a schema that the text is JSON of."
    )
    guided_json: JsonText | None = Field(None, description="The same as json_schema.")
    guided_regex: str | None = Field(None, description="The same as regex.")
    guided_grammar: str | None = Field(None, description="The same as grammar.")

    @property
    def choices(self) -> int:
        """How many texts are asked for, of each prompt."""
        return self.n or 1

    @property
    def form_fields(self) -> dict[str, str]:
        """The contract's options of the text's form -> the request's fields that say it in another way."""
        return {
            option: name
            for option, names in _FORM_FIELDS.items()
            for name in reversed(names)
            if getattr(self, option) is None and getattr(self, name) is not None
        }

    @property
    def with_usage(self) -> bool:
        """Whether a stream ends with the usage."""
        return self.stream_options is not None and bool(self.stream_options.include_usage)

    def generation_options(self) -> GenerationOptions:
        """The contract's options. OpenAI's limits of tokens mean: at most so many, and as many as there is room for."""
        options = super().generation_options()
        if self.max_completion_tokens is not None:
            options.max_tokens = self.max_completion_tokens
        options.clamp_max_tokens = True
        options.json_schema = _first_given(options.json_schema, self.guided_json, self.response_format)
        options.regex = _first_given(options.regex, self.guided_regex)
        options.grammar = _first_given(options.grammar, self.guided_grammar)
        return options

    def each(self) -> Iterator[GenerationOptions]:
        """The options of each text of a prompt: with a seed, each has its own."""
        for index in range(self.choices):
            options = self.generation_options()
            if options.seed is not None:
                options.seed = (options.seed + index + (1 << 63)) % (1 << 64) - (1 << 63)
            yield options


class CompletionsRequest(TextRequest):
    """POST /v1/completions."""

    prompt: TextsOrIds = Field(
        description="A text to continue, or a list of texts; or ids of the model's tokens, special ones included, of a "
        "text or of a list of texts."
    )
    max_tokens: int | None = option_field(MAX_TOKENS, default=_DEFAULT_MAX_TOKENS)
    echo: bool | None = Field(None, description="Whether the prompt is put before the text, and before its logprobs.")
    best_of: int | None = Field(None, ge=1, description="The same as n.")
    suffix: Annotated[str | None, _only("")] = Field(None, description="Not supported.")

    @property
    def prompts(self) -> list[str] | list[list[int]]:
        """Texts, or the ids of each."""
        return [self.prompt] if isinstance(self.prompt, str) else self.prompt

    @field_validator("best_of")
    @classmethod
    def _all_are_given(cls, best_of: int | None, info: ValidationInfo) -> int | None:
        if best_of is not None and best_of != (info.data.get("n") or 1):
            raise PydanticCustomError("best_of", "must be the same as n: every text that is generated is given")
        return best_of

    def generation_options(self) -> GenerationOptions:
        """The contract's options, with OpenAI's default where the request says nothing, or null."""
        options = super().generation_options()
        if options.max_tokens is None:
            options.max_tokens = _DEFAULT_MAX_TOKENS
        if self.echo:
            options.prompt_logprobs = self.logprobs
        return options
