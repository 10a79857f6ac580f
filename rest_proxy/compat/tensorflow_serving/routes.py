"""The routes of a model: predict, classify, regress, metadata and status.

Of a model without more, GET /v1/models/NAME is OpenAI's too: compat/openai/models.py answers with what both expect.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from predictor.ttypes import ErrorCode

from rest_proxy.compat.signatures import Signatures, columns_of, task_of
from rest_proxy.compat.tensorflow_serving.status import status_of, version_number
from rest_proxy.compat.tensorflow_serving.values import (
    ExamplesRequest,
    TensorsRequest,
    by_columns,
    by_rows,
    class_scores,
    examples_of,
    inputs_of,
)
from rest_proxy.http.content import JSON, STRING, array_of, object_of
from rest_proxy.http.errors import HttpError, invalid_argument
from rest_proxy.http.requests import read_json
from rest_proxy.http.responses import ErrorFormat, error_headers, json_response
from rest_proxy.http.route import GET, MODEL_ERRORS, SERVER_ERRORS, Answer, Example, Route, path_fields

if TYPE_CHECKING:
    from aiohttp import web
    from predictor.ttypes import ModelInfo

    from rest_proxy.backend.generation import Generator
    from rest_proxy.backend.pool import Pool
    from rest_proxy.compat.signatures import ReadyModel, Task
    from rest_proxy.config import Settings

_TAG = "tensorflow-serving"
_MODEL = "/v1/models/{name}"
_VERSION = f"{_MODEL}/versions/{{version}}"
_NEWEST = "0"  # what OpenVINO's client names where a request names none
_VERBS = ("predict", "classify", "regress")
_TEMPLATES = [
    f"{path}{end}" for end in ("/metadata", *(f":{verb}" for verb in _VERBS), "") for path in (_VERSION, _MODEL)
]
"""The narrowest first: a model's name may have a slash in it."""


class TensorFlowServing:
    """The routes' answers."""

    def __init__(self, settings: Settings, signatures: Signatures) -> None:
        self._settings = settings
        self._signatures = signatures

    async def status(self, request: web.BaseRequest, request_id: str) -> web.Response:
        """The state of a version."""
        return json_response({"model_version_status": status_of(await self._info(request))}, request_id)

    async def metadata(self, request: web.BaseRequest, request_id: str) -> web.Response:
        """The model's signatures, the default one among them."""
        model = self._signatures.of(await self._info(request))
        tasks = {"serving_default": model.task, **model.tasks}
        signatures = {name: _signature(model, task) for name, task in tasks.items()}
        spec = {"name": model.info.name, "signature_name": "", "version": version_number(model.info)}
        metadata = {"signature_def": {"signature_def": signatures}}
        return json_response({"model_spec": spec, "metadata": metadata}, request_id)

    async def predict(self, request: web.BaseRequest, request_id: str) -> web.Response:
        """`predictions` of `instances`, `outputs` of `inputs`."""
        model = self._signatures.of(await self._info(request))
        fields = await read_json(TensorsRequest, request, self._settings, any_type=True)
        task = task_of(model, fields.signature_name, "signature_name")
        arrays = await self._signatures.run(model, task, inputs_of(fields, task), fields.parameters, request_id)
        if fields.instances is not None:
            return json_response({"predictions": by_rows(arrays)}, request_id)
        return json_response({"outputs": by_columns(arrays)}, request_id)

    async def classify(self, request: web.BaseRequest, request_id: str) -> web.Response:
        """Labels and scores of each example."""
        return json_response(
            {"result": class_scores(await self._of_examples(request, request_id, "classify"))}, request_id
        )

    async def regress(self, request: web.BaseRequest, request_id: str) -> web.Response:
        """The score of each example: of a query and a text."""
        arrays = await self._of_examples(request, request_id, "rerank")
        return json_response({"result": arrays["scores"].tolist()}, request_id)

    async def _of_examples(self, request: web.BaseRequest, request_id: str, name: str) -> Any:
        model = self._signatures.of(await self._info(request))
        fields = await read_json(ExamplesRequest, request, self._settings, any_type=True)
        if fields.signature_name not in (None, "", "serving_default", name):
            raise invalid_argument(f"expected {name}, which is what this path asks for", field="signature_name")
        task = task_of(model, name, "model")
        return await self._signatures.run(model, task, examples_of(fields, task), fields.parameters, request_id)

    async def _info(self, request: web.BaseRequest) -> ModelInfo:
        fields = path_fields(_TEMPLATES, request)
        version = fields.get("version")
        return await self._signatures.info(fields["name"], None if version == _NEWEST else version, version_number)


def _signature(model: ReadyModel, task: Task) -> dict[str, Any]:
    inputs = {name: _tensor(name, "DT_STRING", (-1,)) for name in task.inputs}
    outputs = {}
    for output in task.outputs:
        columns = columns_of(output, model.info)
        shape = (-1,) if columns is None else (-1, columns)
        outputs[output.name] = _tensor(output.name, "DT_STRING" if output.is_text else "DT_FLOAT", shape)
    return {"inputs": inputs, "outputs": outputs, "method_name": "tensorflow/serving/predict", "defaults": {}}


def _tensor(name: str, dtype: str, shape: tuple[int, ...]) -> dict[str, Any]:
    dim = [{"size": str(size), "name": ""} for size in shape]
    return {"dtype": dtype, "tensor_shape": {"dim": dim, "unknown_rank": False}, "name": f"{name}:0"}


def _error(error: HttpError, _request: web.BaseRequest, request_id: str) -> web.Response:
    """The message is the value of `error`; what is ours stands beside it."""
    own = {"code": error.code, "field": error.field, "setting": error.setting}
    content = {"error": error.message, **{name: value for name, value in own.items() if value is not None}}
    return json_response(content, request_id, error.status, error_headers(error))


ERRORS = ErrorFormat("TensorFlowServingError", _error, {JSON: object_of(error=STRING, code=STRING)})


def routes(settings: Settings, pool: Pool, generator: Generator) -> list[Route]:
    """What is below /v1/models/NAME."""
    theirs = TensorFlowServing(settings, Signatures(settings, pool, generator))
    status = object_of(model_version_status=array_of(object_of(version=STRING, state=STRING)))
    metadata = object_of(model_spec=object_of(name=STRING, version=STRING), metadata={"type": "object"})
    found = [_get(_VERSION, theirs.status, "Is a version of a model ready?", status)]
    for path in (_MODEL, _VERSION):
        found += [
            _get(f"{path}/metadata", theirs.metadata, "What does a model take and give, as signatures?", metadata),
            _post(
                f"{path}:predict",
                theirs.predict,
                "What does a model make of texts?",
                TensorsRequest,
                Example({"name": "gpt2", "instances": ["set an alarm"]}),
                {"anyOf": [object_of(predictions={"type": "array"}), object_of(outputs={})]},
            ),
            _post(
                f"{path}:classify",
                theirs.classify,
                "Labels of texts",
                ExamplesRequest,
                Example({"name": "classifier", "examples": [{"text": "set an alarm"}]}),
                object_of(result={"type": "array"}),
            ),
            _post(
                f"{path}:regress",
                theirs.regress,
                "How well texts answer a query",
                ExamplesRequest,
                Example({"name": "reranker", "context": {"query": "alarm?"}, "examples": [{"text": "set an alarm"}]}),
                object_of(result={"type": "array"}),
            ),
        ]
    return found


def _get(path: str, answering: Any, summary: str, schema: Any) -> Route:
    return Route(
        path=path,
        methods=GET,
        answer=answering,
        name=_name(path),
        summary=summary,
        tag=_TAG,
        example=Example({"name": "gpt2"}),
        answers=(Answer({JSON: schema}),),
        errors=(ErrorCode.NOT_FOUND, *SERVER_ERRORS),
        error_format=ERRORS,
    )


def _post(path: str, answering: Any, summary: str, request: Any, example: Example, schema: Any) -> Route:
    return Route(
        path=path,
        methods=("POST",),
        answer=answering,
        name=_name(path),
        summary=summary,
        tag=_TAG,
        request=request,
        example=example,
        answers=(Answer({JSON: schema}),),
        errors=MODEL_ERRORS,
        error_format=ERRORS,
    )


def _name(path: str) -> str:
    """An operation's id: tensorflowServingVersionsPredict."""
    words = [word for word in path.removeprefix(_MODEL).replace(":", "/").split("/") if word.isalpha()]
    return "tensorflowServing" + "".join(word.capitalize() for word in words)
