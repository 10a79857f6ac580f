"""What models take and give as named arrays, for protocols that know arrays and no tasks.

A signature is a task of a model. Its inputs are texts; of its outputs each has a row for each text. A request's
parameters are the options that our own route for the task takes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import orjson
from predictor.ttypes import ClassifyOptions, ErrorCode, ModelState, PredictionError
from pydantic import ValidationError

from rest_proxy.backend.contract import CLASSIFY, CLASSIFY_TOKENS_BATCH, EMBED_SPARSE, LIST_MODELS, REPLY_BATCH, RERANK
from rest_proxy.compat.openai.completions import all_of
from rest_proxy.http.errors import HttpError, invalid_argument, refusal
from rest_proxy.http.requests import ModelRequest, check_count
from rest_proxy.http.validation import what_is_wrong
from rest_proxy.routes.embeddings import VectorRequest, embed
from rest_proxy.routes.generation import GenerationRequest
from rest_proxy.routes.predictions import PredictRequest, ReplyRequest
from rest_proxy.routes.ranking import RerankRequest
from rest_proxy.routes.texts import fields_set
from rest_proxy.routes.token_embeddings import SparseRequest
from rest_proxy.routes.tokens import EntitiesRequest

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping, Sequence

    from predictor.ttypes import ModelInfo, RequestOptions, ScoredLabel

    from rest_proxy.backend.contract import Method
    from rest_proxy.backend.generation import Generator
    from rest_proxy.backend.pool import Pool
    from rest_proxy.config import Settings

    Array = np.ndarray[Any, np.dtype[Any]]
    Texts = list[str]

TEXT, QUERY = "text", "query"
_SHOWN = 64  # characters of a name


class Output(NamedTuple):
    """An array with a row for each text."""

    name: str
    is_text: bool
    """Of texts; else of float32."""
    detail: str | None = None
    """Of ModelInfo.details: how many values a row has. None: a row is one value."""


@dataclass(frozen=True)
class Task:
    """One of a model's signatures."""

    name: str
    serves: str
    """The contract's method that a model with this signature serves."""
    outputs: tuple[Output, ...]
    kind: type[ModelRequest]
    """Our own request, whose fields beside the texts are the parameters."""
    answer: Callable[[Signatures, Any, Mapping[str, Texts], RequestOptions], Awaitable[list[Array]]]
    """The outputs' arrays."""
    texts_field: str | None = "texts"
    """Where the texts are in a request of that kind; None where they are not part of it."""
    inputs: tuple[str, ...] = (TEXT,)
    not_taken: tuple[str, ...] = ()
    """Fields of `kind` that would change nothing here."""


class ReadyModel(NamedTuple):
    """A model that is ready, and what it does when a request does not say."""

    info: ModelInfo
    tasks: dict[str, Task]

    @property
    def task(self) -> Task:
        """The first."""
        return next(iter(self.tasks.values()))


class Signatures:
    """The models' signatures, and calls of them."""

    def __init__(self, settings: Settings, pool: Pool, generator: Generator) -> None:
        self.settings = settings
        self.pool = pool
        self.generator = generator

    async def all(self) -> list[ModelInfo]:
        """Every model, in any state."""
        infos: list[ModelInfo] = await self.pool.call(LIST_MODELS, timeout_ms=self.settings.timeout_ms)
        return infos

    async def info(
        self, name: str, version: str | None = None, version_of: Callable[[ModelInfo], str] = lambda info: info.version
    ) -> ModelInfo:
        """A model in any state. Raises NOT_FOUND. `version_of`: a model's version as the protocol writes it."""
        info = next((one for one in await self.all() if one.name == name), None)
        if info is None:
            raise HttpError(ErrorCode.NOT_FOUND, f"no model is named {name[:_SHOWN]!r}", field="model")
        if version is not None and version != version_of(info):
            message = f"the model {name!r} has the version {version_of(info)}, not {version[:_SHOWN]!r}"
            raise HttpError(ErrorCode.NOT_FOUND, message, field="version")
        return info

    def of(self, info: ModelInfo) -> ReadyModel:
        """A model that is ready, with its signatures. Raises UNAVAILABLE, and NOT_FOUND where it has none."""
        name = info.name
        if info.state != ModelState.READY:
            state = ModelState._VALUES_TO_NAMES.get(info.state, str(info.state)).lower()
            raise HttpError(ErrorCode.UNAVAILABLE, f"the model {name!r} is {state}", retry_after_ms=1000)
        tasks = {task.name: task for task in TASKS if task.serves in info.methods}
        if not tasks:
            raise HttpError(ErrorCode.NOT_FOUND, f"the model {name!r} takes no texts", field="model")
        return ReadyModel(info, tasks)

    async def run(
        self, model: ReadyModel, task: Task, inputs: Mapping[str, Texts], parameters: Mapping[str, Any], request_id: str
    ) -> dict[str, Array]:
        """Its outputs, by name. Raises HttpError that names an input or a parameter."""
        check_count(TEXT, inputs[TEXT], self.settings)
        fields = _fields(task, model.info.name, inputs, parameters)
        items = len(inputs[TEXT]) * len(parameters.get("candidate_labels") or ("",))
        options = fields.options(self.settings, request_id, items)
        try:
            arrays = await task.answer(self, fields, inputs, options) if inputs[TEXT] else _nothing(task)
        except PredictionError as error:
            raise refusal(error, {"texts": TEXT, "messages": TEXT, "docs": TEXT, "prompt": TEXT}) from None
        return {output.name: array for output, array in zip(task.outputs, arrays, strict=True)}

    async def call(self, method: Method, options: RequestOptions, *arguments: Any) -> Any:
        """The method's result."""
        return await self.pool.call(method, *arguments, timeout_ms=options.timeout_ms)


def task_of(model: ReadyModel, name: str | None, field: str) -> Task:
    """The task that a request names in its `field`. Raises HttpError."""
    if name in (None, "", "serving_default"):
        return model.task
    if name not in model.tasks:
        message = f"the model has no signature {str(name)[:_SHOWN]!r}; it has {', '.join(model.tasks)}"
        raise invalid_argument(message, field=field)
    return model.tasks[name]


def columns_of(output: Output, info: ModelInfo) -> int | None:
    """How many values a row has, -1 where the model does not tell; None where a row is one value."""
    if output.detail is None:
        return None
    told = (info.details or {}).get(output.detail, "")
    return int(told) if told.isdecimal() else -1


def _fields(task: Task, model: str, inputs: Mapping[str, Texts], parameters: Mapping[str, Any]) -> Any:
    given: dict[str, Any] = {"model": model}
    if task.texts_field is not None:
        given[task.texts_field] = inputs[TEXT]
    if QUERY in task.inputs:
        given[QUERY] = _only(inputs[QUERY])
    if wrong_names := sorted((given.keys() | set(task.not_taken)) & parameters.keys()):
        raise invalid_argument(f"{task.name} has no such parameter", field=f"parameters.{wrong_names[0]}")
    try:
        return task.kind.model_validate({**parameters, **given}, strict=True)
    except ValidationError as error:
        wrong = what_is_wrong(error, task.kind.model_fields)
        if wrong.field is None:
            raise wrong from None
        message = wrong.message.removeprefix(f"{wrong.field}: ")
        raise invalid_argument(message, field=f"parameters.{wrong.field}") from None


def _only(queries: Texts) -> str:
    """The query, which may be given once or beside each text."""
    if len(set(queries)) != 1:
        raise invalid_argument("a request has one query; send one request for each", field=QUERY)
    return queries[0]


def _nothing(task: Task) -> list[Array]:
    return [
        np.zeros((0,) if output.detail is None else (0, 0), object if output.is_text else np.float32)
        for output in task.outputs
    ]


def _texts(values: Sequence[Any]) -> Array:
    array = np.empty(len(values), object)
    array[:] = values
    return array


def _as_json(values: Sequence[Any]) -> list[Array]:
    return [_texts([orjson.dumps(value).decode() for value in values])]


def _labels_and_scores(rows: Sequence[Sequence[tuple[str, float]]]) -> list[Array]:
    """Two arrays as wide as the longest row; where a row ends, "" and 0."""
    width = max(map(len, rows), default=0)
    labels, scores = np.full((len(rows), width), "", object), np.zeros((len(rows), width), np.float32)
    for place, row in enumerate(rows):
        for column, (label, score) in enumerate(row):
            labels[place, column], scores[place, column] = label, score
    return [labels, scores]


async def _embed(
    models: Signatures, fields: VectorRequest, inputs: Mapping[str, Texts], options: RequestOptions
) -> list[Array]:
    embedded = await embed(models.settings, models.pool, TEXT, inputs[TEXT], options, fields.embed_options())
    return [embedded.vectors]


async def _rerank(
    models: Signatures, fields: RerankRequest, inputs: Mapping[str, Texts], options: RequestOptions
) -> list[Array]:
    ranked = await models.call(RERANK, options, fields.query, inputs[TEXT], options, fields.rerank_options())
    scores = np.zeros(len(inputs[TEXT]), np.float32)
    for one in ranked:
        scores[one.index] = one.score
    return [scores]


async def _classify(
    models: Signatures, fields: PredictRequest, inputs: Mapping[str, Texts], options: RequestOptions
) -> list[Array]:
    wanted = fields.classify_options() or ClassifyOptions()
    rows: list[list[ScoredLabel]] = await models.call(CLASSIFY, options, inputs[TEXT], options, wanted)
    return _labels_and_scores([[(one.label, one.score) for one in row] for row in rows])


async def _classify_tokens(
    models: Signatures, fields: EntitiesRequest, inputs: Mapping[str, Texts], options: RequestOptions
) -> list[Array]:
    found = await models.call(CLASSIFY_TOKENS_BATCH, options, inputs[TEXT], options, fields.method_options())
    return _as_json([[fields_set(entity) for entity in entities] for entities in found])


async def _embed_sparse(
    models: Signatures, fields: SparseRequest, inputs: Mapping[str, Texts], options: RequestOptions
) -> list[Array]:
    vectors = await models.call(EMBED_SPARSE, options, inputs[TEXT], options, fields.method_options())
    return _as_json([fields_set(vector) for vector in vectors])


async def _reply(
    models: Signatures, fields: ReplyRequest, inputs: Mapping[str, Texts], options: RequestOptions
) -> list[Array]:
    found = await models.call(REPLY_BATCH, options, inputs[TEXT], options, fields.reply_options())
    best = [sorted(replies.items(), key=lambda item: -item[1]) for replies in found]
    return _labels_and_scores(best)


async def _generate(
    models: Signatures, fields: GenerationRequest, inputs: Mapping[str, Texts], options: RequestOptions
) -> list[Array]:
    how = fields.generation_options()
    with models.generator.places(len(inputs[TEXT])):
        found = await all_of(models.generator.whole(text, how, options) for text in inputs[TEXT])
    return [_texts([text.continuation for text in found])]


TASKS = (
    Task("embed", "embed_matrix", (Output("embeddings", False, "dimensions"),), VectorRequest, _embed, None),
    Task("embed_sparse", "embed_sparse", (Output("vectors", True),), SparseRequest, _embed_sparse),
    Task(
        "rerank",
        "rerank",
        (Output("scores", False),),
        RerankRequest,
        _rerank,
        inputs=(QUERY, TEXT),
        not_taken=("documents", "top_n", "return_text", "return_documents"),
    ),
    Task("classify_tokens", "classify_tokens_batch", (Output("entities", True),), EntitiesRequest, _classify_tokens),
    Task(
        "classify",
        "classify",
        (Output("labels", True, ""), Output("scores", False, "")),
        PredictRequest,
        _classify,
        "docs",
    ),
    Task(
        "reply",
        "reply_batch",
        (Output("replies", True, ""), Output("scores", False, "")),
        ReplyRequest,
        _reply,
        "messages",
    ),
    Task(
        "generate",
        "generate",
        (Output("continuations", True),),
        GenerationRequest,
        _generate,
        None,
        not_taken=("logprobs", "prompt_logprobs", "prompt_token_ids"),
    ),
)
"""In the order in which a model that has several takes them when a request does not say."""
