"""Requests and answers of infer: tensors in JSON, or in bytes behind it (the extension binary_tensor_data).

https://github.com/kserve/open-inference-protocol and
https://github.com/triton-inference-server/server/blob/main/docs/protocol/extension_binary_data.md
"""

from __future__ import annotations

import math
from struct import Struct
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
import orjson
from pydantic import Field, ValidationError

from rest_proxy.http.bodies.reading import read_body
from rest_proxy.http.bodies.values import LARGE, require_few_values
from rest_proxy.http.content import BINARY, JSON
from rest_proxy.http.errors import invalid_argument, too_large
from rest_proxy.http.requests import FailFast
from rest_proxy.http.responses import REQUEST_ID, Whole
from rest_proxy.http.validation import what_is_wrong

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from aiohttp import web

    from rest_proxy.config import Settings

    Array = np.ndarray[Any, np.dtype[Any]]

HEAD_BYTES = "Inference-Header-Content-Length"
"""The header that says where a body's JSON ends and its tensors begin."""

_LENGTH = Struct("<I")
_DATATYPES = {"f4": "FP32", "i1": "INT8", "u1": "UINT8"}
_MOST = 16  # tensors of a request
_DIMENSIONS = 8
_SHOWN = 64

Parameters = dict[str, Any]
Size = Annotated[int, Field(ge=0)]


class InferInput(FailFast):
    """A tensor of a request."""

    name: str
    shape: list[Size] = Field(max_length=_DIMENSIONS)
    datatype: str
    parameters: Parameters = Field({}, description="binary_data_size: bytes of the tensor behind the JSON.")
    data: Any = Field(None, description="The tensor's elements, in lists or in one list.")


class InferOutput(FailFast):
    """An output that a request asks for."""

    name: str
    parameters: Parameters = Field({}, description="binary_data: whether it is to come behind the JSON.")


class InferRequest(FailFast):
    """What infer takes."""

    id: str | None = Field(None, max_length=_SHOWN * 4)
    parameters: Parameters = Field({}, description="Our own route's options of the task, and which signature it is.")
    inputs: list[InferInput] = Field(max_length=_MOST)
    outputs: list[InferOutput] | None = Field(None, max_length=_MOST, description="Default: all.")

    @property
    def binary_by_default(self) -> bool:
        """Whether outputs come behind the JSON when nothing is said of them."""
        return self.parameters.get("binary_data_output") is True


async def read_infer(request: web.BaseRequest, settings: Settings) -> tuple[InferRequest, dict[str, list[str]]]:
    """What is asked, and its inputs, each as texts. Raises HttpError.

    Whatever content type it has: clients send none, and curl --data a form's.
    """
    body = await read_body(request, settings)
    end = _head_bytes(request, body)
    head = body[:end]
    if len(head) > LARGE:
        await require_few_values(head, settings)
    try:
        infer = InferRequest.model_validate_json(head, strict=True)
    except ValidationError as error:
        raise what_is_wrong(error, InferRequest.model_fields) from None
    return infer, _inputs(infer.inputs, memoryview(body)[end:], settings)


def _head_bytes(request: web.BaseRequest, body: bytes) -> int:
    said = request.headers.get(HEAD_BYTES)
    if said is None:
        return len(body)
    if not (said.isascii() and said.isdecimal() and len(said) < 12 and int(said) <= len(body)):
        message = f"the header {HEAD_BYTES} says {said[:_SHOWN]!r}, and the body has {len(body)} bytes"
        raise invalid_argument(message)
    return int(said)


def _inputs(inputs: Sequence[InferInput], tail: memoryview, settings: Settings) -> dict[str, list[str]]:
    texts: dict[str, list[str]] = {}
    for place, one in enumerate(inputs):
        field = f"inputs[{place}]"
        if one.name in texts:
            raise invalid_argument(f"{one.name[:_SHOWN]!r} is given twice", field=f"{field}.name")
        if one.datatype != "BYTES":
            message = f"expected BYTES, as all inputs are texts, got {one.datatype[:_SHOWN]!r}"
            raise invalid_argument(message, field=f"{field}.datatype")
        size = one.parameters.get("binary_data_size")
        count = math.prod(one.shape)
        if size is None:
            elements = _elements(one.data, field, settings)
        else:
            if one.data is not None:
                raise invalid_argument("give this or binary_data_size", field=f"{field}.data")
            elements, tail = _unpacked(tail, size, count, f"{field}.parameters.binary_data_size", settings)
        if len(elements) != count:
            message = f"the shape has {count} elements, and there are {len(elements)}"
            raise invalid_argument(message, field=f"{field}.shape")
        texts[one.name] = elements
    if tail:
        raise invalid_argument(f"there are {len(tail)} bytes behind the last input")
    return texts


def _elements(data: Any, field: str, settings: Settings) -> list[str]:
    """All strings in nested lists, in their order."""
    found: list[str] = []
    waiting = [data]
    while waiting:
        value = waiting.pop()
        if isinstance(value, list):
            waiting += reversed(value)
        elif isinstance(value, str):
            found.append(value)
            _check_count(f"{field}.data", len(found), settings)
        else:
            raise invalid_argument("expected strings, in lists or in one list", field=f"{field}.data")
    return found


def _check_count(field: str, count: int, settings: Settings) -> None:
    if count > settings.max_docs:
        raise too_large(f"over {settings.max_docs} elements", field=field, setting="max_docs")


def _unpacked(tail: memoryview, size: Any, count: int, field: str, settings: Settings) -> tuple[list[str], memoryview]:
    """Texts, each behind its length in four bytes, and what comes behind them."""
    if type(size) is not int or not 0 <= size <= len(tail):
        message = f"expected a number of bytes, at most the {len(tail)} that there are, got {str(size)[:_SHOWN]}"
        raise invalid_argument(message, field=field)
    _check_count(field, count, settings)
    texts: list[str] = []
    data, start = tail[:size], 0
    while start < size and len(texts) < count:
        stop = start + _LENGTH.size
        if stop <= size:
            start, stop = stop, stop + _LENGTH.unpack_from(data, start)[0]
        if stop > size:
            raise invalid_argument(f"element {len(texts)} ends behind the tensor", field=field)
        try:
            texts.append(str(data[start:stop], "utf-8"))
        except UnicodeDecodeError as error:
            raise invalid_argument(f"element {len(texts)} is not valid UTF-8: {error.reason}", field=field) from None
        start = stop
    if start != size:
        raise invalid_argument(f"there are {size - start} bytes behind the last of {count} elements", field=field)
    return texts, tail[size:]


def answer(infer: InferRequest, about: Mapping[str, Any], arrays: Mapping[str, Array], request_id: str) -> Whole:
    """The outputs that are asked for, each in JSON or behind it. Raises HttpError for one that is not there."""
    described, tails = [], []
    for place, wanted in enumerate(infer.outputs or [InferOutput(name=name) for name in arrays]):
        array = arrays.get(wanted.name)
        if array is None:
            message = f"the model has no output {wanted.name[:_SHOWN]!r}; it has {', '.join(arrays)}"
            raise invalid_argument(message, field=f"outputs[{place}].name")
        if wanted.parameters.get("classification"):
            message = "classes are in the output labels, the best first"
            raise invalid_argument(message, field=f"outputs[{place}].parameters.classification")
        output: dict[str, Any] = {"name": wanted.name, "datatype": datatype(array), "shape": list(array.shape)}
        if wanted.parameters.get("binary_data", infer.binary_by_default) is True:
            tails.append(_packed(array))
            output["parameters"] = {"binary_data_size": len(tails[-1])}
        else:
            flat = array.reshape(-1)
            output["data"] = flat if array.dtype == np.float32 else flat.tolist()
        described.append(output)
    said = {} if infer.id is None else {"id": infer.id}
    head = orjson.dumps({**about, **said, "outputs": described}, option=orjson.OPT_SERIALIZE_NUMPY)
    if not tails:
        return Whole(head + b"\n", {"Content-Type": JSON, REQUEST_ID: request_id})
    headers = {"Content-Type": BINARY, HEAD_BYTES: str(len(head)), REQUEST_ID: request_id}
    return Whole(b"".join([head, *tails]), headers)


def datatype(array: Array) -> str:
    """The protocol's name of an array's type."""
    return "BYTES" if array.dtype == object else _DATATYPES[array.dtype.str[1:]]


def _packed(array: Array) -> bytes:
    if array.dtype != object:
        return array.tobytes()
    encoded = [text.encode() for text in array.reshape(-1)]
    return b"".join(part for text in encoded for part in (_LENGTH.pack(len(text)), text))
