"""Where weights lie in safetensors and files of torch.save, and that no file, however broken, is a crash."""

from __future__ import annotations

import io
import json
import pickle
import struct
import zipfile
from collections import OrderedDict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import save_file

from server.errors import ModelError
from server.models.folder import torch_save
from server.models.folder.weights import Weights, has_weights, read_safetensors

if TYPE_CHECKING:
    from collections.abc import Callable

    from server.models.folder.dtypes import Tensor

STATE = {
    "embeddings.word.weight": torch.arange(24, dtype=torch.float32).reshape(6, 4),
    "layer.half": torch.tensor([1.5, -2.0, 3.0], dtype=torch.float16),
    "layer.brain": torch.tensor([[1.5], [-2.0]], dtype=torch.bfloat16),
    "positions": torch.arange(5),
    "scalar": torch.tensor(7.0),
    "empty": torch.zeros(0, 4),
    "bytes": torch.tensor([1, 2, 255], dtype=torch.uint8),
}
TYPES = {
    "F32": torch.float32,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "I64": torch.int64,
    "U8": torch.uint8,
}


def contents(weights: Weights) -> dict[str, torch.Tensor]:
    """The tensors, read where the weights say that they lie."""
    files = [Path(file).read_bytes() for file in weights.files]
    found = {}
    for name, (file, dtype, shape, offset, size, *_) in weights.tensors.items():
        content = bytearray(files[file][offset : offset + size])
        found[name] = torch.frombuffer(content, dtype=TYPES[dtype]).reshape(shape) if size else torch.zeros(shape)
    return found


def of_folder(folder: Path) -> Weights:
    weights = Weights()
    weights.add(folder)
    return weights


def assert_state(folder: Path) -> None:
    found = contents(of_folder(folder))
    assert found.keys() == STATE.keys()
    for name, tensor in STATE.items():
        assert found[name].dtype == tensor.dtype
        assert torch.equal(found[name], tensor), name


def split(folder: Path, index: str, save: Callable[[dict[str, torch.Tensor], Path], object]) -> None:
    """In two shards."""
    names = sorted(STATE)
    weight_map = {}
    for number, part in enumerate((names[:3], names[3:])):
        file = f"shard-{number}.{index.split('.')[1]}"
        save({name: STATE[name] for name in part}, folder / file)
        weight_map |= dict.fromkeys(part, file)
    (folder / index).write_text(json.dumps({"metadata": {}, "weight_map": weight_map}))


def test_safetensors(tmp_path: Path) -> None:
    assert not has_weights(tmp_path)
    save_file(STATE, tmp_path / "model.safetensors", metadata={"format": "pt"})
    save_file({"other": torch.zeros(2)}, tmp_path / "model_fp16.safetensors")
    assert has_weights(tmp_path)
    assert_state(tmp_path)
    assert of_folder(tmp_path).dtype == "F32"


def test_shards_go_before_a_single_file(tmp_path: Path) -> None:
    split(tmp_path, "model.safetensors.index.json", save_file)
    save_file({"other": torch.zeros(2)}, tmp_path / "model.safetensors")
    assert_state(tmp_path)


def test_torch_save_and_its_shards(tmp_path: Path) -> None:
    split(tmp_path, "pytorch_model.bin.index.json", torch.save)
    assert_state(tmp_path)
    single = tmp_path / "single"
    single.mkdir()
    state = OrderedDict(STATE)
    state._metadata = OrderedDict({"": {"version": 1}})  # type: ignore[attr-defined]
    torch.save(state, single / "pytorch_model.bin")
    assert_state(single)


def test_torch_save_of_parameters_views_and_shared_storages(tmp_path: Path) -> None:
    words = torch.arange(12, dtype=torch.float32).reshape(4, 3)
    state = {"a": torch.nn.Parameter(words), "tied": words, "part": words[1:3], "row": words[2:3, :].t()}
    torch.save(state, tmp_path / "pytorch_model.bin")
    found = contents(of_folder(tmp_path))
    for name, tensor in state.items():
        assert torch.equal(found[name], tensor), name


def test_a_module_s_names_get_its_folder_as_prefix(tmp_path: Path) -> None:
    for folder in (tmp_path, tmp_path / "2_Dense"):
        folder.mkdir(exist_ok=True)
        save_file({"linear.weight": torch.ones(2, 3)}, folder / "model.safetensors")
    weights = Weights()
    weights.add(tmp_path)
    weights.add(tmp_path / "2_Dense", "2_Dense/")
    assert list(weights.tensors) == ["linear.weight", "2_Dense/linear.weight"]
    assert [weight.file for weight in weights.tensors.values()] == [0, 1]


# --------------------------------------------------------------------------------------------------------- refusals


class Evil:
    """Would run a command in whoever unpickles it."""

    def __reduce__(self) -> Any:
        return print, ("run by a pickle",)


def zipped(content: bytes, compression: int = zipfile.ZIP_STORED) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", compression) as archive:
        archive.writestr("archive/data.pkl", content)
        archive.writestr("archive/data/0", bytes(16))
    return out.getvalue()


def saved(state: Any, **options: Any) -> bytes:
    out = io.BytesIO()
    torch.save(state, out, **options)
    return out.getvalue()


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "pytorch_model.bin is damaged or cut short"),
        (saved(STATE)[:-100], "is damaged or cut short"),
        (saved(STATE, _use_new_zipfile_serialization=False), "old format (before torch 1.6), which is not read; save"),
        (b"version https://git-lfs.github.com/spec/v1\n", "run `git lfs pull` in the folder"),
        (
            saved({"a": Evil()}),
            "its pickle asks for __builtin__.print, which is refused; save the weights as safetensors",
        ),
        (saved({"a": torch.ones(3, 2).t()}), "cannot be read: a: the tensor is not contiguous (strides [1, 2])"),
        (saved({"a": torch.ones(2).to_sparse()}), "which is refused"),
        (saved([torch.ones(2)]), "holds no dictionary of weights"),
        (saved({"model": {"a": torch.ones(2)}}), "holds no weights by name (a checkpoint of a training, perhaps)"),
        (saved({1: torch.ones(2)}), "a key is no string"),
        (zipped(pickle.dumps({"a": 1}, 4)), "which weights do not need"),
        (zipped(pickle.dumps({}, 2), zipfile.ZIP_DEFLATED), "is compressed, encrypted or larger than"),
        (zipped(b"\x80\x02" + b"(" * 10 + b"."), "its pickle is damaged"),
    ],
)
def test_a_file_of_torch_save_that_is_refused(
    tmp_path: Path, content: bytes, reason: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "pytorch_model.bin").write_bytes(content)
    with pytest.raises(ModelError) as caught:
        of_folder(tmp_path)
    assert str(caught.value).startswith("pytorch_model.bin ")
    assert reason in str(caught.value)
    assert not capsys.readouterr().out, "nothing in a pickle is run"


def header(entries: Any, content: bytes = bytes(8)) -> bytes:
    text = json.dumps(entries).encode() if not isinstance(entries, bytes) else entries
    return struct.pack("<Q", len(text)) + text + content


def entry(begin: int, end: int, shape: Any = None, dtype: Any = "F32") -> dict[str, Any]:
    return {"dtype": dtype, "shape": [(end - begin) // 4] if shape is None else shape, "data_offsets": [begin, end]}


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "it has 0 bytes and a header of 0"),
        (struct.pack("<Q", 1 << 62) + b"{}", "a header of 4611686018427387904"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "run `git lfs pull` in the folder"),
        (header(b"[" * 100_000), "is damaged or cut short: "),
        (header(b"\xff\xff"), "is damaged or cut short: "),
        (header(rb'{"\ud800": 1}'), "a text in it has half a surrogate pair"),
        (header([]), "the header is no JSON object"),
        (header({"a": 1}), "a: expected an object, got int"),
        (header({"a": entry(0, 8, dtype="F4")}), "a: dtype is 'F4'; known are F64, "),
        (header({"a": entry(0, 8, dtype=[])}), "a: dtype is '[]'"),
        (header({"a": entry(0, 8, shape=[-1, -2])}), "a: shape: expected a list of sizes"),
        (header({"a": entry(0, 8, shape=[2**62, 2**62, 2**62])}), "a: 8 bytes for"),
        (header({"a": entry(0, 8, shape=[True, 2])}), "a: shape: expected"),
        (header({"a": entry(8, 0, shape=[0])}), "a: data_offsets: expected a beginning and an end"),
        (header({"a": entry(0, 16)}), "the tensors end at byte"),
        (header({"a": entry(0, 8), "b": entry(4, 8)}), "b begins at byte"),
        (header({"a": entry(4, 8)}), "a begins at byte"),
        (header({"a": entry(0, 4)}), "the tensors end at byte"),
    ],
)
def test_safetensors_that_are_refused(tmp_path: Path, content: bytes, reason: str) -> None:
    (tmp_path / "model.safetensors").write_bytes(content)
    with pytest.raises(ModelError) as caught:
        of_folder(tmp_path)
    assert str(caught.value).startswith("model.safetensors is damaged or cut short: ")
    assert reason in str(caught.value)


@pytest.mark.parametrize(
    ("index", "reason"),
    [
        ({}, "weight_map names no weights"),
        ({"weight_map": {"a": "../model.safetensors"}}, "expected the name of a file in the folder, got '../model"),
        ({"weight_map": {"a": 3}}, "expected the name of a file in the folder, got 3"),
        ({"weight_map": {"a": "gone.safetensors"}}, "names gone.safetensors, which is not there; download all shards"),
        ({"weight_map": {"a": "model.safetensors"}}, "a is not in model.safetensors, where the index says that it is"),
    ],
)
def test_an_index_that_is_refused(tmp_path: Path, index: Any, reason: str) -> None:
    save_file({"b": torch.zeros(2)}, tmp_path / "model.safetensors")
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps(index))
    with pytest.raises(ModelError) as caught:
        of_folder(tmp_path)
    assert reason in str(caught.value)


def test_a_folder_without_weights(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="there are no weights in it"):
        of_folder(tmp_path)


# ------------------------------------------------------------------------------------------------------------- fuzzing


@pytest.fixture(scope="module")
def scratch(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("fuzzing")


def changed(content: bytes, changes: list[tuple[int, int]], cut: int) -> bytes:
    mutable = bytearray(content[: len(content) - cut % 3 * (cut // 3)])
    for place, value in changes:
        if mutable:
            mutable[place % len(mutable)] = value
    return bytes(mutable)


CHANGES = st.lists(st.tuples(st.integers(0, 1 << 16), st.integers(0, 255)), max_size=6)
TORCH = saved(STATE)
PICKLE = zipfile.ZipFile(io.BytesIO(TORCH)).read("archive/data.pkl")


def read_or_refused(read: Callable[[Path], dict[str, Tensor]], path: Path) -> bool:
    """Whether all tensors lie within the file, or the refusal names it."""
    try:
        tensors = read(path).values()
    except ModelError as error:
        return str(error).startswith(f"{path.name} ")
    return all(0 <= each.offset <= each.offset + each.size <= path.stat().st_size for each in tensors)


@given(changes=CHANGES, cut=st.integers(0, 300))
def test_changed_safetensors_are_read_within_the_file_or_refused(
    scratch: Path, changes: list[tuple[int, int]], cut: int
) -> None:
    path = scratch / "model.safetensors"
    save_file(STATE, path)
    path.write_bytes(changed(path.read_bytes(), changes, cut))
    assert read_or_refused(read_safetensors, path)


PICKLETOOLS_WARN = pytest.mark.filterwarnings("ignore:invalid escape sequence:DeprecationWarning")
"""Of what is read: pickletools decodes the escapes of any string."""


@PICKLETOOLS_WARN
@given(changes=CHANGES, cut=st.integers(0, 300))
def test_changed_files_of_torch_save_are_read_within_the_file_or_refused(
    scratch: Path, changes: list[tuple[int, int]], cut: int
) -> None:
    for content in (changed(TORCH, changes, cut), zipped(changed(PICKLE, changes, cut))):
        path = scratch / "pytorch_model.bin"
        path.write_bytes(content)
        assert read_or_refused(torch_save.read, path)


@PICKLETOOLS_WARN
@given(content=st.binary(max_size=200))
def test_noise_is_refused(scratch: Path, content: bytes) -> None:
    for name, given_content in (
        ("model.safetensors", content),
        ("model.safetensors", header(content)),
        ("pytorch_model.bin", content),
        ("pytorch_model.bin", zipped(b"\x80\x02" + content)),
    ):
        path = scratch / name
        path.write_bytes(given_content)
        with pytest.raises(ModelError, match=name):
            (read_safetensors if name.endswith("s") else torch_save.read)(path)
