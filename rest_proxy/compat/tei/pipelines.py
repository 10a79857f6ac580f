"""Tasks as huggingface_hub's InferenceClient asks for them: `inputs`, and the task's options in `parameters`.

Its clients know one address: POST / finds the task in the request, or in the models that there are.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Literal, NamedTuple

from predictor.ttypes import (
    Aggregation,
    ClassifyOptions,
    EmbedOptions,
    ErrorCode,
    GenerationOptions,
    ModelState,
    PredictionError,
    TokenOptions,
)
from pydantic import AfterValidator, Field, WithJsonSchema
from pydantic_core import PydanticCustomError, from_json

from process import options as table
from process.options import (
    CANDIDATE_LABELS,
    HYPOTHESIS_TEMPLATE,
    IGNORE_LABELS,
    MULTI_LABEL,
    PROMPT_NAME,
    TOP_LABELS,
    TRUNCATE,
)
from rest_proxy.backend.contract import CLASSIFY, CLASSIFY_TOKENS_BATCH, LIST_MODELS
from rest_proxy.compat.openai.completions import all_of
from rest_proxy.http.bodies.reading import read_body
from rest_proxy.http.errors import HttpError, invalid_argument, refusal
from rest_proxy.http.requests import ModelRequest, Strict, check_count, option_field, read_json
from rest_proxy.http.responses import json_response, numbers_response
from rest_proxy.routes.embeddings import SIDES, embed

if TYPE_CHECKING:
    from collections.abc import Sequence

    from aiohttp import web
    from predictor.ttypes import Entity, ModelInfo, RequestOptions

    from rest_proxy.backend.contract import Method
    from rest_proxy.backend.generation import Generator
    from rest_proxy.backend.pool import Pool
    from rest_proxy.config import Settings

_AGGREGATIONS = {name.lower(): value for name, value in Aggregation._NAMES_TO_VALUES.items()}


class _Pipeline(ModelRequest):
    of_the_service: dict[str, Any] | None = Field(
        None, validation_alias="options", description="Not used: of Hugging Face's own service."
    )


class Sentences(Strict):
    """What is compared."""

    source_sentence: str
    sentences: list[str]


class SimilarityParameters(Strict):
    """How the sentences are read."""

    truncate: bool | None = option_field(TRUNCATE)
    truncation_direction: Literal["Left", "Right", "left", "right"] | None = None
    prompt_name: str | None = option_field(PROMPT_NAME)

    def embed_options(self) -> EmbedOptions:
        """The contract's options: of vectors of length 1 the product is the cosine."""
        side = None if self.truncation_direction is None else SIDES[self.truncation_direction.lower()]
        return EmbedOptions(truncate=self.truncate, truncation_side=side, prompt_name=self.prompt_name, normalize=True)


class SimilarityRequest(_Pipeline):
    """How alike sentences are to one."""

    inputs: Sentences
    parameters: SimilarityParameters = SimilarityParameters()


class LabelParameters(Strict):
    """Of text classification, by the model's labels or by one's own."""

    top_k: int | None = option_field(TOP_LABELS)
    function_to_apply: Literal["sigmoid", "softmax", "none"] | None = Field(None, description="Default: the model's.")
    candidate_labels: list[str] | None = option_field(CANDIDATE_LABELS)
    multi_label: bool | None = option_field(MULTI_LABEL)
    hypothesis_template: str | None = option_field(HYPOTHESIS_TEMPLATE)

    def classify_options(self) -> ClassifyOptions:
        """The contract's options."""
        functions: dict[str | None, bool] = {"sigmoid": True, "softmax": False}
        return ClassifyOptions(
            top_k=self.top_k,
            raw_scores=True if self.function_to_apply == "none" else None,
            multi_label=functions.get(self.function_to_apply, self.multi_label),
            candidate_labels=self.candidate_labels,
            hypothesis_template=self.hypothesis_template,
        )


class LabelsRequest(_Pipeline):
    """Text classification, also with labels of one's own (zero-shot)."""

    inputs: str | list[str]
    parameters: LabelParameters


class TokenParameters(Strict):
    """Of token classification."""

    aggregation_strategy: Literal["none", "simple", "first", "average", "max"] | None = Field(
        None, description="Default: simple."
    )
    ignore_labels: list[str] | None = option_field(IGNORE_LABELS)
    stride: int | None = Field(None, description="Not served: texts are read whole.")


class TokensRequest(_Pipeline):
    """Token classification."""

    inputs: str | list[str]
    parameters: TokenParameters = TokenParameters()


class TextParameters(Strict):
    """Of text generation, as text-generation-inference has them."""

    max_new_tokens: int | None = option_field(table.MAX_TOKENS)
    do_sample: bool | None = Field(None, description="false: the likeliest token each time.")
    temperature: float | None = option_field(table.TEMPERATURE)
    top_k: int | None = option_field(table.TOP_K)
    top_p: float | None = option_field(table.TOP_P)
    repetition_penalty: float | None = option_field(table.REPETITION_PENALTY)
    frequency_penalty: float | None = option_field(table.FREQUENCY_PENALTY)
    seed: int | None = option_field(table.SEED, largest=(1 << 63) - 1)
    stop: list[str] | None = option_field(table.STOP)
    return_full_text: bool | None = Field(None, description="Whether the prompt stands before the text.")

    def generation_options(self) -> GenerationOptions:
        """The contract's options."""
        return GenerationOptions(
            max_tokens=self.max_new_tokens,
            temperature=0.0 if self.do_sample is False else self.temperature,
            top_k=self.top_k,
            top_p=self.top_p,
            repetition_penalty=self.repetition_penalty,
            frequency_penalty=self.frequency_penalty,
            seed=self.seed,
            stop=self.stop,
        )


def _no_stream(value: bool) -> bool:
    if value:
        raise PydanticCustomError("stream", "only false is supported")
    return value


class TextRequest(_Pipeline):
    """Text generation."""

    inputs: str
    parameters: TextParameters = TextParameters()
    stream: Annotated[bool, AfterValidator(_no_stream), WithJsonSchema({"const": False})] | None = Field(
        None, description="Streams are OpenAI's and our own: /v1/completions, /generate."
    )

    def default_timeout_ms(self, settings: Settings, items: int) -> int:
        """Texts take longer than other answers."""
        return settings.generation_timeout_ms


class Pipelines:
    """The tasks' answers."""

    def __init__(self, settings: Settings, pool: Pool, generator: Generator) -> None:
        self._settings = settings
        self._pool = pool
        self._generator = generator

    async def similarity(self, request: web.BaseRequest, request_id: str) -> web.Response:
        """The cosine of each sentence and the first."""
        fields = await read_json(SimilarityRequest, request, self._settings)
        one, many = fields.inputs.source_sentence, fields.inputs.sentences
        options = fields.options(self._settings, request_id, 1 + len(many))
        wanted = fields.parameters.embed_options()
        if not many:
            raise invalid_argument("the list is empty", field="inputs.sentences")
        first, others = await all_of(
            embed(self._settings, self._pool, f"inputs.{field}", given, options, wanted)
            for field, given in (("source_sentence", one), ("sentences", many))
        )
        return numbers_response(others.vectors @ first.vectors[0], request_id)

    async def labels(self, request: web.BaseRequest, request_id: str) -> web.Response:
        """[[{"label", "score"}]], a list for each text; with labels of one's own and one text, that list alone."""
        fields = await read_json(LabelsRequest, request, self._settings)
        wanted = fields.parameters.classify_options()
        texts = _listed(fields.inputs)
        options = fields.options(self._settings, request_id, len(texts) * len(wanted.candidate_labels or ("",)))
        if wanted.candidate_labels is not None and fields.model is None:
            options.model = await self._entailing()
        found = await self._each(CLASSIFY, fields.inputs, options, wanted)
        answers = [[{"label": one.label, "score": one.score} for one in labels] for labels in found]
        alone = wanted.candidate_labels is not None and isinstance(fields.inputs, str)
        return json_response(answers[0] if alone else answers, request_id)

    async def tokens(self, request: web.BaseRequest, request_id: str) -> web.Response:
        """[{"entity_group", "score", "word", "start", "end"}], of several texts a list for each."""
        fields = await read_json(TokensRequest, request, self._settings)
        if fields.parameters.stride is not None:
            raise invalid_argument("texts are read whole, without a stride", field="parameters.stride")
        strategy = fields.parameters.aggregation_strategy
        wanted = TokenOptions(
            aggregation=None if strategy is None else _AGGREGATIONS[strategy],
            ignore_labels=fields.parameters.ignore_labels,
        )
        options = fields.options(self._settings, request_id, len(_listed(fields.inputs)))
        found = await self._each(CLASSIFY_TOKENS_BATCH, fields.inputs, options, wanted)
        answers = [[_entity(entity) for entity in entities] for entities in found]
        return json_response(answers[0] if isinstance(fields.inputs, str) else answers, request_id)

    async def text(self, request: web.BaseRequest, request_id: str) -> web.Response:
        """[{"generated_text": how the prompt continues}]."""
        fields = await read_json(TextRequest, request, self._settings)
        options = fields.options(self._settings, request_id)
        try:
            with self._generator.places():
                done = await self._generator.whole(fields.inputs, fields.parameters.generation_options(), options)
        except PredictionError as error:
            raise refusal(error, {"prompt": "inputs", "max_tokens": "parameters.max_new_tokens"}) from None
        before = fields.inputs if fields.parameters.return_full_text else ""
        return json_response([{"generated_text": before + done.continuation}], request_id)

    async def _entailing(self) -> str | None:
        """The first model that takes labels of one's own; None where there is none: the default one says so."""
        infos: list[ModelInfo] = await self._pool.call(LIST_MODELS, timeout_ms=self._settings.timeout_ms)
        ready = (info for info in infos if info.state == ModelState.READY)
        return next(
            (info.name for info in ready if "candidate_labels" in (info.details or {}).get("options", "")), None
        )

    async def _each(self, method: Method, inputs: str | list[str], options: RequestOptions, wanted: Any) -> Any:
        texts = _listed(inputs)
        check_count("inputs", texts, self._settings)
        names = {"texts[0]": "inputs"} if isinstance(inputs, str) else {"texts": "inputs"}
        try:
            return await self._pool.call(method, texts, options, wanted, timeout_ms=options.timeout_ms)
        except PredictionError as error:
            raise refusal(error, names) from None


def _entity(entity: Entity) -> dict[str, Any]:
    """As transformers' pipeline has it; `index` is set where tokens are not put together."""
    place = {"word": entity.text, "start": entity.start, "end": entity.stop, "score": entity.score}
    if entity.index is None:
        return {"entity_group": entity.label, **place}
    return {"entity": entity.label, "index": entity.index, **place}


def _listed(inputs: str | list[str]) -> list[str]:
    return [inputs] if isinstance(inputs, str) else inputs


class Task(NamedTuple):
    """One of the tasks of POST /."""

    serves: str
    """The contract's method that a model for it serves."""
    parameters: frozenset[str]
    """Those that only this task has."""


TASKS = {
    "embed": Task("embed_matrix", frozenset()),
    "tokens": Task("classify_tokens_batch", frozenset({"aggregation_strategy", "ignore_labels", "stride"})),
    "labels": Task("classify", frozenset({"function_to_apply", "candidate_labels"})),
    "text": Task("generate", frozenset(TextParameters.model_fields) - {"top_k"}),
}
"""In the order in which a model that has several takes them when a request does not say."""


async def task_of(request: web.BaseRequest, settings: Settings, pool: Pool) -> str:
    """What a request at / asks for: a key of TASKS, "predict", "similarity" or "rerank". Raises HttpError."""
    try:
        content = from_json(await read_body(request, settings, again=True))
    except ValueError:  # said by the reader of embed's requests
        return "embed"
    if not isinstance(content, dict) or ("inputs" not in content and "texts" not in content):
        return "embed"
    if "inputs" not in content:
        return "rerank"
    if isinstance(content["inputs"], dict):
        return "similarity"
    parameters = content.get("parameters")
    if isinstance(parameters, dict):
        for name, task in TASKS.items():
            if not task.parameters.isdisjoint(parameters):
                return name
    infos: list[ModelInfo] = await pool.call(LIST_MODELS, timeout_ms=settings.timeout_ms)
    model = content.get("model")
    served = [info.methods for info in infos if info.state == ModelState.READY and model in (None, info.name)]
    return _without_parameters(served) if parameters is None else _with_parameters(served)


def _without_parameters(served: Sequence[Sequence[str]]) -> str:
    """Vectors where a model makes them: only their request has its options beside `inputs`."""
    methods = {method for methods in served for method in methods}
    found = next((name for name, task in TASKS.items() if task.serves in methods), "embed")
    return "predict" if found == "labels" else found


def _with_parameters(served: Sequence[Sequence[str]]) -> str:
    """What the first model does that has one of the tasks."""
    for methods in served:
        for name, task in TASKS.items():
            if name != "embed" and task.serves in methods:
                return name
    raise HttpError(ErrorCode.NOT_FOUND, "no model classifies texts or tokens, or generates", field="model")
