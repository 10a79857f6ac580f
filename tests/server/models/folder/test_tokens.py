"""Tokens of texts and pairs: those of transformers, whatever the folder's files say."""

from __future__ import annotations

import json
import shutil
from typing import TYPE_CHECKING, Any

import pytest
from tokenizers import AddedToken, Tokenizer
from transformers import AutoTokenizer, PreTrainedTokenizerFast

from server.errors import ModelError
from server.models.folder import tokenizer_files
from server.models.folder.tokens import Encoded, FolderTokenizer
from tests.server.models.folder.tokenizers import (
    ROBERTA_SPECIAL,
    WORDS,
    change,
    write_byte_level,
    write_config,
    write_unigram,
    write_vocabulary,
)
from tests.support.folders import vocabularies
from tests.support.folders.architectures import ARCHITECTURES
from tests.support.sentences import texts

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

pytestmark = pytest.mark.slow  # for transformers

TEXTS = [*texts(60), "[MASK] a [SEP] B", "  the [PAD]", "hello <mask> you", "gloop"]


def opened(folder: Path, max_tokens: int = 24) -> FolderTokenizer:
    return FolderTokenizer(tokenizer_files.read(folder, config_of(folder)), max_tokens)


def config_of(folder: Path) -> dict[str, Any]:
    config: dict[str, Any] = json.loads((folder / "config.json").read_text())
    return config


def assert_as_transformers(folder: Path, max_tokens: int = 24) -> None:
    wanted, own = AutoTokenizer.from_pretrained(folder), opened(folder, max_tokens)
    left = own.truncates_left
    for index, text in enumerate(TEXTS):
        single = own.single(own.encode(text), left)
        assert single.ids == wanted(text, truncation=True, max_length=max_tokens)["input_ids"], text
        assert single.is_cut == (len(wanted(text)["input_ids"]) > max_tokens)
        second = TEXTS[(7 * index + 3) % len(TEXTS)]
        pair = own.pair(own.encode(text), own.encode(second), left)
        found = wanted([text], [second], truncation=True, max_length=max_tokens)
        assert pair.ids == found["input_ids"][0], (text, second)
        types = [0] * pair.second_begins + [1] * (len(pair.ids) - pair.second_begins)
        assert types == found.get("token_type_ids", [[0] * len(types)])[0]


def resaved(folder: Path) -> Path:
    """As save_pretrained writes it."""
    target = folder.parent / f"{folder.name}-resaved"
    AutoTokenizer.from_pretrained(folder).save_pretrained(target)
    shutil.copy(folder / "config.json", target)
    return target


@pytest.fixture
def bert(tmp_path: Path) -> Path:
    write_vocabulary(tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    "write",
    [
        write_vocabulary,
        lambda folder: write_vocabulary(folder, "distilbert"),
        lambda folder: write_vocabulary(folder, "electra"),
        lambda folder: write_vocabulary(folder, "mpnet", [*ROBERTA_SPECIAL, *WORDS]),
        write_byte_level,
        write_unigram,
    ],
    ids=["bert", "distilbert", "electra", "mpnet", "roberta", "xlm-roberta"],
)
def test_vocabularies_and_what_transformers_saves_of_them(tmp_path: Path, write: Callable[[Path], None]) -> None:
    write(tmp_path)
    assert_as_transformers(tmp_path)
    assert_as_transformers(resaved(tmp_path), 7)


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_every_architecture_s_tokenizer(tmp_path: Path, name: str) -> None:
    tokenizer = ARCHITECTURES[name].tokenizer(model_max_length=None)
    tokenizer.save_pretrained(tmp_path)
    ARCHITECTURES[name].configuration(tokenizer).save_pretrained(tmp_path)
    assert_as_transformers(tmp_path)


@pytest.mark.parametrize(
    "fields",
    [
        {"do_lower_case": False},
        {"strip_accents": False},
        {"tokenize_chinese_chars": False},
        {"truncation_side": "left"},
        {"model_input_names": ["input_ids", "attention_mask"]},
        {"tokenizer_class": "PreTrainedTokenizerFast"},
        {"split_special_tokens": True},
        {"additional_special_tokens": ["gloop"]},
        {"mask_token": "[MASKED]"},
        {"padding_side": "left", "pad_to_multiple_of": 8},
    ],
)
def test_what_tokenizer_config_changes(bert: Path, fields: dict[str, Any]) -> None:
    folder = resaved(bert)
    change(folder, "tokenizer_config.json", **fields)
    assert_as_transformers(folder)


def test_fields_that_change_the_answer_change_it(bert: Path) -> None:
    """Else the test above could not fail."""
    folder = resaved(bert)
    text = "Gloop THE É"
    before = opened(folder).encode(text).ids
    change(folder, "tokenizer_config.json", do_lower_case=False)
    assert opened(folder).encode(text).ids != before


@pytest.mark.parametrize("special", [False, True])
def test_added_tokens_in_tokenizer_json_and_beside_it(bert: Path, special: bool) -> None:
    tokenizer = AutoTokenizer.from_pretrained(bert)
    tokenizer.add_tokens([AddedToken("gloop", special=special), AddedToken("hello", lstrip=True)])
    tokenizer.save_pretrained(bert)
    assert_as_transformers(bert)
    decoder = {str(len(WORDS)): {"content": "gloop", "special": special}}
    content = json.loads((bert / "tokenizer.json").read_text())
    content["added_tokens"] = content["added_tokens"][:5]
    (bert / "tokenizer.json").write_text(json.dumps(content))
    change(bert, "tokenizer_config.json", added_tokens_decoder=decoder)
    assert_as_transformers(bert)


def test_a_prefix_space_of_roberta(tmp_path: Path) -> None:
    write_byte_level(tmp_path)
    folder = resaved(tmp_path)
    change(folder, "tokenizer_config.json", add_prefix_space=True)
    assert_as_transformers(folder)


def test_a_tokenizer_without_special_tokens(tmp_path: Path) -> None:
    write_unigram(tmp_path, "t5")
    content = json.loads((tmp_path / "tokenizer.json").read_text())
    (tmp_path / "tokenizer.json").write_text(json.dumps(content | {"post_processor": None}))
    own = opened(tmp_path)
    wanted = PreTrainedTokenizerFast(tokenizer_file=str(tmp_path / "tokenizer.json"))
    for text in TEXTS:
        assert own.single(own.encode(text)).ids == wanted(text, truncation=True, max_length=24)["input_ids"]


@pytest.mark.parametrize(("length", "wanted"), [(1e30, None), (int(1e30), None), (12, 12), (None, None)])
def test_model_max_length(bert: Path, length: float | None, wanted: int | None) -> None:
    folder = resaved(bert)
    change(folder, "tokenizer_config.json", model_max_length=length)
    assert tokenizer_files.read(folder, config_of(folder)).max_tokens == wanted


def test_long_texts_are_cut_without_reading_them_whole(bert: Path) -> None:
    own = opened(bert)
    text = "the weather " * 1000
    quick = own.quickly(text)
    assert quick is not None
    assert quick.is_part
    assert own.single(quick) == own.single(own.encode(text))
    assert own.quickly(text, whole=True) is None
    assert own.quickly("a" * 10_000) is None


def test_a_part_of_a_long_text_is_cut_as_the_whole(bert: Path) -> None:
    for max_tokens in (12, 13):
        own = opened(bert, max_tokens)
        text = "the weather " * 1000
        part = own.quickly(text)
        assert part is not None
        for other in ("", "a b c", "a b c d e f g h"):
            encoded = own.encode(other)
            assert own.pair(part, encoded) == own.pair(own.encode(text), encoded)
            assert own.pair(encoded, part) == own.pair(encoded, own.encode(text))


def test_windows_hold_the_whole_text(bert: Path) -> None:
    own = opened(bert, 10)
    for text in ("", "the", "the " * 8, "the " * 9, "the weather ? " * 20):
        encoded = own.encode(text)
        for before in ([], [7, 8, 9]):
            windows = own.windows(encoded, before)
            room = 8 - len(before)
            assert [id_ for window, _ in windows for id_ in window.ids[1 + len(before) : -1]] == encoded.ids
            assert all(window.ids[1 : 1 + len(before)] == before for window, _ in windows)
            assert all(len(window.ids) <= 10 and not window.is_cut for window, _ in windows)
            assert [count for _, count in windows] == [len(window.ids) - 2 - len(before) for window, _ in windows]
            assert len(windows) == max(1, -(-len(encoded.ids) // room))


def test_prompts_are_counted_without_the_last_special_token(bert: Path) -> None:
    own = opened(bert)
    assert own.prompt_tokens("the weather ") == 3
    assert own.prompt_tokens("") == 1


def test_pairs_are_cut_at_the_left_too(bert: Path) -> None:
    own = opened(bert, 9)
    pair = own.pair(Encoded([10, 11, 12, 13, 14]), Encoded([20, 21, 22]), left=True)
    assert pair.ids == [2, 12, 13, 14, 3, 20, 21, 22, 3]
    assert (pair.second_begins, pair.is_cut) == (5, True)


# ---------------------------------------------------------------------------------------------------------- refusals


def test_files_of_sentencepiece_alone(tmp_path: Path) -> None:
    (tmp_path / "sentencepiece.bpe.model").write_bytes(b"\n")
    with pytest.raises(ModelError) as caught:
        tokenizer_files.read(tmp_path, {"model_type": "xlm-roberta"})
    assert "sentencepiece.bpe.model (SentencePiece) is not read; save it as tokenizer.json" in str(caught.value)


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        (
            {"lower_everything": 1},
            "tokenizer_config.json: lower_everything is not known here, and may change answers",
        ),
        ({"lower_everything": 1}, "name the model with ,ignore=lower_everything behind its folder"),
        ({"model_max_length": "many"}, "model_max_length: expected a number of tokens, got 'many'"),
        ({"truncation_side": "middle"}, "truncation_side is 'middle'; expected left or right"),
        ({"do_lower_case": "yes"}, "do_lower_case: expected true or false, got 'yes'"),
        ({"tokenizer_class": 3}, "tokenizer_class: expected a string, got 3"),
        ({"cls_token": 3}, "cls_token: expected a token, got 3"),
        ({"extra_special_tokens": 3}, "extra_special_tokens: expected a list, got 3"),
        ({"added_tokens_decoder": {"a": {}}}, "added_tokens_decoder: expected tokens by their ids"),
        ({"added_tokens_decoder": {"5000": {"content": "x"}}}, "'x' cannot have the id 5000"),
        ({"tokenizer_class": "AlbertTokenizer", "keep_accents": True, "do_lower_case": None}, None),
        ({"tokenizer_class": "DebertaV2Tokenizer", "split_by_punct": True, "do_lower_case": None}, None),
    ],
)
def test_settings_that_are_refused(bert: Path, fields: dict[str, Any], reason: str | None) -> None:
    folder = resaved(bert)
    change(folder, "tokenizer_config.json", **fields)
    if reason is None:
        tokenizer_files.read(folder, config_of(folder))  # BertNormalizer has its own say of these
        return
    with pytest.raises(ModelError) as caught:
        tokenizer_files.read(folder, config_of(folder))
    assert reason in str(caught.value)


def test_settings_that_tokenizer_json_contradicts(tmp_path: Path) -> None:
    write_unigram(tmp_path, "deberta-v2")
    (tmp_path / "tokenizer_config.json").write_text(json.dumps({"split_by_punct": True}))
    with pytest.raises(ModelError, match="split_by_punct is True, which"):
        opened(tmp_path)
    (tmp_path / "tokenizer_config.json").write_text(json.dumps({"do_lower_case": True}))
    own = opened(tmp_path)
    assert own.encode("THE Weather").ids == own.encode("the weather").ids


def test_an_unknown_field_can_be_ignored(bert: Path) -> None:
    folder = resaved(bert)
    change(folder, "tokenizer_config.json", lower_everything=True)
    tokenizer_files.read(folder, config_of(folder), {"lower_everything"})


def test_no_room_for_a_text(bert: Path) -> None:
    with pytest.raises(ModelError, match="2 tokens leave no room for a text"):
        opened(bert, 2)


@pytest.mark.parametrize("content", [b"", b"{}", b"\xff", b"[" * 10_000])
def test_a_broken_tokenizer_json(bert: Path, content: bytes) -> None:
    (bert / "tokenizer.json").write_bytes(content)
    with pytest.raises(ModelError, match="tokenizer cannot be read"):
        opened(bert)


# ------------------------------------------------------------------------------------------ vocabularies of generators


def without_tokenizer_json(folder: Path) -> None:
    """As older folders are: vocab.json and merges.txt."""
    Tokenizer.from_file(str(folder / "tokenizer.json")).model.save(str(folder))
    (folder / "tokenizer.json").unlink()


def assert_prompts_as_transformers(folder: Path) -> None:
    wanted, own = AutoTokenizer.from_pretrained(folder), tokenizer_files.read(folder, config_of(folder)).tokenizer
    for text in [*TEXTS, " leads", "  two", "<s> a", "<|endoftext|> b <|im_end|>x<|user|>  y", "<think>a", "▁b"]:
        assert own.encode(text).ids == wanted(text)["input_ids"], text


PROMPTS = [
    ("gpt2", "gpt2"),
    ("gpt2", "gptj"),
    ("opt", "opt"),
    ("gpt_neox", "gpt_neox"),
    ("qwen_generator", "qwen3"),
    ("llama2", "llama"),
    ("llama2", "mistral"),
    ("llama3", "llama"),
    ("phi3", "phi3"),
    ("gemma_generator", "gemma2"),
    ("unigram", "llama"),
]


@pytest.mark.parametrize(("vocabulary", "model_type"), PROMPTS, ids=["-".join(row) for row in PROMPTS])
def test_prompts_of_every_form(tmp_path: Path, vocabulary: str, model_type: str) -> None:
    getattr(vocabularies, vocabulary)().save_pretrained(tmp_path)
    write_config(tmp_path, model_type)
    assert_prompts_as_transformers(tmp_path)


@pytest.mark.parametrize(
    ("vocabulary", "model_type", "fields"),
    [
        ("gpt2", "gpt2", {}),
        ("gpt2", "gpt_neo", {"tokenizer_class": None}),
        ("gpt2", "phi", {"tokenizer_class": "CodeGenTokenizer"}),
        ("gpt2", "gpt2", {"add_bos_token": True, "add_eos_token": True}),
        ("opt", "opt", {"add_bos_token": True}),
        ("qwen_generator", "qwen2", {"extra_special_tokens": None, "eos_token": "<|endoftext|>"}),
    ],
)
def test_vocabularies_of_byte_pairs(tmp_path: Path, vocabulary: str, model_type: str, fields: dict[str, Any]) -> None:
    getattr(vocabularies, vocabulary)().save_pretrained(tmp_path)
    without_tokenizer_json(tmp_path)
    change(tmp_path, "tokenizer_config.json", **fields)
    write_config(tmp_path, model_type)
    assert_prompts_as_transformers(tmp_path)


def test_added_tokens_json(tmp_path: Path) -> None:
    """Of folders that older versions wrote: beside the vocabulary, special where special_tokens_map.json says so."""
    vocabularies.gpt2().save_pretrained(tmp_path)
    without_tokenizer_json(tmp_path)
    write_config(tmp_path, "gpt2")
    (tmp_path / "tokenizer_config.json").write_text(json.dumps({"tokenizer_class": "GPT2Tokenizer"}))
    size = len(json.loads((tmp_path / "vocab.json").read_text()))
    added = {"<|user|>": size, "[[harbour]]": size + 1, "<pad>": size + 2}
    (tmp_path / "added_tokens.json").write_text(json.dumps(added))
    (tmp_path / "special_tokens_map.json").write_text(
        json.dumps({"pad_token": "<pad>", "extra_special_tokens": ["<|user|>"]})
    )
    own = tokenizer_files.read(tmp_path, config_of(tmp_path)).tokenizer
    wanted = AutoTokenizer.from_pretrained(tmp_path)
    for text in ("a [[harbour]] b", "<|user|>a<pad>", "[[harbour]]", "a  <|user|> [[harbour]]"):
        assert own.encode(text).ids == wanted(text)["input_ids"]
        for skip in (True, False):
            assert own.decode(own.encode(text).ids, skip_special_tokens=skip) == wanted.decode(
                wanted(text)["input_ids"], skip_special_tokens=skip
            )
    assert own.encode("<|user|>a[[harbour]]").ids[::2] == [size, size + 1]
    (tmp_path / "added_tokens.json").write_text(json.dumps({"<|user|>": "600"}))
    with pytest.raises(ModelError, match=r"added_tokens.json: '<\|user\|>': expected an id, got '600'"):
        tokenizer_files.read(tmp_path, config_of(tmp_path))
    (tmp_path / "added_tokens.json").write_text(json.dumps({"<|user|>": size + 7}))
    with pytest.raises(ModelError, match=f"cannot have the id {size + 7}"):
        tokenizer_files.read(tmp_path, config_of(tmp_path))


@pytest.mark.parametrize("fields", [{}, {"legacy": True}, {"legacy": None}, {"add_prefix_space": False}])
def test_older_files_of_llama_2(tmp_path: Path, fields: dict[str, Any]) -> None:
    """tokenizer.json puts ▁ before a text by its normaliser; transformers' class does it in its own way."""
    vocabularies.phi3().save_pretrained(tmp_path)
    change(tmp_path, "tokenizer_config.json", tokenizer_class="LlamaTokenizer", **fields)
    write_config(tmp_path, "llama")
    assert_prompts_as_transformers(tmp_path)
