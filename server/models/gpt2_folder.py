"""GPT-2 as a folder: what Hugging Face's libraries save, what scripts/convert_generator.py makes of it, and the layout
{tokenizer,model} below one folder."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import safetensors
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers

from server.errors import ModelError
from server.models.formats import GENERATOR_JSON, model_folder, read_json
from server.models.tokenizer import open_tokenizer

if TYPE_CHECKING:
    from pathlib import Path

    Weight = tuple[str, list[int], bytes | bytearray]

FORMAT = 1
PRECISIONS = ("float32", "bfloat16", "int8")
_MAX_SIZE = 1 << 20  # of each size, so that what is made for each is bounded; the engine checks them again
_ACTIVATIONS = ("gelu_new", "gelu_pytorch_tanh")
_SIZES = {
    "layers": "n_layer",
    "heads": "n_head",
    "hidden_size": "n_embd",
    "context": "n_positions",
    "vocabulary": "vocab_size",
}
_DTYPES = {"torch.float32": "F32", "torch.float16": "F16", "torch.bfloat16": "BF16"}


@dataclass(slots=True)
class Gpt2Folder:
    """What is in the folder, checked as far as can be without the weights' sizes, which the engine checks."""

    sizes: dict[str, Any]
    """As ext._generator.GeneratorEngine takes them."""
    precision: str
    weights: dict[str, Weight]
    """name -> (type as in safetensors, shape, bytes), named as ext/architectures/gpt2_model.h says."""
    tokenizer: Any
    token_bytes: list[bytes]
    """Of each token; empty for special ones."""
    end_tokens: list[int]
    first_token: int | None
    """What an empty prompt begins with."""
    config: dict[str, Any]
    """config.json as it is."""


def read(path: Path) -> Gpt2Folder:
    """Everything in the folder. Raises ModelError, OSError."""
    folder = model_folder(path)
    config = read_json(folder / "config.json")
    precision = _precision(path)
    sizes = _sizes(config)
    tokenizer = _tokenizer(path, config)
    ends = _end_tokens(folder, config)
    first = config.get("bos_token_id")
    if first is None and ends:
        first = ends[0]
    for token in [*ends, *([] if first is None else [first])]:
        if not (isinstance(token, int) and 0 <= token < sizes["vocabulary"]):
            raise ModelError(f"config.json: {token!r} is not a token of the vocabulary of {sizes['vocabulary']}")
    token_bytes = _token_bytes(tokenizer, sizes["vocabulary"])
    return Gpt2Folder(sizes, precision, read_weights(folder), tokenizer, token_bytes, ends, first, config)


def check(path: Path) -> None:
    """Raise ModelError for what `read` would refuse before it looks at the weights. OSError too."""
    config = read_json(model_folder(path) / "config.json")
    _precision(path)
    _sizes(config)
    _tokenizer(path, config)


def read_weights(folder: Path) -> dict[str, Weight]:
    """The weights of *.safetensors, or else of pytorch_model.bin. Raises ModelError, OSError."""
    files = sorted(folder.glob("*.safetensors"))
    pickled = folder / "pytorch_model.bin"
    if not files and not pickled.is_file():
        raise ModelError("there are no weights: expected model.safetensors or pytorch_model.bin")
    found = _pickled(pickled) if not files else {}
    for file in files:
        try:
            tensors = safetensors.deserialize(file.read_bytes())
        except safetensors.SafetensorError as error:
            raise ModelError(f"{file.name} is damaged or cut short: {error}") from None
        for name, tensor in tensors:
            found[name] = (tensor["dtype"], list(tensor["shape"]), tensor["data"])
    return _renamed(found)


def _renamed(weights: dict[str, Weight]) -> dict[str, Weight]:
    """Without Hugging Face's prefix, its constant masks, and the output's matrix where that is the embeddings again."""
    renamed = {}
    for name, weight in weights.items():
        short = name.removeprefix("transformer.")
        tied = short == "lm_head.weight" and weight[0] != "I8"
        if not tied and not short.endswith((".attn.bias", ".attn.masked_bias")):
            renamed[short] = weight
    return renamed


def _pickled(path: Path) -> dict[str, Weight]:
    """Of a file of torch.save; torch's Python part is loaded for that alone."""
    try:
        from torch import load, strided, uint8
    except ImportError:  # as in the image, which has libtorch alone
        raise ModelError(
            f"{path.name} is read by torch's Python part, which is not installed: save the weights as safetensors"
        ) from None
    try:
        tensors = load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # whatever a damaged file makes of pickle and zip
        lines = str(error).splitlines() or [type(error).__name__]
        raise ModelError(f"{path.name} is damaged or no file of weights: {lines[0]}") from None
    if not isinstance(tensors, dict):
        raise ModelError(f"{path.name} holds no weights by name")
    weights: dict[str, Weight] = {}
    for name, tensor in tensors.items():
        dtype = _DTYPES.get(str(getattr(tensor, "dtype", None)))
        if isinstance(name, str) and dtype is not None and tensor.layout == strided:
            content = tensor.reshape(-1).contiguous().view(uint8).numpy().tobytes()
            weights[name] = (dtype, list(tensor.shape), content)
    return weights


def _precision(path: Path) -> str:
    if not (path / GENERATOR_JSON).exists():
        return "float32"
    marker = read_json(path / GENERATOR_JSON)
    if marker.get("format") != FORMAT:
        raise ModelError(f"{GENERATOR_JSON}: format is {marker.get('format')!r}; this server knows {FORMAT}")
    precision = marker.get("precision")
    if precision not in PRECISIONS:
        raise ModelError(f"{GENERATOR_JSON}: precision is {precision!r}; it must be one of {', '.join(PRECISIONS)}")
    return str(precision)


def _sizes(config: dict[str, Any]) -> dict[str, Any]:
    if config.get("model_type") != "gpt2":
        raise ModelError(f"config.json: model_type is {config.get('model_type')!r}; only gpt2 is served")
    served = {
        "activation_function": _ACTIVATIONS,
        "scale_attn_weights": (True,),
        "scale_attn_by_inverse_layer_idx": (False,),
        "add_cross_attention": (False,),
        "tie_word_embeddings": (True,),
    }
    for name, values in served.items():
        value = config.get(name, values[0])
        if value not in values:
            raise ModelError(f"config.json: {name} is {value!r}; only {', '.join(map(str, values))} is served")
    sizes: dict[str, Any] = {name: _size(config, key) for name, key in _SIZES.items()}
    if sizes["context"] < 2:
        raise ModelError("config.json: n_positions is 1; there is no room for a new token")
    return sizes | {
        "intermediate_size": 4 * sizes["hidden_size"] if config.get("n_inner") is None else _size(config, "n_inner"),
        "epsilon": config.get("layer_norm_epsilon", 1e-5),
    }


def _size(config: dict[str, Any], key: str) -> int:
    value = config.get(key)
    if not isinstance(value, int) or isinstance(value, bool) or not 1 <= value <= _MAX_SIZE:
        raise ModelError(f"config.json: {key}: expected a number from 1 to {_MAX_SIZE}, got {value!r}")
    return value


def _end_tokens(folder: Path, config: dict[str, Any]) -> list[Any]:
    ends = config.get("eos_token_id")
    if (folder / "generation_config.json").is_file():
        ends = read_json(folder / "generation_config.json").get("eos_token_id", ends)
    if ends is None:
        return []
    return list(ends) if isinstance(ends, list) else [ends]


def _tokenizer(path: Path, config: dict[str, Any]) -> Any:
    folder = path / "tokenizer" if (path / "tokenizer").is_dir() else path
    whole, vocabulary, merges = (folder / name for name in ("tokenizer.json", "vocab.json", "merges.txt"))
    if whole.is_file():
        tokenizer = open_tokenizer(lambda: Tokenizer.from_file(str(whole)))
    elif vocabulary.is_file() and merges.is_file():
        tokenizer = open_tokenizer(lambda: _of_merges(vocabulary, merges, config))
    else:
        raise ModelError(f"there is no tokenizer in {folder}: expected tokenizer.json, or vocab.json and merges.txt")
    decoder = json.loads(tokenizer.to_str())["decoder"]
    if not decoder or decoder["type"] != "ByteLevel":
        raise ModelError("the tokenizer is not of bytes (its decoder is not ByteLevel), as GPT-2's is")
    tokenizer.no_truncation()
    tokenizer.no_padding()
    return tokenizer


def _of_merges(vocabulary: Path, merges: Path, config: dict[str, Any]) -> Any:
    tokenizer = Tokenizer(models.BPE.from_file(str(vocabulary), str(merges)))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    end = config.get("eos_token_id")
    text = tokenizer.id_to_token(end) if isinstance(end, int) else None
    if text is not None:
        tokenizer.add_special_tokens([AddedToken(text, special=True)])
    return tokenizer


def _token_bytes(tokenizer: Any, size: int) -> list[bytes]:
    """The bytes of each token; none for special ones, and for rows of the vocabulary that no text leads to."""
    added = tokenizer.get_added_tokens_decoder()
    table = [b""] * size
    for text, token in tokenizer.get_vocab(with_added_tokens=True).items():
        if token >= size:
            raise ModelError(f"the tokenizer's token {token} is not in the model's vocabulary of {size}")
        if token not in added:
            table[token] = _bytes_of(text)
        elif not added[token].special:
            table[token] = text.encode()
    return table


def _byte_of_character() -> dict[str, int]:
    """GPT-2 writes a byte as the character of that number where it is visible in Latin-1, the others from 256 on."""
    shown = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    hidden = [byte for byte in range(256) if byte not in shown]
    return {chr(byte): byte for byte in shown} | {chr(256 + i): byte for i, byte in enumerate(hidden)}


_BYTES = _byte_of_character()


def _bytes_of(text: str) -> bytes:
    try:
        return bytes(_BYTES[character] for character in text)
    except KeyError as error:
        raise ModelError(f"the tokenizer's token {text!r} has a character that stands for no byte: {error}") from None
