"""What is said of a location that holds no model that is served: what it is, and the step that helps."""

from __future__ import annotations

import zipfile
from typing import TYPE_CHECKING, Any

from server.hub.location import is_name
from server.models.formats import ADAPTER_JSON
from server.models.zip_archive import open_zip

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

FOLDER_HELP = "name the folder that save_pretrained wrote, with its config.json, weights and tokenizer"

GGUF_HELP = (
    "serve the folder that the file was made from, if its architecture is served (docs/models.md), or the file by"
    " llama.cpp's server, and name that: openai://HOST:PORT/MODEL"
)

SERVER_HELP = (
    "an address, not a model: openai://HOST:PORT/MODEL (openais:// for TLS) names one of a server that speaks OpenAI's"
    " API, tfserving://HOST:PORT/NAME one of a TensorFlow server (docs/upstream.md, docs/tensorflow.md)"
)

ONNX_HELP = "ONNX needs the package onnxruntime: `make setup-onnx`, or `pip install onnxruntime`"
EXPORT_HELP = (
    "`python scripts/export_model.py FOLDER OUT` makes a package of the model, which is served (docs/export.md)"
)

_DECODER_HELP = (
    "run it by a server that has it, such as text-generation-inference, and name that, openai://HOST:PORT/MODEL"
    " (docs/upstream.md), or serve a decoder that does the same (docs/models.md#generators)"
)

# Weights of other frameworks, by their files' names.
_OTHER_WEIGHTS = {
    "tf_model.h5": "TensorFlow",
    "flax_model.msgpack": "Flax",
    "rust_model.ot": "rust-bert",
}


def no_such_location(location: str) -> str:
    """Of what does not exist."""
    if location.startswith(("http://", "https://")):
        return SERVER_HELP
    if "/" in location and is_name(location):
        return (
            f"no such folder. Is it a name on the Hugging Face hub? Then it is hf://{location}; or get its folder by"
            f" `python scripts/download_model.py {location}`"
        )
    return "no such file or folder"


def architecture_not_served(config: dict[str, Any], served: Sequence[str]) -> str:
    """Of a folder whose weights the engine cannot read; `config`: its config.json."""
    architecture = f"its architecture is {config.get('model_type')!r} (model_type in config.json)"
    if config.get("is_encoder_decoder") is True:
        return f"{architecture}, an encoder with a decoder, which does not generate here: {_DECODER_HELP}"
    return f"{architecture}; served are {', '.join(served)}. {EXPORT_HELP}"


def file_of_no_kind(path: Path) -> str:
    """Of a file."""
    with path.open("rb") as file:
        begin = file.read(8)
    suffix = path.suffix.lower()
    if suffix == ".onnx":
        return "an ONNX file alone: name the folder that holds it, with its config.json and tokenizer.json"
    if suffix == ".pt2":
        return "a package of torch.export: name the folder that holds it as model.pt2, with its tokenizer.json"
    if suffix in (".safetensors", ".bin", ".json", ".txt", ".model"):
        return f"a file of a folder's; {FOLDER_HELP}"
    if suffix in (".pkl", ".pickle", ".joblib"):
        return "a pickle, which would run whatever code it holds: it is not read"
    if begin[:1] == b"\x80" or _is_torch_save(path):
        return (
            "a file of torch.save, which holds weights without their model: export the model by torch.jit.script or"
            f" torch.jit.trace, or {FOLDER_HELP}"
        )
    return "no kind of model that this server knows; expected a TorchScript, TensorFlow Lite or GGUF file"


def _is_torch_save(path: Path) -> bool:
    try:
        with open_zip(path) as archive:
            return any(name.endswith("/data.pkl") for name in archive.namelist())
    except zipfile.BadZipFile:
        return False


def folder_of_no_kind(path: Path) -> str:
    """Of a folder."""
    if (path / "encoder.json").is_file():
        return (
            "a sentence encoder that an earlier version exported, which is not read any more: serve the folder that it"
            " was exported from; for the demo's encoder run `python scripts/fetch_models.py encoder`"
        )
    snapshots = sorted(path.glob("snapshots/*/config.json"))
    if snapshots:
        return f"the hub's cache of a model: name the folder in it, {snapshots[-1].parent}"
    if (path / ADAPTER_JSON).is_file():
        return f"an adapter (PEFT) without its model: {merge_help(path)}"
    if found := _first(path, "*.gguf"):
        return f"{found} is a GGUF file, which is served by itself: name the file"
    if found := _first(path, "*.onnx", "onnx/*.onnx"):
        return f"{found}: ONNX is read where its config.json and tokenizer.json are in the folder; {FOLDER_HELP}"
    below = sorted(folder.parent for folder in path.glob("*/config.json"))
    if below:
        return f"there is no config.json in it; name the folder itself, such as {below[0]}"
    return f"no kind of model that this server knows is in this folder; {FOLDER_HELP}"


def merge_help(path: Path) -> str:
    """How an adapter becomes a folder of its own."""
    return (
        'merge them, python -c "from peft import AutoPeftModel as M; '
        f"M.from_pretrained('{path}').merge_and_unload().save_pretrained('OUT')\", and put the tokenizer beside it"
    )


def pickled_head(path: Path) -> str | None:
    """Of a folder of SetFit, whose labels would be lost; None: it has none."""
    for name in ("model_head.pkl", "model_head.joblib"):
        if (path / name).is_file():
            return (
                f"a SetFit model: its labels are in {name}, a pickle of scikit-learn, which is not read. Move it away"
                " to serve the vectors alone, or train a sequence classifier (AutoModelForSequenceClassification)"
            )
    return None


def quantized(about: dict[str, Any], why: str = "") -> str:
    """Of a config.json whose weights are whole numbers of a few bits already, in a form that is not read.

    `about`: its quantization_config. `why`: what in it is not served, where it is that alone.
    """
    method = str(about.get("quant_method", "an unknown form"))
    bits = about.get("bits") or next((size for size in (4, 8) if about.get(f"load_in_{size}bit")), None)
    form = f"{method}, {bits} bits" if bits else method
    return (
        f"its weights are quantised already ({form}; quantization_config in config.json), which is not read"
        f"{f' where {why}' if why else ''}: serve the folder that they were made from, with ,precision=int8 or"
        " ,precision=int4 behind it, or one quantised by GPTQ or AWQ (docs/generation.md)"
    )


def no_weights(path: Path) -> str:
    """Of a folder with a config.json and without weights that are read."""
    expected = "expected model.safetensors or pytorch_model.bin, or the index of their shards"
    for name, framework in _OTHER_WEIGHTS.items():
        if (path / name).is_file():
            return f"its weights are {name}, {framework}'s, which are not read; save it from PyTorch as safetensors"
    if found := _first(path, "*.onnx", "onnx/*.onnx"):
        if found in ("model.onnx", "onnx/model.onnx"):
            return f"its weights are ONNX ({found}), which is served of folders of one's own, not of a hub"
        return f"of ONNX model.onnx is read, or onnx/model.onnx; {found} needs that name"
    if (path / ADAPTER_JSON).is_file() or _first(path, "*.gguf"):
        return folder_of_no_kind(path)
    if found := _first(path, "*.safetensors", "*.bin", "*.pt", "*.pth"):
        return f"there are no weights in it that are read: {expected}, not {found}"
    return f"there are no weights in it: {expected}"


def _first(path: Path, *patterns: str) -> str | None:
    """The path of a file that fits, from the folder on."""
    found = sorted(str(file.relative_to(path)) for pattern in patterns for file in path.glob(pattern))
    return found[0] if found else None
