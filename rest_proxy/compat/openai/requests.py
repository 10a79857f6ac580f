"""What requests to OpenAI's routes may say (https://platform.openai.com/docs/api-reference), as far as it is answered.

OpenAI's fields that are not supported may be there with the value that means nothing; ours, as `top_k` and
`timeout_ms`, are taken beside OpenAI's.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field
from pydantic_core import PydanticCustomError

from process.options import MAX_TOKENS
from rest_proxy.http.requests import Texts, TextsOrIds, model_field, option_field
from rest_proxy.routes.embeddings import VectorRequest
from rest_proxy.routes.generation import GenerationRequest

if TYPE_CHECKING:
    from predictor.ttypes import GenerationOptions

_DEFAULT_MAX_TOKENS = 16


def _no_tokens(value: Any) -> Any:
    if isinstance(value, list) and value and isinstance(value[0], int | list):
        raise PydanticCustomError("tokens", "lists of tokens are not supported; give text")
    if value == []:
        raise PydanticCustomError("empty", "the list is empty")
    return value


def _only(*supported: Any) -> BeforeValidator:
    def check(value: Any) -> Any:
        if value is not None and value not in supported:
            nothing_else = f"only {supported[0]!r} is supported" if supported else "this field is not supported"
            raise PydanticCustomError("unsupported", nothing_else)
        return value

    return BeforeValidator(check)


Prompts = Annotated[Texts, BeforeValidator(_no_tokens)]
_One = Annotated[int | None, _only(1)]


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

    model_config = ConfigDict(extra="forbid", frozen=True)

    include_usage: bool | None = Field(None, description="A last event with the usage.")
    include_obfuscation: Annotated[bool | None, _only(False)] = Field(None, description="Not supported.")


class CompletionsRequest(GenerationRequest):
    """POST /v1/completions."""

    repeated: ClassVar[tuple[str, ...]] = ()

    model: str = model_field(...)
    prompt: Prompts = Field(description="A text to continue, or a list of texts.")
    max_tokens: int | None = option_field(MAX_TOKENS, default=_DEFAULT_MAX_TOKENS)
    stream: bool | None = Field(None, description="Server-sent events, the last one [DONE].")
    stream_options: StreamOptions | None = Field(None, description="For streams.")
    echo: bool | None = Field(None, description="Whether the prompt is put before the text.")
    user: str | None = Field(None, description="Not used.")
    n: _One = Field(None, description="1.")
    best_of: _One = Field(None, description="1.")
    logprobs: Annotated[int | None, _only()] = Field(None, description="Not supported.")
    suffix: Annotated[str | None, _only("")] = Field(None, description="Not supported.")

    def generation_options(self) -> GenerationOptions:
        """The contract's options, with OpenAI's default where the request says nothing, or null."""
        options = super().generation_options()
        if options.max_tokens is None:
            options.max_tokens = _DEFAULT_MAX_TOKENS
        return options
