"""Requests of predict, classify and regress, and arrays as their answers have them."""

from __future__ import annotations

import base64
import binascii
from typing import TYPE_CHECKING, Any

from pydantic import Field

from rest_proxy.compat.signatures import TEXT
from rest_proxy.http.errors import invalid_argument
from rest_proxy.http.requests import Strict

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import numpy as np

    from rest_proxy.compat.signatures import Task

    Arrays = Mapping[str, np.ndarray[Any, np.dtype[Any]]]
    Texts = dict[str, list[str]]

_SHOWN = 64


class _Request(Strict):
    signature_name: str | None = Field(
        None, max_length=_SHOWN, description="A task that the model has, such as classify. Default: its first."
    )
    parameters: dict[str, Any] = Field({}, description="Ours: our own route's options of the task.")


class TensorsRequest(_Request):
    """What predict takes."""

    instances: list[Any] | None = Field(None, description="A text each, or an object with the inputs; or inputs.")
    inputs: Any = Field(None, description="Texts; or an object with the inputs, each of texts. Give instances or this.")


class ExamplesRequest(_Request):
    """What classify and regress take."""

    examples: list[dict[str, Any]] = Field(description="An object with the inputs each.")
    context: dict[str, Any] = Field({}, description="What all examples have.")


def inputs_of(fields: TensorsRequest, task: Task) -> Texts:
    """The inputs by the task's names. Raises HttpError."""
    if (fields.instances is None) == (fields.inputs is None):
        raise invalid_argument("give this or inputs", field="instances")
    if fields.instances is not None:
        return _rows(fields.instances, task, "instances")
    if not isinstance(fields.inputs, dict) or fields.inputs.keys() == {"b64"}:
        return _alone(task, _texts(fields.inputs, "inputs"), "inputs")
    return _named(
        task, {name: _texts(value, f"inputs.{name[:_SHOWN]}") for name, value in fields.inputs.items()}, "inputs"
    )


def examples_of(fields: ExamplesRequest, task: Task) -> Texts:
    """The inputs by the task's names. Raises HttpError."""
    return _rows([{**fields.context, **example} for example in fields.examples], task, "examples")


def _rows(rows: Sequence[Any], task: Task, field: str) -> Texts:
    """Of a row for each text: a text itself, or an object of such."""
    columns: Texts = {}
    for place, row in enumerate(rows):
        where = f"{field}[{place}]"
        named = row if isinstance(row, dict) and row.keys() != {"b64"} else {_alone_name(task, where): row}
        if columns and named.keys() != columns.keys():
            raise invalid_argument("has other inputs than those before it", field=where)
        for name, value in named.items():
            columns.setdefault(name, []).append(_text(value, where))
    return _named(task, columns, field) if rows else {name: [] for name in task.inputs}


def _named(task: Task, given: Texts, field: str) -> Texts:
    if len(given) == len(task.inputs) == 1:  # the only one may have any name
        return {TEXT: next(iter(given.values()))}
    if given.keys() != set(task.inputs):
        message = f"expected {' and '.join(task.inputs)}, got {', '.join(name[:_SHOWN] for name in given) or 'none'}"
        raise invalid_argument(message, field=field)
    return given


def _alone(task: Task, texts: list[str], field: str) -> Texts:
    return {_alone_name(task, field): texts}


def _alone_name(task: Task, field: str) -> str:
    if len(task.inputs) > 1:
        raise invalid_argument(f"expected an object with {' and '.join(task.inputs)}", field=field)
    return task.inputs[0]


def _texts(value: Any, field: str) -> list[str]:
    if not isinstance(value, list):
        return [_text(value, field)]
    return [_text(one, f"{field}[{place}]") for place, one in enumerate(value)]


def _text(value: Any, field: str) -> str:
    """A string, which may be in a list of its own, or an object with its bytes in base64."""
    if isinstance(value, list) and len(value) == 1:
        [value] = value
    if isinstance(value, str):
        return value
    if isinstance(value, dict) and value.keys() == {"b64"} and isinstance(value["b64"], str):
        try:
            return base64.b64decode(value["b64"], validate=True).decode()
        except (binascii.Error, UnicodeDecodeError) as error:
            raise invalid_argument(f"is not UTF-8 in base64: {error}", field=field) from None
    raise invalid_argument('expected a string, or {"b64": ...}', field=field)


def by_rows(arrays: Arrays) -> list[Any]:
    """A row for each text: the value, or an object of several outputs."""
    columns = {name: array.tolist() for name, array in arrays.items()}
    if len(columns) == 1:
        return next(iter(columns.values()))
    return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]


def by_columns(arrays: Arrays) -> Any:
    """The array, or an object of several outputs."""
    columns = {name: array.tolist() for name, array in arrays.items()}
    return next(iter(columns.values())) if len(columns) == 1 else columns


def class_scores(arrays: Arrays) -> list[Any]:
    """Of each text, [label, score] the best first."""
    pairs = zip(arrays["labels"].tolist(), arrays["scores"].tolist(), strict=True)
    return [[[label, score] for label, score in zip(labels, scores, strict=True)] for labels, scores in pairs]
