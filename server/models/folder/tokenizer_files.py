"""A folder's tokenizer: tokenizer.json with what tokenizer_config.json changes of it, or the files of a vocabulary.

What the classes of transformers do with these files when they load them, without transformers.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors

from server.errors import ModelError
from server.models.folder.fields import refuse_unknown
from server.models.formats import read_json, require_readable
from server.models.tokenizer import open_tokenizer

if TYPE_CHECKING:
    from collections.abc import Collection
    from pathlib import Path

CONFIG = "tokenizer_config.json"
_ADDED_TOKENS = "added_tokens.json"
STATIC = "static"
"""model_type of static embeddings, whose own config.json, where they have one, does not say it."""

_ENDS = ("bos", "eos")
SPECIAL_TOKENS = ("bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token")

_GENERAL, _LLAMA = "TokenizersBackend", "LlamaTokenizer"
QWEN_SPLIT = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)

# Classes of transformers, without Fast at the end.
_WORD_PIECE = {
    "BertTokenizer",
    "ConvBertTokenizer",
    "DistilBertTokenizer",
    "ElectraTokenizer",
    "FunnelTokenizer",
    "LayoutLMTokenizer",
    "LxmertTokenizer",
    "MobileBertTokenizer",
    "MPNetTokenizer",
    "RetriBertTokenizer",
    "SqueezeBertTokenizer",
}
_BYTE_LEVEL = {
    "BartTokenizer",
    "BlenderbotTokenizer",
    "CodeGenTokenizer",
    "DebertaTokenizer",
    "GPT2Tokenizer",
    "LEDTokenizer",
    "LongformerTokenizer",
    "Qwen2Tokenizer",
    "RobertaTokenizer",
}
_GENERATORS = {"CodeGenTokenizer", "GPT2Tokenizer", "Qwen2Tokenizer"}
"""Of the byte-level ones those without [CLS] and [SEP]."""
_WITH_TOKEN_TYPES = (_WORD_PIECE - {"DistilBertTokenizer", "MPNetTokenizer"}) | {
    "DebertaTokenizer",
    "DebertaV2Tokenizer",
}
_CLASS_OF_TYPE = {
    "albert": "AlbertTokenizer",
    "bert": "BertTokenizer",
    "camembert": "CamembertTokenizer",
    "convbert": "BertTokenizer",
    "deberta": "DebertaTokenizer",
    "deberta-v2": "DebertaV2Tokenizer",
    "distilbert": "BertTokenizer",
    "electra": "BertTokenizer",
    "gpt2": "GPT2Tokenizer",
    "gpt_neo": "GPT2Tokenizer",
    "gptj": "GPT2Tokenizer",
    "mobilebert": "MobileBertTokenizer",
    "mpnet": "MPNetTokenizer",
    "nomic_bert": "BertTokenizer",
    "opt": "GPT2Tokenizer",
    "phi": "GPT2Tokenizer",
    "qwen2": "Qwen2Tokenizer",
    "qwen3": "Qwen2Tokenizer",
    "qwen3_moe": "Qwen2Tokenizer",
    "roberta": "RobertaTokenizer",
    "squeezebert": "BertTokenizer",
    "starcoder2": "GPT2Tokenizer",
    "xlm-roberta": "XLMRobertaTokenizer",
}
# What their constructors take where tokenizer_config.json does not say.
_DEFAULTS = {
    "BertTokenizer": {
        "unk_token": "[UNK]",
        "sep_token": "[SEP]",
        "pad_token": "[PAD]",
        "cls_token": "[CLS]",
        "mask_token": "[MASK]",
    },
    "CodeGenTokenizer": dict.fromkeys(("bos_token", "eos_token", "unk_token"), "<|endoftext|>"),
    "GPT2Tokenizer": dict.fromkeys(("bos_token", "eos_token", "unk_token"), "<|endoftext|>"),
    "Qwen2Tokenizer": dict.fromkeys(("eos_token", "unk_token", "pad_token"), "<|endoftext|>"),
    "MPNetTokenizer": {
        "bos_token": "<s>",
        "eos_token": "</s>",
        "sep_token": "</s>",
        "cls_token": "<s>",
        "unk_token": "[UNK]",
        "pad_token": "<pad>",
        "mask_token": "<mask>",
    },
    "RobertaTokenizer": {
        "bos_token": "<s>",
        "eos_token": "</s>",
        "sep_token": "</s>",
        "cls_token": "<s>",
        "unk_token": "<unk>",
        "pad_token": "<pad>",
        "mask_token": "<mask>",
    },
}
# Files of SentencePiece, which the tokenizers library does not read.
_SENTENCE_PIECE = ("sentencepiece.bpe.model", "spiece.model", "spm.model", "tokenizer.model")
SAVE_FAST = (
    'save it as tokenizer.json: python -c "from transformers import AutoTokenizer as T; '
    "T.from_pretrained('FOLDER').save_pretrained('FOLDER')\""
)


@dataclass(slots=True)
class TokenizerFiles:
    """A tokenizer without truncation and padding, and what the files say besides."""

    tokenizer: Any
    """tokenizers.Tokenizer."""
    max_tokens: int | None
    """model_max_length, where it says anything."""
    truncates_left: bool
    token_types: bool
    """Tokens of the second text of a pair are of type 1; else all are of type 0."""
    special_tokens: dict[str, str]
    """cls_token -> [CLS] and so on."""
    special_ids: frozenset[int]


def read(folder: Path, config: dict[str, Any], ignored: Collection[str] = ()) -> TokenizerFiles:
    """The tokenizer in a folder whose config.json is `config`. Raises ModelError, OSError."""
    is_static = config.get("model_type") == STATIC  # which reads tokenizer.json alone
    settings = {} if is_static else _settings(folder)
    refuse_unknown(CONFIG, settings, ignored)
    name = _class_name(config, settings)
    tokenizer = _tokenizer(folder, name, settings)
    truncation = tokenizer.truncation if is_static else None
    tokenizer.no_padding()
    tokenizer.no_truncation()
    tokens = _special_tokens(name, settings)
    _add_tokens(tokenizer, settings, tokens)
    tokenizer.encode_special_tokens = bool(settings.get("split_special_tokens", False))
    inputs = settings.get("model_input_names")
    ids = {tokenizer.token_to_id(token.content) for token in tokens.values()}
    return TokenizerFiles(
        tokenizer,
        truncation["max_length"] if truncation else _max_tokens(settings),
        _truncates_left(settings),
        "token_type_ids" in inputs if isinstance(inputs, list) else name in _WITH_TOKEN_TYPES,
        {key: token.content for key, token in tokens.items() if not key.startswith("extra")},
        frozenset(id_ for id_ in ids if id_ is not None),
    )


def _settings(folder: Path) -> dict[str, Any]:
    settings = read_json(folder / CONFIG) if (folder / CONFIG).is_file() else {}
    if "added_tokens_decoder" in settings:
        return settings
    if (folder / "special_tokens_map.json").is_file():
        settings |= read_json(folder / "special_tokens_map.json")
    if (folder / _ADDED_TOKENS).is_file():
        settings["added_tokens_decoder"] = _added_tokens(read_json(folder / _ADDED_TOKENS), settings)
    return settings


def _added_tokens(ids: dict[str, Any], settings: dict[str, Any]) -> dict[str, Any]:
    """added_tokens.json, of older versions, as the added_tokens_decoder that it became."""
    extra = settings.get("extra_special_tokens") or settings.get("additional_special_tokens") or []
    named = [settings.get(key) for key in SPECIAL_TOKENS] + (list(extra) if isinstance(extra, list) else [])
    special = {token.get("content") if isinstance(token, dict) else token for token in named}
    decoder = {}
    for token, id_ in ids.items():
        if not isinstance(id_, int) or isinstance(id_, bool) or id_ < 0:
            raise ModelError(f"{_ADDED_TOKENS}: {token!r}: expected an id, got {id_!r}")
        decoder[str(id_)] = {"content": token, "special": token in special, "normalized": token not in special}
    return decoder


def _class_name(config: dict[str, Any], settings: dict[str, Any]) -> str:
    """Of transformers' class, without Fast."""
    of_type = _CLASS_OF_TYPE.get(str(config.get("model_type")), _GENERAL)
    name = settings.get("tokenizer_class") or config.get("tokenizer_class") or of_type
    if not isinstance(name, str):
        raise ModelError(f"{CONFIG}: tokenizer_class: expected a string, got {name!r}")
    name = name.removesuffix("Fast")
    # Mistral's folders and others name Llama's class, and are read by the general one
    return _GENERAL if name == _LLAMA and config.get("model_type") != "llama" else name


def _max_tokens(settings: dict[str, Any]) -> int | None:
    length = settings.get("model_max_length")
    if length is None or (isinstance(length, int | float) and length > 1 << 30):
        return None
    if not isinstance(length, int) or isinstance(length, bool) or length < 1:
        raise ModelError(f"{CONFIG}: model_max_length: expected a number of tokens, got {length!r}")
    return length


def _truncates_left(settings: dict[str, Any]) -> bool:
    side = settings.get("truncation_side", "right")
    if side not in ("left", "right"):
        raise ModelError(f"{CONFIG}: truncation_side is {side!r}; expected left or right")
    return bool(side == "left")


# -------------------------------------------------------------------------------------------------------- the tokenizer


def _tokenizer(folder: Path, name: str, settings: dict[str, Any]) -> Any:
    path = folder / "tokenizer.json"
    if path.is_file():
        require_readable(path)
        tokenizer = open_tokenizer(lambda: Tokenizer.from_file(str(path)), path.name)
        _adapt(tokenizer, name, settings)
        return tokenizer
    vocabulary, merges = folder / "vocab.json", folder / "merges.txt"
    if (folder / "vocab.txt").is_file() and name in _WORD_PIECE:
        return open_tokenizer(lambda: _word_piece(folder / "vocab.txt", name, settings), "vocab.txt")
    if vocabulary.is_file() and merges.is_file() and name in _BYTE_LEVEL:
        return open_tokenizer(lambda: _byte_level(vocabulary, merges, name, settings), vocabulary.name)
    for other in _SENTENCE_PIECE:
        if (folder / other).is_file():
            raise ModelError(f"there is no tokenizer.json, and {other} (SentencePiece) is not read; {SAVE_FAST}")
    raise ModelError(f"there is no tokenizer.json, nor a vocabulary that a {name} reads; {SAVE_FAST}")


def _adapt(tokenizer: Any, name: str, settings: dict[str, Any]) -> None:
    """What the classes set whatever tokenizer.json says, and what they would set where it contradicts."""
    if name in _WORD_PIECE:
        if tokenizer.normalizer is None or isinstance(tokenizer.normalizer, normalizers.BertNormalizer):
            tokenizer.normalizer = _bert_normalizer(settings)
        return
    if name == _LLAMA and not isinstance(tokenizer.decoder, decoders.ByteLevel):
        _adapt_llama(tokenizer, settings)
        return
    if name in _BYTE_LEVEL and isinstance(tokenizer.pre_tokenizer, pre_tokenizers.ByteLevel):
        tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=_flag(settings, "add_prefix_space", False))
        return
    kinds = _kinds(tokenizer)
    for field, kind, wanted in (
        ("do_lower_case", "Lowercase", True),
        ("keep_accents", "StripAccents", False),
        ("split_by_punct", "Punctuation", True),
    ):
        value = settings.get(field)
        if value is not None and (kind in kinds) != (value is wanted) and "BertNormalizer" not in kinds:
            if field == "do_lower_case" and value is True:
                lowercase(tokenizer)
                continue
            raise ModelError(f"{CONFIG}: {field} is {value!r}, which tokenizer.json contradicts; {SAVE_FAST}")


def _adapt_llama(tokenizer: Any, settings: dict[str, Any]) -> None:
    """Llama 2's class sets how spaces become ▁, and ▁ spaces, whatever tokenizer.json says: that is often older."""
    prefix = _flag(settings, "add_prefix_space", True)
    scheme: Any = "never" if not prefix else "always" if settings.get("legacy", False) is True else "first"
    tokenizer.normalizer = None
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(replacement="▁", prepend_scheme=scheme, split=False)
    steps: list[Any] = [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()]
    tokenizer.decoder = decoders.Sequence([*steps, decoders.Strip(" ", left=1)] if prefix else steps)


def _kinds(tokenizer: Any) -> set[str]:
    """The types of all steps before the model."""
    content = json.loads(tokenizer.to_str())
    found: set[str] = set()
    waiting = [content.get("normalizer"), content.get("pre_tokenizer")]
    while waiting:
        step = waiting.pop()
        if isinstance(step, dict):
            found.add(str(step.get("type")))
            waiting += step.get("normalizers", []) + step.get("pretokenizers", [])
    return found


def keep_whole(tokenizer: Any, prefixes: Collection[str]) -> None:
    """Let each prefix, or else its first word, be a token where the vocabulary has it, and not be taken to pieces."""
    for prefix in prefixes:
        known = [text for text in (prefix, *prefix.split(None, 1)[:1]) if tokenizer.token_to_id(text) is not None]
        if known and tokenizer.encode(known[0], add_special_tokens=False).tokens != known[:1]:
            tokenizer.add_special_tokens([AddedToken(known[0], normalized=False, special=True)])


def lowercase(tokenizer: Any) -> None:
    """Lower-case texts first, as sentence-transformers' do_lower_case does."""
    normalizer = tokenizer.normalizer
    steps: list[Any] = [] if normalizer is None else [normalizer]
    if isinstance(normalizer, normalizers.Sequence):
        steps = [normalizer[index] for index in range(len(normalizer))]
    if not any(isinstance(step, normalizers.Lowercase) for step in steps):
        tokenizer.normalizer = normalizers.Sequence([normalizers.Lowercase(), *steps])


def _word_piece(vocabulary: Path, name: str, settings: dict[str, Any]) -> Any:
    """As BertTokenizer builds it: one token a line."""
    require_readable(vocabulary)
    lines = vocabulary.read_text(encoding="utf-8").split("\n")
    ids = {line.rstrip("\r"): index for index, line in enumerate(lines[:-1] if lines[-1] == "" else lines)}
    tokens = {key: token.content for key, token in _special_tokens(name, settings).items()}
    tokenizer = Tokenizer(models.WordPiece(ids, unk_token=tokens["unk_token"]))
    tokenizer.normalizer = _bert_normalizer(settings)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    cls, sep = tokens["cls_token"], tokens["sep_token"]
    if cls not in ids or sep not in ids:
        raise ModelError(f"vocab.txt has no {cls if cls not in ids else sep}")
    if name == "MPNetTokenizer":
        tokenizer.post_processor = processors.RobertaProcessing((sep, ids[sep]), (cls, ids[cls]), True, False)
    else:
        tokenizer.post_processor = processors.TemplateProcessing(
            single=f"{cls} $A {sep}",
            pair=f"{cls} $A {sep} $B:1 {sep}:1",
            special_tokens=[(cls, ids[cls]), (sep, ids[sep])],
        )
    return tokenizer


def _bert_normalizer(settings: dict[str, Any]) -> Any:
    strip = settings.get("strip_accents")
    return normalizers.BertNormalizer(
        clean_text=True,
        handle_chinese_chars=_flag(settings, "tokenize_chinese_chars", True),
        strip_accents=strip if strip is None else _flag(settings, "strip_accents", True),
        lowercase=_flag(settings, "do_lower_case", True),
    )


def _byte_level(vocabulary: Path, merges: Path, name: str, settings: dict[str, Any]) -> Any:
    """As RobertaTokenizer builds it, or GPT2Tokenizer and its kin."""
    ids = read_json(vocabulary)
    require_readable(merges)
    lines = (line.strip() for line in merges.read_text(encoding="utf-8").splitlines())
    pairs: Any = [tuple(line.split()) for line in lines if line and not line.startswith("#version")]
    tokenizer = Tokenizer(models.BPE(ids, pairs, continuing_subword_prefix="", end_of_word_suffix="", fuse_unk=False))
    prefix_space = _flag(settings, "add_prefix_space", False)
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=prefix_space)
    tokenizer.decoder = decoders.ByteLevel()
    if name == "Qwen2Tokenizer":
        split = pre_tokenizers.Split(Regex(QWEN_SPLIT), behavior="isolated")
        bytes_ = pre_tokenizers.ByteLevel(add_prefix_space=prefix_space, use_regex=False)
        tokenizer.normalizer = normalizers.NFC()
        tokenizer.pre_tokenizer = pre_tokenizers.Sequence([split, bytes_])
    tokens = {key: token.content for key, token in _special_tokens(name, settings).items()}
    if name in _GENERATORS:
        tokenizer.post_processor = _ends(tokenizer, tokens, settings)
        return tokenizer
    cls, sep = tokens["cls_token"], tokens["sep_token"]
    if cls not in ids or sep not in ids:
        raise ModelError(f"vocab.json has no {cls if cls not in ids else sep}")
    trim = _flag(settings, "trim_offsets", True)
    tokenizer.post_processor = processors.RobertaProcessing((sep, ids[sep]), (cls, ids[cls]), trim, prefix_space)
    return tokenizer


def _ends(tokenizer: Any, tokens: dict[str, str], settings: dict[str, Any]) -> Any:
    """What puts the tokens at a text's ends that the settings ask for."""
    asked = [name for name in _ENDS if _flag(settings, f"add_{name}_token", False)]
    ends = {name: tokens.get(f"{name}_token") if name in asked else None for name in _ENDS}
    special = []
    for token in filter(None, ends.values()):
        tokenizer.add_special_tokens([AddedToken(token, special=True, normalized=False)])
        special.append((token, tokenizer.token_to_id(token)))
    bos, eos = ends["bos"], ends["eos"]
    single = " ".join(filter(None, [bos, "$A", eos]))
    pair = " ".join(filter(None, [single, bos and f"{bos}:1", "$B:1", eos and f"{eos}:1"]))
    return processors.TemplateProcessing(single=single, pair=pair, special_tokens=special)


def _flag(settings: dict[str, Any], name: str, default: bool) -> bool:
    value = settings.get(name)
    if value is None:
        return default
    if not isinstance(value, bool):
        raise ModelError(f"{CONFIG}: {name}: expected true or false, got {value!r}")
    return value


# --------------------------------------------------------------------------------------------------------- added tokens


def _special_tokens(name: str, settings: dict[str, Any]) -> dict[str, AddedToken]:
    """cls_token and so on, and extra_0, extra_1, ... for further ones."""
    if name in _WORD_PIECE - {"MPNetTokenizer"}:
        given: dict[str, Any] = dict(_DEFAULTS["BertTokenizer"])
    else:
        given = dict(_DEFAULTS.get("RobertaTokenizer" if name in _BYTE_LEVEL - _GENERATORS else name, {}))
    given |= {key: settings[key] for key in SPECIAL_TOKENS if settings.get(key) is not None}
    given |= {  # a model's own: image_token, ...
        key: value for key, value in settings.items() if key.endswith("_token") and isinstance(value, str)
    }
    extra = settings.get("extra_special_tokens") or settings.get("additional_special_tokens") or []
    extra = list(extra.values()) if isinstance(extra, dict) else extra
    if not isinstance(extra, list):
        raise ModelError(f"{CONFIG}: extra_special_tokens: expected a list, got {extra!r}")
    given |= {f"extra_{index}": token for index, token in enumerate(extra)}
    tokens = {key: _added_token(key, value) for key, value in given.items()}
    if name == "MPNetTokenizer" and isinstance(given["mask_token"], str):
        tokens["mask_token"] = AddedToken(given["mask_token"], special=True, normalized=False, lstrip=True)
    return tokens


def _added_token(key: str, value: Any) -> AddedToken:
    if isinstance(value, str):
        return AddedToken(value, special=True, normalized=False)
    if isinstance(value, dict) and isinstance(value.get("content"), str):
        flags = {name: bool(value.get(name, False)) for name in ("single_word", "lstrip", "rstrip", "normalized")}
        return AddedToken(value["content"], special=bool(value.get("special", True)), **flags)
    raise ModelError(f"{CONFIG}: {key}: expected a token, got {value!r}")


def _add_tokens(tokenizer: Any, settings: dict[str, Any], special: dict[str, AddedToken]) -> None:
    """Those that tokenizer.json does not have: of added_tokens_decoder in the order of their ids, then special ones."""
    known = {token.content for token in tokenizer.get_added_tokens_decoder().values()}
    decoder = settings.get("added_tokens_decoder") or {}
    if not isinstance(decoder, dict) or not all(key.isdecimal() for key in decoder):
        raise ModelError(f"{CONFIG}: added_tokens_decoder: expected tokens by their ids")
    for key in sorted(decoder, key=int):
        value = decoder[key]
        token = _added_token(
            f"added_tokens_decoder[{key}]", {"special": False} | value if isinstance(value, dict) else 0
        )
        if token.content in known:
            continue
        tokenizer.add_tokens([token])
        known.add(token.content)
        if tokenizer.token_to_id(token.content) != int(key):
            raise ModelError(f"{CONFIG}: added_tokens_decoder: {token.content!r} cannot have the id {key}; {SAVE_FAST}")
    tokenizer.add_special_tokens([token for token in special.values() if token.content not in known])
