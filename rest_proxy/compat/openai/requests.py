"""What requests to OpenAI's routes may say (https://platform.openai.com/docs/api-reference), as far as it is answered.

Fields of OpenAI's that are not answered may be there with the value that means nothing; ours, as `top_k` and
`timeout_ms`, are taken beside OpenAI's.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field
from pydantic_core import PydanticCustomError

from rest_proxy.http.requests import Asked, Texts
from rest_proxy.routes.generation import GenerationAsked

if TYPE_CHECKING:
    from predictor.ttypes import GenerationOptions

_DEFAULT_MAX_TOKENS = 16


def _no_tokens(value: Any) -> Any:
    if isinstance(value, list) and value and isinstance(value[0], int | list):
        raise PydanticCustomError("tokens", "lists of tokens are not answered; give text")
    if value == []:
        raise PydanticCustomError("empty", "the list is empty")
    return value


def _only(*answered: Any) -> BeforeValidator:
    def check(value: Any) -> Any:
        if value is not None and value not in answered:
            nothing_else = f"only {answered[0]!r} is answered" if answered else "this is not answered"
            raise PydanticCustomError("unsupported", nothing_else)
        return value

    return BeforeValidator(check)


Prompts = Annotated[Texts, BeforeValidator(_no_tokens)]
_One = Annotated[int | None, _only(1)]
_Zero = Annotated[float | None, _only(0)]


class EmbeddingsRequest(Asked):
    """POST /v1/embeddings."""

    model: str = Field(max_length=256, description="A model's name; /v1/models lists them.")
    input: Prompts = Field(description="A text, or a list of texts.")
    encoding_format: Literal["float", "base64"] | None = Field(
        None, description="base64: the numbers as little-endian float32."
    )
    dimensions: int | None = Field(None, description="Numbers in a vector; refused when the model has others.")
    user: str | None = Field(None, description="Not used.")
    truncate: bool | None = Field(None, description="Ours: whether a text that is too long is cut (the default).")


class StreamOptions(BaseModel):
    """What a stream has beside the text."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    include_usage: bool | None = Field(None, description="A last event with the usage.")
    include_obfuscation: Annotated[bool | None, _only(False)] = Field(None, description="Not answered.")


class CompletionsRequest(GenerationAsked):
    """POST /v1/completions."""

    repeated: ClassVar[str | None] = None

    model: str = Field(max_length=256, description="A model's name; /v1/models lists them.")
    prompt: Prompts = Field(description="A text to go on from, or a list of texts.")
    max_tokens: int | None = Field(
        None, ge=1, le=2**31 - 1, description=f"New tokens at most; {_DEFAULT_MAX_TOKENS} if not given."
    )
    stream: bool | None = Field(None, description="Server-sent events, the last one [DONE].")
    stream_options: StreamOptions | None = Field(None, description="For streams.")
    echo: bool | None = Field(None, description="Whether the prompt is put before the text.")
    user: str | None = Field(None, description="Not used.")
    n: _One = Field(None, description="1.")
    best_of: _One = Field(None, description="1.")
    logprobs: Annotated[int | None, _only()] = Field(None, description="Not answered.")
    suffix: Annotated[str | None, _only("")] = Field(None, description="Not answered.")
    presence_penalty: _Zero = Field(None, description="0.")
    frequency_penalty: _Zero = Field(None, description="0.")
    logit_bias: Annotated[dict[str, float] | None, _only({})] = Field(None, description="Not answered.")

    def generation_options(self) -> GenerationOptions:
        """The contract's options, with OpenAI's default where the request says nothing, or null."""
        options = super().generation_options()
        if options.max_tokens is None:
            options.max_tokens = _DEFAULT_MAX_TOKENS
        return options
