"""What requests of text-embeddings-inference say; ours, as `model` and `timeout_ms`, are taken beside its own.

Its `/rerank` has the fields of our own, see routes/ranking.py.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Literal

from predictor.ttypes import ClassifyOptions, EmbedOptions, SparseOptions, TokenizeOptions
from pydantic import Field, PlainValidator, WithJsonSchema
from pydantic_core import PydanticCustomError

from process.options import DIMENSIONS, NORMALIZE, PROMPT_NAME, RAW_SCORES, SPECIAL_TOKENS, TRUNCATE
from rest_proxy.http.content import STRING, array_of
from rest_proxy.http.requests import ModelRequest, Texts, TextsOrIds, option_field
from rest_proxy.routes.embeddings import SIDES
from rest_proxy.routes.texts import options_of

if TYPE_CHECKING:
    from collections.abc import Sequence

_PAIR = (
    "a list of strings is a text and its pair, which is not served here: give [[text], [text]] for several texts; "
    "/rerank scores pairs"
)


def _lists_of_one(value: Any) -> Any:
    """What /predict takes: a text, a list of it, or a list of such lists; as a text or a list of texts."""
    if isinstance(value, str):
        return value
    if not isinstance(value, list) or not value:
        raise PydanticCustomError("inputs", "expected a string, or a list of lists of one string")
    if isinstance(value[0], str):
        if len(value) > 1:
            raise PydanticCustomError("pair", "{message}", {"message": _PAIR})
        return value[0]
    for index, item in enumerate(value):
        if not isinstance(item, list) or not item or not all(isinstance(text, str) for text in item):
            raise PydanticCustomError("item", "{message}", {"index": index, "message": "expected a list of one string"})
        if len(item) > 1:
            raise PydanticCustomError("item", "{message}", {"index": index, "message": _PAIR})
    return [text for (text,) in value]


ListsOfOne = Annotated[
    str | list[str],
    PlainValidator(_lists_of_one),
    WithJsonSchema({"anyOf": [STRING, {**array_of(STRING), "maxItems": 1}, array_of(array_of(STRING))]}),
]


class _Request(ModelRequest):
    truncate: bool | None = option_field(TRUNCATE)


class _Cut(_Request):
    truncation_direction: Literal["Left", "Right", "left", "right"] | None = Field(
        None, description="Which end of a text that is too long is cut."
    )
    prompt_name: str | None = option_field(PROMPT_NAME)

    @property
    def side(self) -> int | None:
        """The contract's TruncationSide."""
        return None if self.truncation_direction is None else SIDES[self.truncation_direction.lower()]


class EmbedRequest(_Cut):
    """Texts to embed, as text-embeddings-inference has them."""

    inputs: TextsOrIds = Field(description="A text, or texts; or ids of the model's tokens, special ones included.")
    normalize: bool | None = option_field(NORMALIZE, default=True)
    dimensions: int | None = option_field(DIMENSIONS)

    def method_options(self) -> EmbedOptions:
        """The contract's options; vectors have length 1 unless the request says otherwise."""
        return EmbedOptions(
            truncate=self.truncate,
            truncation_side=self.side,
            dimensions=self.dimensions,
            normalize=self.normalize is not False,
            prompt_name=self.prompt_name,
        )


class SparseRequest(_Cut):
    """Texts to embed as sparse vectors, as text-embeddings-inference has them."""

    inputs: Texts = Field(description="A text, or texts.")

    def method_options(self) -> Any:
        """The contract's options, None when the request gives none."""
        options = {"truncate": self.truncate, "truncation_side": self.side, "prompt_name": self.prompt_name}
        return options_of(SparseOptions, **options)


class EmbedAllRequest(SparseRequest):
    """Texts whose tokens are to be embedded, as text-embeddings-inference has them."""

    def method_options(self) -> Any:
        """The contract's options, None when the request gives none."""
        options = {"truncate": self.truncate, "truncation_side": self.side, "prompt_name": self.prompt_name}
        return options_of(EmbedOptions, **options)


class PredictRequest(_Request):
    """Texts to classify, as text-embeddings-inference has them."""

    inputs: ListsOfOne = Field(description="A text; or several, each in a list of its own.")
    raw_scores: bool | None = option_field(RAW_SCORES)
    truncation_direction: Literal["Right", "right"] | None = Field(
        None, description="The end that the model's tokenizer names is cut."
    )

    def method_options(self) -> Any:
        """The contract's options, None when the request gives none."""
        return options_of(ClassifyOptions, truncate=self.truncate, raw_scores=self.raw_scores)


class TokenizeRequest(ModelRequest):
    """Texts to split into tokens, as text-embeddings-inference has them."""

    inputs: Texts = Field(description="A text, or texts.")
    add_special_tokens: bool | None = option_field(SPECIAL_TOKENS)

    def method_options(self) -> Any:
        """The contract's options, None when the request gives none."""
        return options_of(TokenizeOptions, special_tokens=self.add_special_tokens)


def texts_of(inputs: str | Sequence[str]) -> list[str]:
    """The texts, also of one."""
    return [inputs] if isinstance(inputs, str) else list(inputs)
