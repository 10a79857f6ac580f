"""What tokens write: as the tokenizers library decodes them, in every form that is served."""

from __future__ import annotations

import json
import random
from typing import TYPE_CHECKING, Any

import pytest
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers

from server.errors import ModelError
from server.models.folder.generation import token_bytes
from tests.support import sentences
from tests.support.folders import vocabularies

if TYPE_CHECKING:
    from collections.abc import Callable

pytestmark = pytest.mark.slow  # for transformers

FORMS = ("gpt2", "opt", "gpt_neox", "qwen_generator", "llama2", "llama3", "phi3", "gemma_generator", "unigram")
STRIPS = {"llama2", "phi3", "unigram"}


def tokenizer_of(form: str) -> Any:
    return getattr(vocabularies, form)().backend_tokenizer


@pytest.mark.parametrize("form", FORMS)
def test_a_continuation_is_what_the_library_decodes_behind_the_prompt(form: str) -> None:
    tokenizer = tokenizer_of(form)
    found = token_bytes.read(tokenizer, tokenizer.get_vocab_size())
    draw = random.Random(3)
    for text in filter(str.strip, sentences.texts(60)):
        tokens = tokenizer.encode(text, add_special_tokens=False).ids
        cut = draw.randrange(1, len(tokens)) if len(tokens) > 1 else 1
        before = tokenizer.decode(tokens[:cut])
        whole = tokenizer.decode(tokens)
        if "\ufffd" not in before and before:
            assert b"".join(found.table[token] for token in tokens[cut:]).decode() == whole.removeprefix(before), text


@pytest.mark.parametrize("form", FORMS)
def test_a_text_without_a_prompt_begins_without_a_space(form: str) -> None:
    tokenizer = tokenizer_of(form)
    found = token_bytes.read(tokenizer, tokenizer.get_vocab_size())
    assert found.strips_first_space == (form in STRIPS)
    tokens = tokenizer.encode("the harbour", add_special_tokens=False).ids
    text = b"".join(found.table[token] for token in tokens).decode()
    assert (text.removeprefix(" ") if found.strips_first_space else text) == tokenizer.decode(tokens)


def test_special_tokens_write_nothing_and_others_that_were_added_their_text() -> None:
    tokenizer = tokenizer_of("qwen_generator")
    table = token_bytes.read(tokenizer, tokenizer.get_vocab_size() + 3).table
    assert len(table) == tokenizer.get_vocab_size() + 3
    assert table[-3:] == [b"", b"", b""]
    assert table[tokenizer.token_to_id("<|im_start|>")] == b""
    assert table[tokenizer.token_to_id("<think>")] == b"<think>"


def test_tokens_over_the_model_s_vocabulary_are_left_out() -> None:
    """Some folders have one for pictures there."""
    tokenizer = tokenizer_of("llama2")
    whole = token_bytes.read(tokenizer, tokenizer.get_vocab_size()).table
    assert token_bytes.read(tokenizer, 300).table == whole[:300]


def test_added_tokens_of_other_characters() -> None:
    tokenizer = Tokenizer(models.BPE({"a": 0, "Ġ": 1, "é": 2}, []))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_tokens([AddedToken("今日"), AddedToken("é y")])
    assert token_bytes.read(tokenizer, 5).table == [b"a", b" ", b"\xe9", "今日".encode(), "é y".encode()]


def word_piece(tokenizer: Any) -> None:
    tokenizer.decoder = decoders.WordPiece()


def nothing(tokenizer: Any) -> None:
    content = json.loads(tokenizer.to_str())
    tokenizer.__setstate__(json.dumps(content | {"decoder": None}).encode())


def stripping_each_token(tokenizer: Any) -> None:
    tokenizer.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.Strip(" ", 1, 0), decoders.Fuse()])


def changing_letters(tokenizer: Any) -> None:
    tokenizer.decoder = decoders.Sequence([decoders.Replace("a", "b"), decoders.Fuse()])


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (word_piece, "the tokenizer's decoder is WordPiece, whose texts are not made token by token"),
        (nothing, "the tokenizer's decoder is none"),
        (stripping_each_token, "such a tokenizer is not served"),
        (changing_letters, "and not to their own texts one after the other"),
    ],
)
def test_decoders_of_other_forms_are_refused(change: Callable[[Any], None], reason: str) -> None:
    tokenizer = tokenizer_of("llama2")
    change(tokenizer)
    with pytest.raises(ModelError) as caught:
        token_bytes.read(tokenizer, tokenizer.get_vocab_size())
    assert reason in str(caught.value)
