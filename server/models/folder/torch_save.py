"""Files of torch.save (pytorch_model.bin): where their tensors lie, without torch and without running their pickle.

Such a file is a zip archive that stores its tensors uncompressed, and a pickle that names them. Of the pickle only what
a dictionary of tensors needs is interpreted; nothing in it is imported or called, whatever it asks for.
"""

from __future__ import annotations

import math
import pickletools
import zipfile
from typing import TYPE_CHECKING, Any, NamedTuple

from server.errors import ModelError
from server.models.folder.dtypes import BITS, Tensor
from server.models.zip_archive import open_zip

if TYPE_CHECKING:
    from pathlib import Path

SAVE_AS_SAFETENSORS = (
    'save the weights as safetensors, where you trust the file: python -c "import torch, safetensors.torch as s; '
    "s.save_file({k: v.contiguous().clone() for k, v in torch.load('pytorch_model.bin', weights_only=True).items()}, "
    "'model.safetensors')\""
)
_MAX_PICKLE_BYTES = 64 << 20
_LOCAL_HEADER_BYTES = 30
_STORAGES = {
    "torch DoubleStorage": "F64",
    "torch FloatStorage": "F32",
    "torch HalfStorage": "F16",
    "torch BFloat16Storage": "BF16",
    "torch LongStorage": "I64",
    "torch IntStorage": "I32",
    "torch ShortStorage": "I16",
    "torch CharStorage": "I8",
    "torch ByteStorage": "U8",
    "torch BoolStorage": "BOOL",
}
_DICT = "collections OrderedDict"
_TENSOR = "torch._utils _rebuild_tensor_v2"
_PARAMETER = "torch._utils _rebuild_parameter"
_KNOWN = {*_STORAGES, _DICT, _TENSOR, _PARAMETER}


class _Global(NamedTuple):
    """A class or function that the pickle names: one of _KNOWN."""

    name: str


class _Storage(NamedTuple):
    dtype: str
    key: str
    numbers: int


class _View(NamedTuple):
    """A tensor as the pickle describes it."""

    storage: _Storage
    offset: int
    shape: list[int]
    strides: list[int]


_MARK = object()


def read(path: Path) -> dict[str, Tensor]:
    """Name -> tensor. Raises ModelError, OSError."""
    try:
        with open_zip(path, _MAX_PICKLE_BYTES) as archive:
            entries = {entry.filename.partition("/")[2]: entry for entry in archive.infolist()}
            _check(path, archive, entries)
            views = _views(_read_entry(archive, entries["data.pkl"], _MAX_PICKLE_BYTES))
    except zipfile.BadZipFile:
        raise ModelError(f"{path.name} {_no_archive(path)}") from None
    except (ModelError, ValueError, KeyError, EOFError) as error:
        raise ModelError(f"{path.name} cannot be read: {error}") from None
    size = path.stat().st_size
    with path.open("rb") as file:
        offsets: dict[str, int] = {}
        tensors = {}
        for name, view in views.items():
            try:
                tensors[name] = _located(view, entries, offsets, file, size)
            except ModelError as error:
                raise ModelError(f"{path.name} cannot be read: {name}: {error}") from None
    return tensors


def _no_archive(path: Path) -> str:
    with path.open("rb") as file:
        begin = file.read(24)
    if begin.startswith(b"version https://git-lfs"):
        return "is a pointer of Git LFS, not the weights: run `git lfs pull` in the folder"
    if begin[:1] == b"\x80":
        return f"is of torch.save's old format (before torch 1.6), which is not read; {SAVE_AS_SAFETENSORS}"
    return "is damaged or cut short: it is no archive of torch.save"


def _check(path: Path, archive: zipfile.ZipFile, entries: dict[str, zipfile.ZipInfo]) -> None:
    if "data.pkl" not in entries:
        raise ModelError("it is no archive of torch.save: it has no data.pkl")
    if any(name.startswith("code/") for name in entries):
        raise ModelError("it is a TorchScript module; serve the file itself, not its folder")
    if "byteorder" in entries and _read_entry(archive, entries["byteorder"], 16) != b"little":
        raise ModelError(f"its numbers are not little endian; {SAVE_AS_SAFETENSORS}")


def _read_entry(archive: zipfile.ZipFile, entry: zipfile.ZipInfo, most: int) -> bytes:
    if entry.file_size > most or entry.compress_type != zipfile.ZIP_STORED or entry.flag_bits & 1:
        raise ModelError(f"{entry.filename} is compressed, encrypted or larger than {most} bytes")
    return archive.read(entry)


# ---------------------------------------------------------------------------------------------------------- the pickle


def _views(content: bytes) -> dict[str, _View]:
    """The tensors of the dictionary that the pickle is."""
    result = _Reader().run(content)
    if not isinstance(result, dict):
        raise ModelError("it holds no dictionary of weights")
    views = {name: value for name, value in result.items() if isinstance(value, _View)}
    if not views:
        raise ModelError(
            "it holds no weights by name (a checkpoint of a training, perhaps); save the model's state_dict"
        )
    return views


class _Reader:
    """Interprets the operations of a pickle that torch.save writes for tensors, and refuses all others."""

    def __init__(self) -> None:
        self._stack: list[Any] = []
        self._memo: dict[int, Any] = {}

    def run(self, content: bytes) -> Any:
        for opcode, argument, _ in pickletools.genops(content):
            operation = _OPERATIONS.get(opcode.name)
            if operation is None:
                raise ModelError(f"its pickle has {opcode.name}, which weights do not need; {SAVE_AS_SAFETENSORS}")
            operation(self, argument)
        return self._pop()

    def _pop(self) -> Any:
        if not self._stack or self._stack[-1] is _MARK:
            raise ModelError("its pickle is damaged")
        return self._stack.pop()

    def _pop_to_mark(self) -> list[Any]:
        items = []
        while self._stack and self._stack[-1] is not _MARK:
            items.append(self._stack.pop())
        if not self._stack:
            raise ModelError("its pickle is damaged")
        self._stack.pop()
        return items[::-1]

    def push(self, value: Any) -> None:
        self._stack.append(value)

    def named(self, argument: str) -> None:
        if argument not in _KNOWN:
            raise ModelError(
                f"its pickle asks for {argument.replace(' ', '.')}, which is refused; {SAVE_AS_SAFETENSORS}"
            )
        self.push(_Global(argument))

    def put(self, index: int) -> None:
        value = self._pop()
        self._memo[index] = value
        self.push(value)

    def get(self, index: int) -> None:
        if index not in self._memo:
            raise ModelError("its pickle is damaged")
        self.push(self._memo[index])

    def tuple_of(self, count: int | None) -> None:
        items = self._pop_to_mark() if count is None else [self._pop() for _ in range(count)][::-1]
        self.push(tuple(items))

    def extend(self, items: list[Any]) -> None:
        if not isinstance(target := self._pop(), list):
            raise ModelError("its pickle is damaged")
        target += items
        self.push(target)

    def update(self, items: list[Any]) -> None:
        if not isinstance(target := self._pop(), dict) or len(items) % 2:
            raise ModelError("its pickle is damaged")
        for key, value in zip(items[::2], items[1::2], strict=True):
            if type(key) is not str:
                raise ModelError("it holds no dictionary of weights: a key is no string")
            target[key] = value
        self.push(target)

    def reduce(self) -> None:
        arguments, function = self._pop(), self._pop()
        name = function.name if isinstance(function, _Global) else ""
        if name == _DICT and arguments == ():
            self.push({})
        elif name == _TENSOR:
            self.push(_view(arguments))
        elif name == _PARAMETER and type(arguments) is tuple and arguments and isinstance(arguments[0], _View):
            self.push(arguments[0])
        else:
            raise ModelError(f"its pickle makes something that is no tensor; {SAVE_AS_SAFETENSORS}")

    def build(self) -> None:
        """The attribute _metadata of a state_dict: of no use here."""
        self._pop()
        if not isinstance(self._stack[-1] if self._stack else None, dict):
            raise ModelError("its pickle is damaged")

    def persistent(self) -> None:
        reference = self._pop()
        if type(reference) is not tuple or len(reference) != 5 or reference[0] != "storage":
            raise ModelError("its pickle is damaged")
        _, kind, key, _, count = reference
        dtype = _STORAGES.get(kind.name) if isinstance(kind, _Global) else None
        if dtype is None or type(key) is not str or not _is_count(count):
            raise ModelError("its pickle is damaged")
        self.push(_Storage(dtype, key, count))


_OPERATIONS: dict[str, Any] = {
    "PROTO": lambda reader, _: None,
    "STOP": lambda reader, _: None,
    "MARK": lambda reader, _: reader.push(_MARK),
    "GLOBAL": _Reader.named,
    "BINPUT": _Reader.put,
    "LONG_BINPUT": _Reader.put,
    "BINGET": _Reader.get,
    "LONG_BINGET": _Reader.get,
    **dict.fromkeys(("BINUNICODE", "BININT", "BININT1", "BININT2", "LONG1", "BINFLOAT"), _Reader.push),
    "NONE": lambda reader, _: reader.push(None),
    "NEWTRUE": lambda reader, _: reader.push(True),
    "NEWFALSE": lambda reader, _: reader.push(False),
    "EMPTY_TUPLE": lambda reader, _: reader.push(()),
    "TUPLE": lambda reader, _: reader.tuple_of(None),
    "TUPLE1": lambda reader, _: reader.tuple_of(1),
    "TUPLE2": lambda reader, _: reader.tuple_of(2),
    "TUPLE3": lambda reader, _: reader.tuple_of(3),
    "EMPTY_LIST": lambda reader, _: reader.push([]),
    "APPEND": lambda reader, _: reader.extend([reader._pop()]),
    "APPENDS": lambda reader, _: reader.extend(reader._pop_to_mark()),
    "EMPTY_DICT": lambda reader, _: reader.push({}),
    "SETITEM": lambda reader, _: reader.update([reader._pop(), reader._pop()][::-1]),
    "SETITEMS": lambda reader, _: reader.update(reader._pop_to_mark()),
    "REDUCE": lambda reader, _: reader.reduce(),
    "BUILD": lambda reader, _: reader.build(),
    "BINPERSID": lambda reader, _: reader.persistent(),
}


def _view(arguments: Any) -> _View:
    if type(arguments) is not tuple or len(arguments) < 4 or not isinstance(arguments[0], _Storage):
        raise ModelError("its pickle is damaged")
    storage, offset, shape, strides = arguments[:4]
    sizes = type(shape) is tuple and type(strides) is tuple and len(shape) == len(strides) <= 16
    if not sizes or not _is_count(offset) or not all(map(_is_count, (*shape, *strides))):
        raise ModelError("its pickle is damaged")
    return _View(storage, offset, list(shape), list(strides))


def _is_count(value: object) -> bool:
    return type(value) is int and 0 <= value < 2**63


# --------------------------------------------------------------------------------------------------------- the archive


def _located(view: _View, entries: dict[str, zipfile.ZipInfo], offsets: dict[str, int], file: Any, size: int) -> Tensor:
    """Where the tensor lies in the file; `offsets` keeps those of entries that were looked up before."""
    key = f"data/{view.storage.key}"
    entry = entries.get(key)
    if entry is None:
        raise ModelError(f"the archive has no {key}")
    if entry.compress_type != zipfile.ZIP_STORED or entry.flag_bits & 1:
        raise ModelError(f"{key} is compressed or encrypted; {SAVE_AS_SAFETENSORS}")
    if key not in offsets:
        offsets[key] = _offset_of(entry, file)
    width = BITS[view.storage.dtype] // 8
    count = math.prod(view.shape)
    _check_contiguous(view)
    begin = offsets[key] + view.offset * width
    inside = (view.offset + count) * width <= min(view.storage.numbers * width, entry.file_size)
    if not inside or offsets[key] + entry.file_size > size:
        raise ModelError(f"{view.shape} numbers of {view.storage.dtype} are more than {key} has")
    return Tensor(view.storage.dtype, view.shape, begin, count * width)


def _offset_of(entry: zipfile.ZipInfo, file: Any) -> int:
    """Where an entry's content begins, behind its local header: the directory at the archive's end does not say."""
    file.seek(entry.header_offset)
    header = file.read(_LOCAL_HEADER_BYTES)
    if len(header) < _LOCAL_HEADER_BYTES or header[:4] != b"PK\x03\x04":
        raise ModelError(f"{entry.filename} has no header where the archive says")
    lengths = int.from_bytes(header[26:28], "little") + int.from_bytes(header[28:30], "little")
    return entry.header_offset + _LOCAL_HEADER_BYTES + lengths


def _check_contiguous(view: _View) -> None:
    stride = 1
    for size, given in zip(reversed(view.shape), reversed(view.strides), strict=True):
        if size > 1 and given != stride:
            raise ModelError(f"the tensor is not contiguous (strides {view.strides}); {SAVE_AS_SAFETENSORS}")
        stride *= size
