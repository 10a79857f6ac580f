"""The protocol's routes: is the server alive and ready, which models are there, what do they take, and infer."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from predictor.ttypes import ErrorCode, ModelState

from process.version import VERSION
from rest_proxy.compat.open_inference.tensors import HEAD_BYTES, InferRequest, answer, read_infer
from rest_proxy.compat.signatures import QUERY, TEXT, Signatures, columns_of, task_of
from rest_proxy.http.content import BINARY, INTEGER, JSON, STRING, array_of, object_of
from rest_proxy.http.errors import HttpError, invalid_argument
from rest_proxy.http.responses import ErrorFormat, error_headers, json_response
from rest_proxy.http.route import GET, MODEL_ERRORS, SERVER_ERRORS, Answer, Example, Route, path_fields

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from aiohttp import web
    from predictor.ttypes import ModelInfo

    from rest_proxy.backend.generation import Generator
    from rest_proxy.backend.pool import Pool
    from rest_proxy.compat.signatures import ReadyModel, Task
    from rest_proxy.config import Settings

    Answering = Callable[[web.BaseRequest, str], Awaitable[web.StreamResponse]]

_TAG = "open-inference"
_EXTENSIONS = ["binary_tensor_data", "model_repository", "model_configuration"]
_OUR_OWN = ("signature", "binary_data_output", "timeout")  # parameters that are not the task's
_STATES = {ModelState.READY: "READY", ModelState.LOADING: "LOADING", ModelState.UNLOADING: "UNLOADING"}

_MODEL = "/v2/models/{name}"
_VERSION = f"{_MODEL}/versions/{{version}}"
_TEMPLATES = [f"{path}{end}" for end in ("/ready", "/config", "/infer", "") for path in (_VERSION, _MODEL)]
"""The narrowest first: a model's name may have a slash in it."""


class OpenInference:
    """The routes' answers."""

    def __init__(self, settings: Settings, signatures: Signatures) -> None:
        self._settings = settings
        self._signatures = signatures

    async def live(self, _request: web.BaseRequest, request_id: str) -> web.Response:
        """200 as long as the proxy answers at all."""
        return json_response({"live": True}, request_id)

    async def ready(self, _request: web.BaseRequest, request_id: str) -> web.Response:
        """200 if a server is ready, asked now; else 503."""
        await self._signatures.pool.probe()
        ready = any(upstream.reason is None for upstream in self._signatures.pool.upstreams)
        return json_response({"ready": ready}, request_id, 200 if ready else 503)

    async def server(self, _request: web.BaseRequest, request_id: str) -> web.Response:
        """What the server is."""
        return json_response({"name": "predictor", "version": VERSION, "extensions": _EXTENSIONS}, request_id)

    async def index(self, _request: web.BaseRequest, request_id: str) -> web.Response:
        """Every model and its state."""
        models = [
            {
                "name": info.name,
                "version": info.version,
                "state": _STATES.get(info.state, "UNAVAILABLE"),
                "reason": info.error or "",
            }
            for info in await self._signatures.all()
        ]
        return json_response(models, request_id)

    async def model_ready(self, request: web.BaseRequest, request_id: str) -> web.Response:
        """200 if the model is; else 503, and 404 for one that is not there."""
        info = await self._info(request)
        ready = info.state == ModelState.READY
        return json_response({"name": info.name, "ready": ready}, request_id, 200 if ready else 503)

    async def model(self, request: web.BaseRequest, request_id: str) -> web.Response:
        """What the model takes and gives when a request names no signature."""
        model = self._signatures.of(await self._info(request))
        tensors = _tensors(model, model.task)
        about = {"name": model.info.name, "versions": [model.info.version], "platform": model.info.kind}
        return json_response({**about, **tensors}, request_id)

    async def config(self, request: web.BaseRequest, request_id: str) -> web.Response:
        """The same in the words of Triton's model configuration."""
        model = self._signatures.of(await self._info(request))
        tensors = _tensors(model, model.task)
        types = {"BYTES": "TYPE_STRING", "FP32": "TYPE_FP32"}
        inputs, outputs = (
            [{"name": one["name"], "data_type": types[one["datatype"]], "dims": one["shape"]} for one in tensors[side]]
            for side in ("inputs", "outputs")
        )
        about = {"name": model.info.name, "platform": model.info.kind, "backend": "", "max_batch_size": 0}
        return json_response({**about, "input": inputs, "output": outputs}, request_id)

    async def infer(self, request: web.BaseRequest, request_id: str) -> web.Response:
        """The outputs of a request's inputs."""
        model = self._signatures.of(await self._info(request))
        wanted, texts = await read_infer(request, self._settings)
        task = task_of(model, wanted.parameters.get("signature"), "parameters.signature")
        inputs = _named(task, texts)
        parameters = {name: value for name, value in wanted.parameters.items() if name not in _OUR_OWN}
        if (microseconds := wanted.parameters.get("timeout")) is not None:
            parameters["timeout_ms"] = _milliseconds(microseconds)
        arrays = await self._signatures.run(model, task, inputs, parameters, request_id)
        about = {"model_name": model.info.name, "model_version": model.info.version}
        return answer(wanted, about, arrays, request_id)

    async def _info(self, request: web.BaseRequest) -> ModelInfo:
        fields = path_fields(_TEMPLATES, request)
        return await self._signatures.info(fields["name"], fields.get("version"))


def _milliseconds(microseconds: Any) -> int:
    if type(microseconds) is not int or microseconds < 0:
        raise invalid_argument("expected a whole number of microseconds", field="parameters.timeout")
    return max(1, -(-microseconds // 1000))


def _named(task: Task, texts: dict[str, list[str]]) -> dict[str, list[str]]:
    """The inputs by the task's names; the only one may have any."""
    if len(task.inputs) == len(texts) == 1:
        return {TEXT: next(iter(texts.values()))}
    if texts.keys() != set(task.inputs):
        message = f"expected {' and '.join(task.inputs)}, got {', '.join(name[:64] for name in texts) or 'none'}"
        raise invalid_argument(message, field="inputs")
    return texts


def _tensors(model: ReadyModel, task: Task) -> dict[str, Any]:
    inputs = [{"name": name, "datatype": "BYTES", "shape": [1 if name == QUERY else -1]} for name in task.inputs]
    outputs = []
    for output in task.outputs:
        columns = columns_of(output, model.info)
        shape = [-1] if columns is None else [-1, columns]
        outputs.append({"name": output.name, "datatype": "BYTES" if output.is_text else "FP32", "shape": shape})
    return {"inputs": inputs, "outputs": outputs}


def _error(error: HttpError, _request: web.BaseRequest, request_id: str) -> web.Response:
    """The message is the value of `error`; what is ours stands beside it."""
    own = {"code": error.code, "field": error.field, "setting": error.setting}
    content = {"error": error.message, **{name: value for name, value in own.items() if value is not None}}
    return json_response(content, request_id, error.status, error_headers(error))


ERRORS = ErrorFormat("OpenInferenceError", _error, {JSON: object_of(error=STRING, code=STRING)})

_TENSOR = object_of(name=STRING, datatype=STRING, shape=array_of(INTEGER))
_READY = object_of(ready={"type": "boolean"})


def routes(settings: Settings, pool: Pool, generator: Generator) -> list[Route]:
    """/v2 and what is below it."""
    theirs = OpenInference(settings, Signatures(settings, pool, generator))
    return [
        _get("/v2", theirs.server, "What is the server?", object_of(name=STRING, version=STRING)),
        _get("/v2/health/live", theirs.live, "Is the server alive?", object_of(live={"type": "boolean"})),
        _get("/v2/health/ready", theirs.ready, "Is a server ready?", _READY, unready=True),
        Route(
            path="/v2/repository/index",
            methods=("POST",),
            answer=theirs.index,
            name="openInferenceIndex",
            summary="Which models are there?",
            tag=_TAG,
            answers=(Answer({JSON: array_of(object_of(name=STRING, version=STRING, state=STRING, reason=STRING))}),),
            errors=SERVER_ERRORS,
            error_format=ERRORS,
        ),
        *(route for path in (_MODEL, _VERSION) for route in _of_model(theirs, path)),
    ]


def _of_model(theirs: OpenInference, path: str) -> list[Route]:
    """The routes of a model, or of one of its versions."""
    tensors = object_of(name=STRING, inputs=array_of(_TENSOR), outputs=array_of(_TENSOR))
    config = object_of(name=STRING, input={"type": "array"}, output={"type": "array"})
    inferred = object_of(model_name=STRING, model_version=STRING, outputs=array_of(_TENSOR))
    example = {"inputs": [{"name": TEXT, "shape": [1], "datatype": "BYTES", "data": ["set an alarm"]}]}
    return [
        _get(path, theirs.model, "What does a model take and give?", tensors),
        _get(f"{path}/ready", theirs.model_ready, "Is a model ready?", _READY, unready=True),
        _get(f"{path}/config", theirs.config, "What does a model take and give, as Triton says it?", config),
        Route(
            path=f"{path}/infer",
            methods=("POST",),
            answer=theirs.infer,
            name=_name(f"{path}/infer"),
            summary="What does a model make of texts, as tensors?",
            tag=_TAG,
            request=InferRequest,
            request_types=(JSON, BINARY),
            example=Example({"name": "gpt2", **example}),
            answers=(
                Answer(
                    {JSON: inferred, BINARY: {"type": "string", "format": "binary"}},
                    headers={
                        HEAD_BYTES: {**INTEGER, "description": f"For {BINARY}: bytes of the JSON before tensors."}
                    },
                ),
            ),
            errors=MODEL_ERRORS,
            error_format=ERRORS,
        ),
    ]


def _get(path: str, answering: Answering, summary: str, schema: Any, *, unready: bool = False) -> Route:
    names = "{name}" in path
    example = {"name": "gpt2"} if names else {}
    not_ready = (Answer({JSON: schema}, status=503, description="It is not ready."),) if unready else ()
    return Route(
        path=path,
        methods=GET,
        answer=answering,
        name=_name(path),
        summary=summary,
        tag=_TAG,
        example=Example(example),
        answers=(Answer({JSON: schema}), *not_ready),
        errors=(ErrorCode.NOT_FOUND, *SERVER_ERRORS) if names else (),
        error_format=ERRORS,
        bounded=names,
    )


def _name(path: str) -> str:
    """An operation's id: openInferenceModelsVersionsInfer."""
    words = [word for word in path.removeprefix("/v2").split("/") if word.isalpha()]
    return "openInference" + "".join(word.capitalize() for word in words)
