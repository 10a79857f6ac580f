"""Where the weights of a folder lie: name, dtype, shape, offset and size of each tensor. Their numbers are not read.

Safetensors by their index, else model.safetensors, else pytorch_model.bin (torch.save) likewise. All that a file says
of itself is checked against its size: a damaged or hostile file raises ModelError with its name.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, TypeGuard

from server.errors import ModelError
from server.models.folder import torch_save
from server.models.folder.dtypes import BITS, Tensor
from server.models.formats import parsed_json, read_json
from server.models.refusals import no_weights

if TYPE_CHECKING:
    from collections.abc import Callable

    Reader = Callable[[Path], dict[str, Tensor]]

SAFETENSORS, TORCH = "model.safetensors", "pytorch_model.bin"

_MAX_HEADER_BYTES = 100_000_000  # as the safetensors library has it


class Grouped(NamedTuple):
    """What belongs to a matrix of whole numbers in groups, as ext/weights/weight.h has it (GroupedNumbers)."""

    zeros: Weight
    scales: Weight
    groups: Weight | None
    """None: one after the other, each of `group_size` inputs."""
    group_size: int
    bits: int
    zero_shift: int
    interleaved: bool


class Weight(NamedTuple):
    """A tensor, as the engine takes it."""

    file: int
    """Index of the file in Weights.files."""
    dtype: str
    """As safetensors calls it: F32, F16, BF16, I8, ...; or as ggml does: Q8_0, Q4_K, ..."""
    shape: list[int]
    offset: int
    """In bytes from the beginning of the file; not aligned to anything."""
    size: int
    """In bytes."""
    paired_heads: int = 0
    """The file has the rows of each of so many heads in another order: as ext/weights/weight.h says."""
    shift: float = 0
    """Is added to each number."""
    grouped: Grouped | None = None
    """What the bytes are then."""


@dataclass(slots=True)
class Weights:
    """Every tensor by its name, and the files that they lie in."""

    files: list[str] = field(default_factory=list)
    tensors: dict[str, Weight] = field(default_factory=dict)

    def add(self, folder: Path, prefix: str = "") -> None:
        """The tensors of a folder, their names after `prefix`. Raises ModelError, OSError."""
        for path, tensors in _of_folder(folder):
            for name, tensor in tensors.items():
                self.tensors[prefix + name] = Weight(len(self.files), *tensor)
            self.files.append(str(path))

    def rename(self, old: str, new: str) -> None:
        """Give a tensor another name, if there is one of this name."""
        if old in self.tensors:
            self.tensors[new] = self.tensors.pop(old)

    @property
    def dtype(self) -> str:
        """That of the most bytes."""
        sizes: dict[str, int] = {}
        for weight in self.tensors.values():
            sizes[weight.dtype] = sizes.get(weight.dtype, 0) + weight.size
        return max(sizes, key=sizes.__getitem__, default="")


def has_weights(folder: Path) -> bool:
    """Whether there are files that `Weights.add` would read."""
    return any((folder / f"{name}{index}").is_file() for name in (SAFETENSORS, TORCH) for index in ("", ".index.json"))


def files_of(folder: Path) -> list[Path]:
    """The files that `Weights.add` reads, of which only an index is opened. Raises ModelError, OSError."""
    for name in (SAFETENSORS, TORCH):
        if (folder / f"{name}.index.json").is_file():
            return [folder / f"{name}.index.json", *(folder / file for file in _named(folder, f"{name}.index.json"))]
        if (folder / name).is_file():
            return [folder / name]
    raise ModelError(no_weights(folder))


def _of_folder(folder: Path) -> list[tuple[Path, dict[str, Tensor]]]:
    for name, read in ((SAFETENSORS, read_safetensors), (TORCH, torch_save.read)):
        if (folder / f"{name}.index.json").is_file():
            return _shards(folder, f"{name}.index.json", read)
        if (folder / name).is_file():
            return [(folder / name, read(folder / name))]
    raise ModelError(no_weights(folder))


def _named(folder: Path, index: str) -> dict[str, list[str]]:
    """The shards that an index names, which are there, and the tensors in each."""
    of_file: dict[str, list[str]] = {}
    weight_map = read_json(folder / index).get("weight_map")
    if not isinstance(weight_map, dict) or not weight_map:
        raise ModelError(f"{index}: weight_map names no weights")
    for name, file in weight_map.items():
        if not isinstance(file, str) or file in ("", ".", "..") or Path(file).name != file:
            raise ModelError(
                f"{index}: weight_map of {name!r}: expected the name of a file in the folder, got {file!r}"
            )
        of_file.setdefault(file, []).append(name)
    for file in of_file:
        if not (folder / file).is_file():
            raise ModelError(f"{index} names {file}, which is not there; download all shards")
    return of_file


def _shards(folder: Path, index: str, read: Reader) -> list[tuple[Path, dict[str, Tensor]]]:
    shards = []
    for file, names in _named(folder, index).items():
        tensors = read(folder / file)
        for name in names:
            if name not in tensors:
                raise ModelError(f"{index}: {name} is not in {file}, where the index says that it is")
        shards.append((folder / file, {name: tensors[name] for name in names}))
    return shards


# -------------------------------------------------------------------------------------------------------- safetensors


def read_safetensors(path: Path) -> dict[str, Tensor]:
    """Name -> tensor, from the header alone. Raises ModelError, OSError."""
    size = path.stat().st_size
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        if not 2 <= length <= min(_MAX_HEADER_BYTES, size - 8):
            raise _damaged(path, _pointer(path) or f"it has {size} bytes and a header of {length}")
        header = file.read(length)
    try:
        entries = parsed_json(header)
        if not isinstance(entries, dict):
            raise ModelError("the header is no JSON object")
        entries.pop("__metadata__", None)
        begin = 8 + length
        tensors = {name: _tensor(name, entry, begin) for name, entry in entries.items()}
        _check_that_they_fill(tensors, begin, size)
    except (ValueError, RecursionError, ModelError) as error:
        raise _damaged(path, str(error)) from None
    return tensors


def _tensor(name: str, entry: object, begin: int) -> Tensor:
    if not isinstance(entry, dict):
        raise ModelError(f"{name}: expected an object, got {type(entry).__name__}")
    dtype, shape, offsets = entry.get("dtype"), entry.get("shape"), entry.get("data_offsets")
    if not isinstance(dtype, str) or dtype not in BITS:
        raise ModelError(f"{name}: dtype is {str(dtype)[:40]!r}; known are {', '.join(BITS)}")
    if not _are_counts(shape):
        raise ModelError(f"{name}: shape: expected a list of sizes")
    if not _are_counts(offsets) or len(offsets) != 2 or offsets[0] > offsets[1]:
        raise ModelError(f"{name}: data_offsets: expected a beginning and an end")
    bits = math.prod(shape) * BITS[dtype]
    if bits != 8 * (offsets[1] - offsets[0]):
        raise ModelError(f"{name}: {offsets[1] - offsets[0]} bytes for {shape} numbers of {dtype}")
    return Tensor(dtype, shape, begin + offsets[0], offsets[1] - offsets[0])


def _are_counts(value: object) -> TypeGuard[list[int]]:
    return isinstance(value, list) and len(value) <= 16 and all(map(_is_count, value))


def _is_count(value: object) -> bool:
    return type(value) is int and 0 <= value < 2**63


def _check_that_they_fill(tensors: dict[str, Tensor], begin: int, size: int) -> None:
    """As the format demands: no byte belongs to two tensors, or to none."""
    end = begin
    for name, tensor in sorted(tensors.items(), key=lambda item: (item[1].offset, item[1].size)):
        if tensor.offset != end:
            raise ModelError(f"{name} begins at byte {tensor.offset}, not where the tensor before it ends, at {end}")
        end += tensor.size
    if end != size:
        raise ModelError(f"the tensors end at byte {end}, the file has {size}")


def _pointer(path: Path) -> str | None:
    """What is to be done about the pointer that git leaves in a file's place without git-lfs."""
    with path.open("rb") as file:
        is_pointer = file.read(40).startswith(b"version https://git-lfs")
    return "it is a pointer of Git LFS, not the weights: run `git lfs pull` in the folder" if is_pointer else None


def _damaged(path: Path, why: str) -> ModelError:
    return ModelError(f"{path.name} is damaged or cut short: {why}")
