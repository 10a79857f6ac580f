"""GGUF files give the texts of the folders that they were made from, and bad ones are refused by name."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import random
import struct
from typing import TYPE_CHECKING, Any

import gguf
import numpy as np
import pytest
from gguf import GGMLQuantizationType as Type
from predictor.ttypes import ChatMessage

from ext import _generator
from server.errors import ModelError
from server.models.chat.conversation import conversation_of
from server.models.folder.generation.gguf import gguf_file
from tests.server.waiting import result
from tests.support.folders import generated, gguf_files, language_models, served
from tests.support.llama_cpp.models import write_llama
from tests.support.llama_cpp.server import LlamaServer

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.support.folders.language_models import LanguageModel

pytestmark = pytest.mark.slow

TOKENS = 24
PROMPTS = 6

_NAMES = (
    *("Llama", "Llama: llama3 positions, tied", "Llama: linear positions", "Llama: yarn positions"),
    *("Mistral: no window", "Qwen2", "Qwen2: tied", "Qwen3", "Qwen3 MoE", "Gemma 2", "Gemma 3", "Phi-3"),
)


def _rows() -> list[LanguageModel]:
    """In such files Gemma's queries are scaled by the size of a head, and all layers have experts."""
    rows = [row for row in language_models.ROWS if row.name in _NAMES]
    return [dataclasses.replace(row, fields=row.fields | _as_in_files(row.fields)) for row in rows]


def _as_in_files(fields: dict[str, Any]) -> dict[str, Any]:
    if "query_pre_attn_scalar" in fields:
        return {"query_pre_attn_scalar": fields["head_dim"]}
    return {"mlp_only_layers": []} if "num_experts" in fields else {}


def _row(name: str, **fields: Any) -> LanguageModel:
    (row,) = (row for row in _rows() if row.name == name)
    return dataclasses.replace(row, fields=row.fields | fields)


@pytest.mark.parametrize("row", _rows(), ids=str)
async def test_texts_are_those_of_the_folder(row: LanguageModel, tmp_path: Path) -> None:
    row.write(tmp_path / "folder")
    gguf_files.write(tmp_path / "folder", tmp_path / "model.gguf")
    right = generated.wanted(tmp_path / "folder", PROMPTS)
    clear = generated.clear(right.texts)
    assert len(clear) > PROMPTS // 2
    ends = gguf_file.read(tmp_path / "model.gguf").end_tokens
    async with served.loaded(tmp_path / "model.gguf") as model:
        answers = await generated.given(model, [text.prompt for text in clear])
        assert model.details["format"] == "GGUF"
    for text, answer in zip(clear, answers, strict=True):
        assert answer.tokens == text.tokens, text.prompt
        assert answer.generated == _to_the_end(text.generated, ends), text.prompt
    assert _error(tmp_path / "model.gguf", right) <= generated.MOST_ROUNDING


def _to_the_end(tokens: list[int], ends: list[int]) -> list[int]:
    """Up to the first token that ends a text: <|endoftext|> does in a file, whatever else the folder names."""
    count = next((index + 1 for index, token in enumerate(tokens) if token in ends), len(tokens))
    return tokens[:count]


def _error(path: Path, right: generated.Right) -> float:
    read = gguf_file.read(path)
    return generated.error_of(read, right, "float32")


_BLOCKS = (Type.Q4_0, Type.Q4_1, Type.Q5_0, Type.Q5_1, Type.Q8_0, Type.F16, Type.BF16)
_SUPER_BLOCKS = (Type.Q2_K, Type.Q3_K, Type.Q4_K, Type.Q5_K, Type.Q6_K)


@pytest.mark.parametrize("kind", [*_BLOCKS, *_SUPER_BLOCKS], ids=lambda kind: kind.name)
def test_numbers_in_blocks(kind: Type, tmp_path: Path) -> None:
    sizes = {"hidden_size": 256, "intermediate_size": 512, "num_hidden_layers": 1}
    _row("Llama", **sizes).write(tmp_path / "folder")
    gguf_files.write(tmp_path / "folder", tmp_path / "model.gguf", kind, tmp_path / "reference")
    assert gguf_file.read(tmp_path / "model.gguf").details["weights"] == kind.name
    assert _error(tmp_path / "model.gguf", generated.wanted(tmp_path / "reference", 2)) <= generated.MOST_ROUNDING


async def test_texts_and_conversations_are_those_of_llama_cpp(tmp_path: Path) -> None:
    path = write_llama(tmp_path / "model.gguf")
    async with served.loaded(path) as model:
        with LlamaServer(path) as peer:
            for prompt in ("the thin and the", "Anna, 1234!", "an  ou re\n\t世界", "<|im_start|>user\nHi<|im_end|>\n"):
                asked = {"prompt": prompt, "n_predict": TOKENS, "temperature": 0, "cache_prompt": False}
                theirs = peer.ask("/completion", json.dumps(asked | {"return_tokens": True}))
                (ours,) = await generated.given(model, [prompt])
                assert peer.ask("/tokenize", json.dumps({"content": prompt}))["tokens"] == ours.tokens
                assert theirs["tokens"] == ours.generated[:TOKENS]
            messages = [("user", "the day"), ("assistant", " again"), ("user", "in")]
            given = [{"role": role, "content": content} for role, content in messages]
            theirs = peer.ask("/apply-template", json.dumps({"messages": given}))
            conversation = conversation_of([ChatMessage(*message) for message in messages], None)
            rendered, _ = await result(model.chat_text(conversation, served.context()))
            assert rendered == theirs["prompt"]
            peer.kill()


# ----------------------------------------------------------------------------------------------------------- bad files


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("gguf")
    _row("Qwen2").write(folder / "folder")
    gguf_files.write(folder / "folder", folder / "model.gguf")
    return folder / "model.gguf"


def _opened(path: Path) -> None:
    """As the server opens it, with its engine."""
    read = gguf_file.read(path)
    _generator.text_logits(read.config, read.weights.files, read.weights.tensors, [1, 2])


def test_files_that_are_cut_short(good: Path, tmp_path: Path) -> None:
    content = good.read_bytes()
    for end in [*range(4, 200), *random.Random(1).sample(range(200, len(content) - 1), 60), len(content) - 1]:
        (tmp_path / "cut.gguf").write_bytes(content[:end])
        with pytest.raises(ModelError, match=r"cut\.gguf is damaged or cut short: "):
            _opened(tmp_path / "cut.gguf")


def test_bytes_that_are_others(good: Path, tmp_path: Path) -> None:
    """Whatever is wrong is an error with a reason: of the file, the configuration or a weight."""
    content = good.read_bytes()
    draw = random.Random(2)
    header = gguf_file.header.read(good)
    end = min(tensor.offset for tensor in header.tensors.values())
    refused = 0
    for _ in range(300):
        changed = bytearray(content)
        place = draw.randrange(4, end)
        changed[place : place + 8] = draw.randbytes(draw.choice([1, 8]))
        (tmp_path / "other.gguf").write_bytes(bytes(changed))
        with contextlib.suppress(ModelError, _generator.ModelError, ValueError):
            _opened(tmp_path / "other.gguf")
            continue
        refused += 1
    assert refused > 100


def _changed(path: Path, good: Path, change: Callable[[gguf.GGUFWriter], None], architecture: str = "qwen2") -> Path:
    """A file of the same tensors with further metadata, which take the place of what is there."""
    reader = gguf.GGUFReader(good)
    writer = gguf.GGUFWriter(path, architecture)
    change(writer)
    for name, field in reader.fields.items():
        if name.startswith(("GGUF.", "general.architecture")) or any(name in each for each in writer.kv_data):
            continue
        kinds = field.types
        inner = kinds[1] if len(kinds) > 1 else None
        writer.add_key_value(name, field.contents(), kinds[0], sub_type=inner)
    for tensor in reader.tensors:
        writer.add_tensor(tensor.name, tensor.data, raw_dtype=tensor.tensor_type)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda writer: writer.add_uint32("qwen2.expert_count", 4), "qwen2.expert_count is 4, which is not known here"),
        (lambda writer: writer.add_tokenizer_pre("default"), "tokenizer.ggml.pre is 'default'; served are gpt-2, "),
        (lambda writer: writer.add_tokenizer_model("rwkv"), "tokenizer.ggml.model is 'rwkv'; served are gpt2, llama"),
        (lambda writer: writer.add_string("qwen2.block_count", "two"), "qwen2.block_count: expected int, got str"),
        (lambda writer: writer.add_bos_token_id(1 << 20), "tokenizer.ggml.bos_token_id is 1048576, over the"),
        (lambda writer: writer.add_causal_attention(False), "qwen2.attention.causal is not true"),
        (lambda writer: writer.add_rope_dimension_count(8), "qwen2.rope.dimension_count is not 16"),
        (
            lambda writer: writer.add_string("qwen2.rope.scaling.type", "longrope"),
            "rope.scaling.factor: expected float",
        ),
        (lambda writer: writer.add_token_types([1]), "tokenizer.ggml.token_type has 1 items for"),
        (lambda writer: writer.add_token_merges(["a b c"]), "tokenizer.ggml.merges: 'a b c' is no pair"),
        (
            lambda writer: writer.add_tensor("blk.0.attn_sinks", np.ones(1, np.float32)),
            "the tensor blk.0.attn_sinks is not known here",
        ),
    ],
)
def test_what_is_not_served(good: Path, tmp_path: Path, change: Callable[[Any], None], reason: str) -> None:
    path = _changed(tmp_path / "changed.gguf", good, change)
    with pytest.raises(ModelError, match=r"changed\.gguf: ") as raised:
        gguf_file.read(path)
    assert reason in str(raised.value)


def test_other_architectures_and_types_are_named(good: Path, tmp_path: Path) -> None:
    path = _changed(tmp_path / "other.gguf", good, lambda _writer: None, "mamba")
    with pytest.raises(ModelError, match=r"general.architecture is 'mamba'; of GGUF files served are llama, qwen2, "):
        gguf_file.read(path)
    content = good.read_bytes()
    name = b"blk.0.attn_q.weight"
    place = content.index(name) + len(name) + 4 + 2 * 8  # behind dimensions and sizes
    (tmp_path / "type.gguf").write_bytes(content[:place] + struct.pack("<I", 16) + content[place + 4 :])
    with pytest.raises(
        ModelError, match=r"blk.0.attn_q.weight is of ggml's type 16, which is not served; served are F32"
    ):
        gguf_file.read(tmp_path / "type.gguf")
