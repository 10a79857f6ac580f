"""What a location that holds no served model is told, and that the step it names is one."""

from __future__ import annotations

import json
import os
import pickle
import struct
import zipfile
from typing import TYPE_CHECKING, Any

import pytest
import torch
from safetensors.torch import save_file

from ext import _encoder
from server.config import Settings
from server.errors import ModelError
from server.models import kinds, zip_archive
from server.models.formats import parsed_json
from tests.support.folders import heads

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

BERT = {"model_type": "bert", "architectures": ["BertModel"]}


async def refusal(location: object) -> str:
    with pytest.raises(ModelError) as caught:
        await kinds.load(str(location), Settings())
    message = str(caught.value)
    assert message.startswith(f"{location}: ")
    return message.removeprefix(f"{location}: ")


def folder_of(path: Path, files: dict[str, Any]) -> Path:
    for name, content in files.items():
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        if isinstance(content, bytes):
            (path / name).write_bytes(content)
        else:
            (path / name).write_text(json.dumps(content))
    return path


@pytest.mark.parametrize(
    ("location", "reason"),
    [
        ("BAAI/bge-small-en-v1.5", "Then it is hf://BAAI/bge-small-en-v1.5; or get its folder by"),
        ("BAAI/bge-small-en-v1.5", "`python scripts/download_model.py BAAI/bge-small-en-v1.5`"),
        ("nowhere", "no such file or folder"),
        ("/nowhere/at/all", "no such file or folder"),
    ],
)
async def test_what_is_not_there(location: str, reason: str) -> None:
    assert reason in await refusal(location)


@pytest.mark.parametrize(
    ("name", "write", "reason"),
    [
        ("model.pt", lambda path: torch.save({"a": torch.ones(2)}, path), "a file of torch.save, which holds weights"),
        (
            "old.pt",
            lambda path: torch.save({}, path, _use_new_zipfile_serialization=False),
            "a file of torch.save, which holds weights",
        ),
        ("model.onnx", lambda path: path.write_bytes(b"\x08\x07"), "an ONNX file alone: name the folder"),
        ("model.gguf", lambda path: path.write_bytes(b"GGUF\3\0\0\0"), "model.gguf is damaged or cut short: "),
        (
            "model.safetensors",
            lambda path: save_file({"a": torch.ones(2)}, path),
            "a file of a folder's; name",
        ),
        ("config.json", lambda path: path.write_text("{}"), "a file of a folder's; name"),
        ("model.pt2", lambda path: path.write_bytes(b"PK"), "a package of torch.export: name the folder that holds it"),
        ("model_head.pkl", lambda path: path.write_bytes(pickle.dumps([])), "a pickle, which would run whatever code"),
        ("picture.png", lambda path: path.write_bytes(b"\x89PNG"), "expected a TorchScript, TensorFlow Lite or GGUF"),
        ("empty", lambda path: path.write_bytes(b""), "expected a TorchScript, TensorFlow Lite or GGUF file"),
    ],
)
async def test_files(tmp_path: Path, name: str, write: Callable[[Path], object], reason: str) -> None:
    write(tmp_path / name)
    assert reason in await refusal(tmp_path / name)


async def test_pipes_are_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "model.pt")
    assert await refusal(tmp_path / "model.pt") == "neither a file nor a folder"
    folder = folder_of(tmp_path / "folder", {"config.json": BERT, "model.safetensors": b""})
    os.mkfifo(folder / "tokenizer_config.json")
    assert "there is no tokenizer.json" in await refusal(folder)
    os.mkfifo(folder / "modules.json")
    assert "there is no tokenizer.json" in await refusal(folder)


@pytest.mark.parametrize("name", ["config.json", "modules.json", "tokenizer_config.json", "tokenizer.json"])
async def test_no_file_is_read_whatever_its_size(tmp_path: Path, name: str) -> None:
    folder = folder_of(tmp_path, {"config.json": BERT, "model.safetensors": b"", "tokenizer.json": b"{}"})
    (folder / name).touch()
    os.truncate(folder / name, 1 << 40)
    assert await refusal(folder) in (f"{name} has more than {limit << 20} bytes" for limit in (64, 256))


@pytest.mark.parametrize("content", [b"[" * 1_000_000, b'{"a":' * 1_000_000, b'{"model_type": ' + b"[" * 100_000])
async def test_json_that_is_nested_deep(tmp_path: Path, content: bytes) -> None:
    for name in ("config.json", "modules.json"):
        folder = folder_of(tmp_path / name, {"config.json": BERT, "model.safetensors": b"", name: content})
        assert f"{name} is no JSON: " in await refusal(folder)


@pytest.mark.parametrize(
    "content", [b'{"a": "\\ud800"}', b'{"a": ["\\uDFFF b"]}', b'{"\\udc00": 1}', b'{"a": "\xed\xa0\x80"}']
)
@pytest.mark.parametrize("name", ["config.json", "modules.json"])
async def test_half_a_surrogate_pair(tmp_path: Path, name: str, content: bytes) -> None:
    """Python would have such a text, but no library that it is handed to."""
    folder = folder_of(tmp_path, {"config.json": BERT, "model.safetensors": b"", name: content})
    reason = await refusal(folder)
    assert reason.startswith(f"{name} is no JSON: ")
    assert "surrogate pair" in reason or "utf-8" in reason


def test_a_whole_surrogate_pair() -> None:
    assert parsed_json(b'{"a": "\\ud83d\\ude00"}') == {"a": "\U0001f600"}


async def test_an_archive_with_a_directory_of_any_size(tmp_path: Path) -> None:
    """zipfile would read it as a whole, and make an object for each of its entries."""
    size = 1 << 40
    end = struct.pack("<4s4H2LH", b"PK\5\6", 0, 0, 65535, 65535, 2**32 - 1, 2**32 - 1, 0)
    locator = struct.pack("<4sLQL", b"PK\6\7", 0, size, 1)
    end64 = struct.pack("<4sQ2H2L4Q", b"PK\6\6", 44, 45, 45, 0, 0, 1 << 30, 1 << 30, size - 1024, 1024)
    with (tmp_path / "model.pt").open("wb") as file:
        file.truncate(size)
        file.seek(size)
        file.write(end64 + locator + end)
    with (
        pytest.raises(zipfile.BadZipFile, match="more than 16777216 bytes would be read at a time"),
        zip_archive.open_zip(tmp_path / "model.pt"),
    ):
        pass
    assert "expected a TorchScript, TensorFlow Lite or GGUF file" in await refusal(tmp_path / "model.pt")


@pytest.mark.parametrize(
    ("files", "reason"),
    [
        ({}, "no kind of model that this server knows is in this folder; name the folder that save_pretrained wrote"),
        ({"model-q4.gguf": b"GGUF"}, "model-q4.gguf is a GGUF file, which is served by itself: name the file"),
        ({"onnx/model.onnx": b""}, "onnx/model.onnx: ONNX is read where its config.json and"),
        ({"adapter_config.json": {}, "adapter_model.safetensors": b""}, "merge_and_unload()"),
        ({"encoder/config.json": BERT}, "there is no config.json in it; name the folder itself, such as "),
        ({"snapshots/0123/config.json": BERT}, "the hub's cache of a model: name the folder in it, "),
        ({"config.json": BERT, "tf_model.h5": b""}, "its weights are tf_model.h5, TensorFlow's, which are not read"),
        ({"config.json": BERT, "onnx/model_O4.onnx": b""}, "onnx/model.onnx; onnx/model_O4.onnx needs that name"),
        ({"config.json": BERT, "onnx/model.onnx": b""}, "there is no tokenizer.json"),
        ({"config.json": BERT, "model_fp16.safetensors": b""}, "model.safetensors or pytorch_model.bin, or the index"),
        ({"config.json": BERT, "model_fp16.safetensors": b""}, "not model_fp16.safetensors"),
        ({"config.json": BERT}, "there are no weights in it: expected model.safetensors or pytorch_model.bin"),
        ({"config.json": BERT | {"architectures": ["BertForQuestionAnswering"]}}, "BertForQuestionAnswering is not"),
        ({"config.json": BERT, "model_head.pkl": b""}, "a SetFit model: its labels are in model_head.pkl, a pickle"),
        (
            {"config.json": {"model_type": "xlnet"}},
            "its architecture is 'xlnet' (model_type in config.json); served are",
        ),
        (
            {"config.json": {"model_type": "xlnet", "hidden_act": None}, "tokenizer.json": b""},
            "architecture is 'xlnet'",
        ),
        ({"config.json": {}}, "its architecture is None (model_type in config.json); served are"),
        ({"config.json": b"{"}, "config.json is no JSON"),
        ({"config.json": b"[]"}, "config.json is not a JSON object"),
        (
            {"modules.json": [{"type": "sentence_transformers.models.Transformer", "path": ""}]},
            "there is no config.json",
        ),
    ],
)
async def test_folders(tmp_path: Path, files: dict[str, Any], reason: str) -> None:
    folder = folder_of(tmp_path / "model", files)
    folder.mkdir(exist_ok=True)
    assert reason in await refusal(folder)


async def test_what_is_served_is_named(tmp_path: Path) -> None:
    folder = folder_of(tmp_path / "model", {"config.json": {"model_type": "funnel"}})
    message = await refusal(folder)
    assert all(name in message for name in _encoder.architectures())
    assert "`python scripts/export_model.py FOLDER OUT` makes a package" in message


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ("precision=int2", "precision is 'int2'; it must be one of float32, bfloat16, int8, int4"),
        ("fast=1", "fast is no option of a model"),
    ],
)
async def test_options(tmp_path: Path, options: str, reason: str) -> None:
    assert reason in await refusal(f"{tmp_path},{options}")


async def test_options_of_other_kinds(zoo: Callable[[str], Path]) -> None:
    message = await refusal(f"{zoo('doc_model')},precision=int8")
    assert message == "the option precision is for folders of Hugging Face and GGUF files"


async def test_options_of_a_gguf_file(tmp_path: Path) -> None:
    (tmp_path / "model.gguf").write_bytes(b"GGUF")
    message = await refusal(f"{tmp_path / 'model.gguf'},pooling=mean")
    assert message == "the option pooling is for folders of Hugging Face"


async def test_a_form_of_an_architecture_that_is_not_served(tmp_path: Path) -> None:
    """transformers runs it, and so does what is exported."""
    heads.transformer(tmp_path, "bert")
    config = json.loads((tmp_path / "config.json").read_text()) | {"hidden_act": "mish"}
    (tmp_path / "config.json").write_text(json.dumps(config))
    message = await refusal(tmp_path)
    assert message.startswith("config.json: hidden_act")
    assert "`python scripts/export_model.py FOLDER OUT` makes a package" in message
