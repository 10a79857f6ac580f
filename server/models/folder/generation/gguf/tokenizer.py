"""The vocabulary of a GGUF file as a tokenizer of the tokenizers library.

Two forms are read, by tokenizer.ggml.model: gpt2, which is byte-level BPE with merges and a way of splitting texts that
tokenizer.ggml.pre names; and llama, which is SentencePiece's BPE, with scores in place of merges.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors

from server.errors import ModelError
from server.models.folder.tokenizer_files import QWEN_SPLIT
from server.models.tokenizer import open_tokenizer

if TYPE_CHECKING:
    from server.models.folder.generation.gguf.header import GgufFile

_PREFIX = "tokenizer.ggml."
_SPACE = "▁"
_ENDS = {"<|eot_id|>", "<|eom_id|>", "<|im_end|>", "<|end|>", "<end_of_turn>", "<|endoftext|>", "<EOT>"}
"""What ends a turn, or a text, in the files of those families, whatever else they name as their end."""

_UNKNOWN, _CONTROL, _OWN = 2, 3, 4  # tokenizer.ggml.token_type

_LLAMA3_SPLIT = QWEN_SPLIT.replace(r"|\p{N}|", r"|\p{N}{1,3}|")


class _Splitting(NamedTuple):
    """How texts are split before byte-level BPE."""

    steps: tuple[Any, ...]
    is_nfc: bool = False
    ignores_merges: bool = False
    """A word that the vocabulary has is a token, whatever the merges make of it."""
    adds_bos: bool = False
    """Where the file does not say."""


_GPT2 = (pre_tokenizers.ByteLevel(add_prefix_space=False),)


def _by(pattern: str) -> tuple[Any, ...]:
    split = pre_tokenizers.Split(Regex(pattern), behavior="isolated")
    return split, pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)


_LLAMA3 = _Splitting(_by(_LLAMA3_SPLIT), ignores_merges=True, adds_bos=True)
_DIGITS = _Splitting((pre_tokenizers.Digits(individual_digits=True), *_GPT2))
_SPLITTINGS = {
    "gpt-2": _Splitting(_GPT2),
    "phi-2": _Splitting(_GPT2),
    "llama-bpe": _LLAMA3,
    "llama3": _LLAMA3,
    "llama-v3": _LLAMA3,
    "qwen2": _Splitting(_by(QWEN_SPLIT), is_nfc=True),
    "deepseek-r1-qwen": _Splitting(_by(QWEN_SPLIT), is_nfc=True),
    "smollm": _DIGITS,
    "starcoder": _DIGITS,
    "refact": _DIGITS,
    "command-r": _DIGITS,
}


class Vocabulary(NamedTuple):
    """What a file says of its tokens."""

    tokenizer: Any
    """tokenizers.Tokenizer, which adds the special tokens that stand around a prompt."""
    size: int
    ends: list[int]
    """Tokens that end a text."""
    special_tokens: dict[str, str]
    """bos_token -> <s> and so on."""


def read(file: GgufFile) -> Vocabulary:
    """Raises ModelError for a form that is not served."""
    tokens = file.list_of(f"{_PREFIX}tokens", str)
    if not tokens:
        raise ModelError(f"{file.name}: it has no {_PREFIX}tokens")
    types = file.list_of(f"{_PREFIX}token_type", int) or [1] * len(tokens)
    if len(types) != len(tokens):
        raise ModelError(f"{file.name}: {_PREFIX}token_type has {len(types)} items for {len(tokens)} tokens")
    kind = file.get(f"{_PREFIX}model", str)
    makers = {"gpt2": _byte_level, "llama": _sentence_piece}
    if kind not in makers:
        raise ModelError(f"{file.name}: {_PREFIX}model is {kind!r}; served are {', '.join(makers)}")
    tokenizer, adds_bos = makers[kind](file, tokens, types)
    special = [AddedToken(token, special=True, normalized=False) for token in _of_type(tokens, types, _CONTROL)]
    tokenizer.add_special_tokens(special)
    tokenizer.add_tokens([AddedToken(token, normalized=False) for token in _of_type(tokens, types, _OWN)])
    named = {
        name: _token(file, f"{key}_token_id", tokens)
        for name, key in (("bos", "bos"), ("eos", "eos"), ("unk", "unknown"), ("pad", "padding"))
    }
    _add_ends(file, tokenizer, named, adds_bos)
    ends = {_token(file, f"{key}_token_id", tokens) for key in ("eos", "eot", "eom")}
    ends |= _ENDS.intersection(_of_type(tokens, types, _CONTROL))
    ids = sorted(id_ for id_, token in enumerate(tokens) if token in ends)
    return Vocabulary(
        open_tokenizer(lambda: tokenizer),
        len(tokens),
        ids,
        {f"{name}_token": token for name, token in named.items() if token is not None},
    )


def _byte_level(file: GgufFile, tokens: list[str], _types: list[int]) -> tuple[Any, bool]:
    name = file.get(f"{_PREFIX}pre", str, "")
    if name not in _SPLITTINGS:
        raise ModelError(f"{file.name}: {_PREFIX}pre is {name!r}; served are {', '.join(_SPLITTINGS)}")
    splitting = _SPLITTINGS[name]
    merges = [tuple(merge.split(" ")) for merge in file.list_of(f"{_PREFIX}merges", str)]
    wrong = next((merge for merge in merges if len(merge) != 2), None)
    if wrong is not None:
        raise ModelError(f"{file.name}: {_PREFIX}merges: {' '.join(wrong)!r} is no pair")
    ids = _ids(file, tokens)
    tokenizer = open_tokenizer(lambda: Tokenizer(models.BPE(ids, merges, ignore_merges=splitting.ignores_merges)))  # type: ignore[arg-type]
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(list(splitting.steps))
    tokenizer.decoder = decoders.ByteLevel()
    if splitting.is_nfc:
        tokenizer.normalizer = normalizers.NFC()
    return tokenizer, splitting.adds_bos


def _sentence_piece(file: GgufFile, tokens: list[str], types: list[int]) -> tuple[Any, bool]:
    scores = file.list_of(f"{_PREFIX}scores", float)
    if len(scores) != len(tokens):
        raise ModelError(f"{file.name}: {_PREFIX}scores has {len(scores)} items for {len(tokens)} tokens")
    ids = _ids(file, tokens)
    unknown = next(iter(_of_type(tokens, types, _UNKNOWN)), None)
    merges = _merges(ids, scores)
    tokenizer = open_tokenizer(
        lambda: Tokenizer(models.BPE(ids, merges, unk_token=unknown, fuse_unk=True, byte_fallback=True))
    )
    adds_space = file.get(f"{_PREFIX}add_space_prefix", bool, True)
    scheme: Any = "always" if adds_space else "never"
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(replacement=_SPACE, prepend_scheme=scheme, split=False)
    steps: list[Any] = [decoders.Replace(_SPACE, " "), decoders.ByteFallback(), decoders.Fuse()]
    tokenizer.decoder = decoders.Sequence([*steps, decoders.Strip(" ", left=1)] if adds_space else steps)
    return tokenizer, True


def _merges(ids: dict[str, int], scores: list[float]) -> list[tuple[str, str]]:
    """SentencePiece joins the two neighbours first whose token has the best score: the pairs, in that order."""
    pairs = [
        (-scores[id_], id_, token[:split], token[split:])
        for token, id_ in ids.items()
        for split in range(1, len(token))
        if token[:split] in ids and token[split:] in ids
    ]
    return [(left, right) for _, _, left, right in sorted(pairs)]


def _ids(file: GgufFile, tokens: list[str]) -> dict[str, int]:
    ids = {token: id_ for id_, token in enumerate(tokens)}
    if len(ids) != len(tokens):
        raise ModelError(f"{file.name}: {_PREFIX}tokens has a token twice")
    return ids


def _of_type(tokens: list[str], types: list[int], wanted: int) -> list[str]:
    return [token for token, kind in zip(tokens, types, strict=True) if kind == wanted]


def _token(file: GgufFile, key: str, tokens: list[str]) -> str | None:
    """The token that the metadata names, if it does."""
    id_ = file.get(_PREFIX + key, int, -1)
    if id_ == -1:
        return None
    if not 0 <= id_ < len(tokens):
        raise ModelError(f"{file.name}: {_PREFIX}{key} is {id_}, over the {len(tokens)} tokens that there are")
    return tokens[id_]


def _add_ends(file: GgufFile, tokenizer: Any, named: dict[str, str | None], adds_bos: bool) -> None:
    """The special tokens around a prompt, as the file asks for them."""
    first = named["bos"] if file.get(f"{_PREFIX}add_bos_token", bool, adds_bos) else None
    last = named["eos"] if file.get(f"{_PREFIX}add_eos_token", bool, False) else None
    around = [token for token in (first, last) if token is not None]
    if around:
        tokenizer.post_processor = processors.TemplateProcessing(
            single=" ".join(filter(None, [first, "$A", last])),
            pair=None,
            special_tokens=[(token, tokenizer.token_to_id(token)) for token in dict.fromkeys(around)],
        )
