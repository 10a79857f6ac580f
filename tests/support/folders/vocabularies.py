"""Tokenizers of every form that encoders have, small and trained, made by the library's own class for it.

So tokenizer.json, tokenizer_config.json and the special tokens are what people have. Each has a few hundred tokens:
words of the corpus whole, others in pieces; there are characters that it has never seen.
"""

from __future__ import annotations

import functools
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import tokenizers
from tokenizers import decoders, models, normalizers, pre_tokenizers, processors

from tests.support import sentences
from tests.support.service import ROOT

if TYPE_CHECKING:
    from collections.abc import Sequence

    from transformers import PreTrainedTokenizerBase


@functools.cache
def corpus() -> list[str]:
    """Sentences to train on: the demo models' English, and the odd texts, so that some of other scripts is known."""
    data = ROOT / "scripts" / "data"
    utterances = (data / "utterances.tsv").read_text(encoding="utf-8").splitlines()
    odd = [text for text in sentences.ODD if 0 < len(text) < 300]
    harbour = (data / "harbour.txt").read_text(encoding="utf-8").splitlines()
    return harbour + [line.partition("\t")[2] for line in utterances] + odd


@functools.cache
def _trained() -> dict[str, Any]:
    """What train_vocabularies.py has written: training breaks ties by chance, and each run would have other tokens."""
    trained: dict[str, Any] = json.loads(Path(__file__).with_name("vocabularies.json").read_text(encoding="utf-8"))
    return trained


def _word_pieces() -> list[str]:
    pieces: list[str] = _trained()["word_pieces"]
    return pieces


def _byte_pairs() -> tuple[list[str], list[tuple[str, str]]]:
    """Tokens, and the merges that make them, of bytes as GPT-2 writes them."""
    return _pairs("byte_pairs")


def _character_pairs() -> tuple[list[str], list[tuple[str, str]]]:
    """Tokens and merges of characters, with ▁ for a space, as Gemma's; what is not there falls back to bytes."""
    return _pairs("character_pairs")


def _pairs(name: str) -> tuple[list[str], list[tuple[str, str]]]:
    tokens, merges = _trained()[name]
    return tokens, [tuple(merge) for merge in merges]


def _unigrams() -> list[tuple[str, float]]:
    """Pieces and their scores, with ▁ for a space, as SentencePiece's."""
    return [tuple(piece) for piece in _trained()["unigrams"]]


def _numbered(*groups: Sequence[str]) -> dict[str, int]:
    tokens = dict.fromkeys(token for group in groups for token in group)
    return {token: number for number, token in enumerate(tokens)}


def _scored(before: Sequence[str], after: Sequence[str] = ()) -> list[tuple[str, float]]:
    """Special tokens, pieces, special tokens."""
    pieces = [(piece, score) for piece, score in _unigrams() if piece not in {*before, *after}]
    return [*((token, 0.0) for token in before), *pieces, *((token, 0.0) for token in after)]


# ------------------------------------------------------------------------------------------ one function a form


def bert(**options: Any) -> PreTrainedTokenizerBase:
    """WordPiece in lower case with [CLS], [SEP] and types."""
    from transformers import BertTokenizer

    vocabulary = _numbered(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"], _word_pieces())
    return BertTokenizer(vocab=vocabulary, **options)


def distilbert(**options: Any) -> PreTrainedTokenizerBase:
    """BERT's, without types."""
    from transformers import DistilBertTokenizer

    vocabulary = _numbered(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"], _word_pieces())
    return DistilBertTokenizer(vocab=vocabulary, **options)


def mpnet(**options: Any) -> PreTrainedTokenizerBase:
    """WordPiece with RoBERTa's special tokens."""
    from transformers import MPNetTokenizer

    vocabulary = _numbered(["<s>", "<pad>", "</s>", "<unk>"], ["[UNK]"], _word_pieces(), ["<mask>"])
    return MPNetTokenizer(vocab=vocabulary, **options)


def roberta(**options: Any) -> PreTrainedTokenizerBase:
    """Byte pairs with <s> and </s>; two </s> between the texts of a pair."""
    from transformers import RobertaTokenizer

    tokens, merges = _byte_pairs()
    vocabulary = _numbered(["<s>", "<pad>", "</s>", "<unk>"], tokens, ["<mask>"])
    return RobertaTokenizer(vocab=vocabulary, merges=list(merges), **options)


def modernbert(**options: Any) -> PreTrainedTokenizerBase:
    """Byte pairs with [CLS] and [SEP], saved as PreTrainedTokenizerFast."""
    from transformers import AddedToken, PreTrainedTokenizerFast

    tokens, merges = _byte_pairs()
    special = ["[UNK]", "[CLS]", "[SEP]", "[PAD]", "[MASK]"]
    vocabulary = _numbered(tokens, special)
    tokenizer = tokenizers.Tokenizer(models.BPE(vocabulary, list(merges)))
    tokenizer.normalizer = normalizers.NFC()
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]",
        pair="[CLS] $A [SEP] $B [SEP]",
        special_tokens=[(token, vocabulary[token]) for token in ("[CLS]", "[SEP]")],
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        unk_token="[UNK]",
        cls_token="[CLS]",
        sep_token="[SEP]",
        pad_token="[PAD]",
        mask_token=AddedToken("[MASK]", lstrip=True, special=True),
        model_input_names=["input_ids", "attention_mask"],
        **options,
    )


def xlm_roberta(**options: Any) -> PreTrainedTokenizerBase:
    """Unigrams with <s> and </s>."""
    from transformers import XLMRobertaTokenizer

    return XLMRobertaTokenizer(vocab=_scored(["<s>", "<pad>", "</s>", "<unk>"], ["<mask>"]), **options)


def camembert(**options: Any) -> PreTrainedTokenizerBase:
    """Unigrams with special tokens in fairseq's order."""
    from transformers import CamembertTokenizer

    special = ["<s>NOTUSED", "<pad>", "</s>NOTUSED", "<unk>", "<unk>NOTUSED", "<s>", "</s>"]
    return CamembertTokenizer(vocab=_scored(special, ["<mask>"]), **options)


def albert(**options: Any) -> PreTrainedTokenizerBase:
    """Unigrams in lower case without accents, with [CLS], [SEP] and types."""
    from transformers import AlbertTokenizer

    return AlbertTokenizer(vocab=_scored(["<pad>", "<unk>", "[CLS]", "[SEP]", "[MASK]"]), **options)


def deberta(**options: Any) -> PreTrainedTokenizerBase:
    """Unigrams with [CLS], [SEP] and types, and white space as it is."""
    from transformers import DebertaV2Tokenizer

    return DebertaV2Tokenizer(vocab=_scored(["[PAD]", "[CLS]", "[SEP]", "[UNK]"], ["[MASK]"]), unk_id=3, **options)


def t5(**options: Any) -> PreTrainedTokenizerBase:
    """Unigrams with </s> at the end and nothing at the beginning."""
    from transformers import T5Tokenizer

    return T5Tokenizer(vocab=_scored(["<pad>", "</s>", "<unk>"]), extra_ids=4, **options)


def qwen(**options: Any) -> PreTrainedTokenizerBase:
    """Byte pairs, padded on the left, with <|endoftext|> at the end of each text as Qwen3-Embedding has it."""
    from transformers import Qwen2Tokenizer

    tokens, merges = _byte_pairs()
    vocabulary = _numbered(tokens, ["<|endoftext|>", "<|im_start|>", "<|im_end|>"])
    tokenizer = Qwen2Tokenizer(vocab=vocabulary, merges=list(merges), padding_side="left", **options)
    end = "<|endoftext|>"
    tokenizer.backend_tokenizer.post_processor = processors.TemplateProcessing(
        single=f"$A {end}", pair=f"$A {end} $B {end}", special_tokens=[(end, vocabulary[end])]
    )
    return tokenizer


def gemma(**options: Any) -> PreTrainedTokenizerBase:
    """Pairs of characters with bytes for what is not there, between <bos> and <eos> as EmbeddingGemma has it."""
    from transformers import GemmaTokenizer

    tokens, merges = _character_pairs()
    bytes_ = [f"<0x{byte:02X}>" for byte in range(256)]
    vocabulary = _numbered(["<pad>", "<eos>", "<bos>", "<unk>", "<mask>"], bytes_, tokens)
    return GemmaTokenizer(
        vocab=vocabulary, merges=list(merges), add_bos_token=True, add_eos_token=True, padding_side="right", **options
    )


# ---------------------------------------------------------------------------------------------------- of generators


def gpt2(**options: Any) -> PreTrainedTokenizerBase:
    """Byte pairs, and nothing around a text."""
    from transformers import GPT2Tokenizer

    tokens, merges = _byte_pairs()
    return GPT2Tokenizer(vocab=_numbered(tokens, ["<|endoftext|>"]), merges=list(merges), **options)


def opt(**options: Any) -> PreTrainedTokenizerBase:
    """Byte pairs behind </s>, as OPT has them."""
    from transformers import GPT2Tokenizer

    tokens, merges = _byte_pairs()
    special = dict.fromkeys(("bos_token", "eos_token", "unk_token"), "</s>") | {"pad_token": "<pad>"}
    vocabulary = _numbered(["<s>", "<pad>", "</s>", "<unk>"], tokens)
    return GPT2Tokenizer(vocab=vocabulary, merges=list(merges), add_bos_token=True, **special, **options)


def gpt_neox(**options: Any) -> PreTrainedTokenizerBase:
    """Byte pairs of composed characters, and runs of spaces that were added as tokens of no special kind."""
    from transformers import AddedToken, GPTNeoXTokenizer

    tokens, merges = _byte_pairs()
    vocabulary = _numbered(["<|endoftext|>", "<|padding|>"], tokens)
    tokenizer = GPTNeoXTokenizer(vocab=vocabulary, merges=list(merges), **options)
    tokenizer.add_tokens([AddedToken(" " * count, normalized=True, special=False) for count in range(8, 1, -1)])
    return tokenizer


def qwen_generator(**options: Any) -> PreTrainedTokenizerBase:
    """Byte pairs without anything around a text, and tokens of chats."""
    from transformers import AddedToken, Qwen2Tokenizer

    tokens, merges = _byte_pairs()
    vocabulary = _numbered(tokens, ["<|endoftext|>", "<|im_start|>", "<|im_end|>"])
    options = {"eos_token": "<|im_end|>", "extra_special_tokens": ["<|im_start|>", "<|im_end|>"]} | options
    tokenizer = Qwen2Tokenizer(vocab=vocabulary, merges=list(merges), **options)
    tokenizer.add_tokens([AddedToken("<think>", special=False), AddedToken("</think>", special=False)])
    return tokenizer


def llama2(**options: Any) -> PreTrainedTokenizerBase:
    """Pairs of characters with bytes for what is not there, and ▁ before a text, behind <s>."""
    from transformers import LlamaTokenizer

    tokens, merges = _character_pairs()
    bytes_ = [f"<0x{byte:02X}>" for byte in range(256)]
    vocabulary = _numbered(["<unk>", "<s>", "</s>"], bytes_, tokens)
    return LlamaTokenizer(vocab=vocabulary, merges=list(merges), add_bos_token=True, **options)


def llama3(**options: Any) -> PreTrainedTokenizerBase:
    """Byte pairs in words of Llama 3's own cut, behind <|begin_of_text|>."""
    from transformers import PreTrainedTokenizerFast

    tokens, merges = _byte_pairs()
    first, last = "<|begin_of_text|>", "<|end_of_text|>"
    vocabulary = _numbered(tokens)
    tokenizer = tokenizers.Tokenizer(models.BPE(vocabulary, list(merges), ignore_merges=True))
    split = (
        r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}"
        r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
    )
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(tokenizers.Regex(split), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens([first, last, "<|eot_id|>"])
    tokenizer.post_processor = processors.Sequence(
        [
            processors.ByteLevel(trim_offsets=False),
            processors.TemplateProcessing(
                single=f"{first} $A",
                pair=f"{first} $A {first}:1 $B:1",
                special_tokens=[(first, tokenizer.token_to_id(first))],
            ),
        ]
    )
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, bos_token=first, eos_token=last, **options)


def phi3(**options: Any) -> PreTrainedTokenizerBase:
    """Llama 2's vocabulary as older files write it: ▁ by the normaliser, nothing around a text, tokens of chats."""
    from transformers import AddedToken, PreTrainedTokenizerFast

    tokens, merges = _character_pairs()
    bytes_ = [f"<0x{byte:02X}>" for byte in range(256)]
    vocabulary = _numbered(["<unk>", "<s>", "</s>"], bytes_, tokens)
    model = models.BPE(vocabulary, list(merges), unk_token="<unk>", fuse_unk=True, byte_fallback=True)
    tokenizer = tokenizers.Tokenizer(model)
    tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    tokenizer.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    tokenizer.add_special_tokens(["<unk>", "<s>", "</s>", "<|endoftext|>"])
    tokenizer.add_special_tokens([AddedToken(name, rstrip=True) for name in ("<|assistant|>", "<|user|>", "<|end|>")])
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, bos_token="<s>", eos_token="<|endoftext|>", unk_token="<unk>", **options
    )


def gemma_generator(**options: Any) -> PreTrainedTokenizerBase:
    """Gemma's, behind <bos> and with nothing at the end."""
    from transformers import GemmaTokenizer

    tokens, merges = _character_pairs()
    bytes_ = [f"<0x{byte:02X}>" for byte in range(256)]
    vocabulary = _numbered(["<pad>", "<eos>", "<bos>", "<unk>", "<mask>"], bytes_, tokens)
    return GemmaTokenizer(vocab=vocabulary, merges=list(merges), add_bos_token=True, **options)


def unigram(**options: Any) -> PreTrainedTokenizerBase:
    """Unigrams with a decoder of ▁ alone, as some fine-tuned folders have them."""
    from transformers import PreTrainedTokenizerFast

    tokenizer = tokenizers.Tokenizer(models.Unigram(_scored(["<unk>", "<s>", "</s>"]), unk_id=0))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.decoder = decoders.Metaspace()
    tokenizer.add_special_tokens(["<unk>", "<s>", "</s>"])
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, bos_token="<s>", eos_token="</s>", unk_token="<unk>", **options
    )
