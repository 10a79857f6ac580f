"""Folders whose model is ONNX, run by onnxruntime, beside what the libraries say."""

from __future__ import annotations

import shutil
import sys
import warnings
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch

from server.errors import ModelError
from server.models.requests import Reading
from tests.server.models.folder.unknown_models import (
    Named,
    classifier,
    example,
    largest_error,
    without_weights,
)
from tests.server.waiting import result
from tests.support.folders import heads, served, table
from tests.support.folders.table import Row

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.server.models.folder.conftest import Made, Open

    Exported = Callable[[str], Path]

pytestmark = pytest.mark.slow


NAMES = ["input_ids", "attention_mask", "token_type_ids"]


def write_onnx(folder: Path, kind: str, output: str) -> Path:
    """As optimum lays it out; the weights go."""
    (folder / "onnx").mkdir()
    sizes = {name: {0: "texts", 1: "tokens"} for name in NAMES}
    sizes[output] = {0: "texts"} if output == "logits" else {0: "texts", 1: "tokens"}
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            Named(folder, kind),
            example(),
            str(folder / "onnx" / "model.onnx"),
            dynamo=False,  # that of torch.export needs a package more, and is slower
            input_names=NAMES,
            output_names=[output],
            dynamic_axes=sizes,
        )
    (folder / "model.safetensors").unlink()
    return folder


def encoder(folder: Path) -> None:
    heads.sentence_encoder(folder, "ernie", "mean", ["Tanh", "normalize"])


ONNX = {
    "AutoModel": (Row("onnx", table.VECTORS, "ERNIE", "mean", encoder), "last_hidden_state"),
    "AutoModelForSequenceClassification": (Row("onnx", table.CLASSES, "ERNIE", "softmax", classifier), "logits"),
}


@pytest.mark.parametrize("kind", ONNX)
async def test_onnx_answers_as_the_libraries_do(kind: str, made: Made, opened: Open, tmp_path: Path) -> None:
    row, output = ONNX[kind]
    source = made(row.write)
    folder = write_onnx(shutil.copytree(source, tmp_path / "model"), kind, output)
    model = await opened(folder, replicas=2)
    assert model.details["program"] == "ONNX"
    assert not model.equal_lengths_only
    found = await served.given(row, model)
    assert model.stats()["batches"] < len(found), "texts shared batches"
    assert largest_error(row, found, served.wanted(row, source)) <= 1


async def test_without_onnxruntime(made: Made, opened: Open, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = without_weights(made, tmp_path)
    (folder / "model.onnx").touch()
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(ModelError, match=r"model.onnx: ONNX needs the package onnxruntime: `make setup-onnx`"):
        await opened(folder)


def save_graph(path: Path, inputs: dict[str, int], to: int) -> None:
    """A graph that casts its first input to a type: 1 is float32, 6 int32, 7 int64."""
    from onnx import helper, save

    given = [helper.make_tensor_value_info(name, kind, ["n", "t"]) for name, kind in inputs.items()]
    found = helper.make_tensor_value_info("out", to, ["n", "t"])
    node = helper.make_node("Cast", [given[0].name], ["out"], to=to)
    graph = helper.make_graph([node], "graph", given, [found])
    save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9), str(path))


@pytest.mark.parametrize(
    ("write", "reason"),
    [
        (lambda path: path.write_bytes(b"\x08\x07 and no more"), "onnxruntime cannot load it: "),
        (
            lambda path: save_graph(path, {"input_ids": 7}, 1),
            "it takes input_ids; expected input_ids and",
        ),
        (
            lambda path: save_graph(path, {"input_ids": 7, "attention_mask": 7, "position_ids": 7}, 1),
            "it takes attention_mask, input_ids, position_ids; expected",
        ),
        (
            lambda path: save_graph(path, {"input_ids": 7, "attention_mask": 1}, 1),
            r"its input attention_mask is of type tensor.float.; expected int64 or int32",
        ),
        (
            lambda path: save_graph(path, {"input_ids": 6, "attention_mask": 7}, 1),
            "what it gives depends on the length: texts of 7 and of 13 tokens have 7 and 13 numbers",
        ),
    ],
)
async def test_onnx_files_that_are_refused(
    write: Callable[[Path], object], reason: str, made: Made, opened: Open, tmp_path: Path
) -> None:
    folder = without_weights(made, tmp_path)
    write(folder / "model.onnx")
    with pytest.raises(ModelError, match=f"model.onnx: {reason}"):
        await opened(folder)


async def test_onnx_on_a_card(made: Made, opened: Open, tmp_path: Path) -> None:
    folder = without_weights(made, tmp_path)
    save_graph(folder / "model.onnx", {"input_ids": 7, "attention_mask": 7}, 1)
    with pytest.raises(ModelError, match=r"model.onnx: ONNX is run on the processor, and the setting device is cuda"):
        await opened(folder, device="cuda")


def save_rows(path: Path, sum_over: list[int]) -> None:
    """A graph of [texts, 1], or with the sum over the batch too, which makes batch mates matter."""
    from onnx import TensorProto, helper, save

    given = [helper.make_tensor_value_info(name, TensorProto.INT64, ["n", "t"]) for name in NAMES[:2]]
    found = helper.make_tensor_value_info("sentence_embedding", TensorProto.FLOAT, ["n", 1])
    nodes = [
        helper.make_node("Mul", NAMES[:2], ["tokens"]),
        helper.make_node("Cast", ["tokens"], ["rows"], to=TensorProto.FLOAT),
        helper.make_node("ReduceSum", ["rows", "axis"], ["sums"], keepdims=1),
        helper.make_node("ReduceSum", ["sums", "over"], ["whole"], keepdims=1, noop_with_empty_axes=1),
        helper.make_node("Add", ["sums", "whole"], ["sentence_embedding"]),
    ]
    constants = [
        helper.make_tensor("axis", TensorProto.INT64, [1], [1]),
        helper.make_tensor("over", TensorProto.INT64, [len(sum_over)], sum_over),
    ]
    graph = helper.make_graph(nodes, "graph", given, [found], constants)
    save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9), str(path))


@pytest.mark.parametrize(("sum_over", "batch_items"), [([], 64), ([0], 1)])
async def test_texts_that_see_one_another_run_alone(
    sum_over: list[int], batch_items: int, made: Made, opened: Open, tmp_path: Path
) -> None:
    folder = without_weights(made, tmp_path)
    save_rows(folder / "model.onnx", sum_over)
    model = await opened(folder)
    assert (model.limits.batch_items, model.equal_lengths_only) == (batch_items, False)
    requests = [model.embed(text, Reading(), served.context()) for text in ("", "a", "")]
    found = [float(np.frombuffer(await result(request), "<f4")[0]) for request in requests]
    assert found == [10.0, pytest.approx(found[1]), 10.0]  # [CLS] and [SEP] are 2 and 3


@pytest.mark.parametrize(
    ("write", "reason"),
    [
        (lambda folder: heads.sparse_encoder(folder, "bert"), "sparse vectors .SpladePooling. are served of folders"),
        (
            lambda folder: heads.token_encoder(folder, "bert"),
            r"gives .texts, 1.; for vectors of tokens .texts, to",
        ),
        (
            lambda folder: heads.sentence_encoder(folder, "bert"),
            r"gives .texts, 1., a vector for each text, which a pooling cannot be made of",
        ),
    ],
)
async def test_heads_that_do_not_fit(
    write: Callable[[Path], object], reason: str, opened: Open, tmp_path: Path
) -> None:
    write(tmp_path / "model")
    (tmp_path / "model" / "model.safetensors").unlink()
    save_rows(tmp_path / "model" / "model.onnx", [])
    with pytest.raises(ModelError, match=f"model.onnx: .*{reason}"):
        await opened(tmp_path / "model")


async def test_a_session_that_fails(made: Made, opened: Open, tmp_path: Path) -> None:
    from onnx import TensorProto, helper, save

    given = [helper.make_tensor_value_info(name, TensorProto.INT64, ["n", "t"]) for name in NAMES[:2]]
    found = helper.make_tensor_value_info("out", TensorProto.FLOAT, ["n", 1])
    nodes = [
        helper.make_node("Gather", ["table", "input_ids"], ["rows"]),
        helper.make_node("ReduceSum", ["rows", "axis"], ["out"], keepdims=1),
    ]
    constants = [
        helper.make_tensor("table", TensorProto.FLOAT, [9], [1.0] * 9),
        helper.make_tensor("axis", TensorProto.INT64, [1], [1]),
    ]
    folder = without_weights(made, tmp_path)
    graph = helper.make_graph(nodes, "graph", given, [found], constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    save(model, str(folder / "model.onnx"))
    with pytest.raises(ModelError, match=r"model.onnx: it fails on a text of 96 tokens .*out of (data )?bounds"):
        await opened(folder)
