"""Texts and pairs of texts as a model reads them: token ids with special tokens, cut or split to what fits.

Texts are tokenised without special tokens, and put together here from a template that the tokenizer showed at load. So
the same tokens can be cut at either side, split into windows, or be half of many pairs, whatever the request asks for.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, NamedTuple

from server.errors import ModelError
from server.models.folder.model2vec import Words
from server.models.requests import Token
from server.models.tokenizer import decoded

if TYPE_CHECKING:
    from collections.abc import Sequence

    from server.models.folder.tokenizer_files import TokenizerFiles

_CHARACTERS_PER_TOKEN = 6  # a text seldom has more: the beginning of a long one is all that is looked at
_WHITE_SPACE = re.compile(r"\s")
_UNKNOWN_LENGTH = 1 << 40
_PROBES = ("hello world", "the", "a", "1", ".", "世")

# What splits a text at every white space, whatever stands beside it: the beginning's tokens are then the text's first.
_SPLITTING = ("BertPreTokenizer", "Whitespace", "WhitespaceSplit")

_ALL = Words(None, None)


class Tokens(NamedTuple):
    """What a model reads, special tokens included."""

    ids: list[int]
    second_begins: int
    """Where tokens of type 1 begin: the length where there are none."""
    is_cut: bool
    """The text, or one of the two, is longer."""
    unseen: int = 0
    """So many of the last ones are attended to by none."""

    @property
    def seen(self) -> int:
        """Tokens that are attended to, the first ones."""
        return len(self.ids) - self.unseen


class Encoded(NamedTuple):
    """A text's own tokens."""

    ids: list[int]
    is_part: bool = False
    """Only the first ones, as many as a model reads and more."""
    is_cut: bool = False
    """Those of the text's beginning: no model reads more of it."""


class _Template(NamedTuple):
    """Special tokens around texts."""

    before: list[int]
    between: list[int]
    """Empty for a single text."""
    after: list[int]
    typed: bool
    """The second text's tokens are of type 1."""

    @property
    def size(self) -> int:
        """Number of special tokens."""
        return len(self.before) + len(self.between) + len(self.after)


class FolderTokenizer:
    """Of any thread; the work is done without the GIL. `max_tokens` is what the model reads, special ones included."""

    def __init__(
        self, files: TokenizerFiles, max_tokens: int, add_special_tokens: bool = True, words: Words = _ALL
    ) -> None:
        """Raises ModelError where no room for a text is left, or special tokens stand where none can be put."""
        self._unknown, self._characters = words
        self._tokenizer = files.tokenizer
        self.max_tokens = max_tokens
        self.truncates_left = files.truncates_left
        self.vocabulary: int = files.tokenizer.get_vocab_size()
        self._special_ids = files.special_ids
        self._single = _single(files.tokenizer) if add_special_tokens else _Template([], [], [], False)
        self._pair = _pair(files.tokenizer, files.token_types)
        if max_tokens <= self._single.size:
            raise ModelError(f"{max_tokens} tokens leave no room for a text")
        pre_tokenizer = type(files.tokenizer.pre_tokenizer).__name__
        self._splits = pre_tokenizer in _SPLITTING
        self._quick = max_tokens * _CHARACTERS_PER_TOKEN

    @property
    def room(self) -> int:
        """Tokens of a single text's own that fit."""
        return self.max_tokens - self._single.size

    @property
    def before(self) -> int:
        """Special tokens before a single text."""
        return len(self._single.before)

    @property
    def around(self) -> str:
        """The special tokens before and after a single text, for people; empty where there are none."""
        before, _, after, _ = self._single
        return " ... ".join(" ".join(map(self.token, ids)) for ids in (before, after)) if before or after else ""

    def own_ids(self, ids: Sequence[int]) -> Encoded | None:
        """What stands between the special tokens of a single text; None where they are not around it."""
        before, _, after, _ = self._single
        end = len(ids) - len(after)
        if end < len(before) or list(ids[: len(before)]) != before or list(ids[end:]) != after:
            return None
        return Encoded(list(ids[len(before) : end]))

    @property
    def pairs(self) -> bool:
        """Whether the tokenizer puts two texts together."""
        return self._pair is not None and self._pair.size < self.max_tokens

    # ------------------------------------------------------------------------------------------------------ tokenising

    def quickly(self, text: str, whole: bool = False) -> Encoded | None:
        """The text's tokens where a millisecond is enough; None where a look at more of a long text is needed.

        `whole`: all of them are needed, not the first alone.
        """
        if len(text) <= self._quick:
            return self.encode(text)
        space = _WHITE_SPACE.search(text, self._quick, 2 * self._quick) if self._splits and not whole else None
        if space is None:
            return None
        ids = self.encode(text[: space.start()]).ids
        return Encoded(ids, True) if len(ids) > self.max_tokens else None

    def encode(self, text: str) -> Encoded:
        """The text's tokens; takes a quarter of a second for a megabyte."""
        is_cut = self._characters is not None and len(text) > self._characters
        read = text[: self._characters] if is_cut else text
        (encoding,) = self._tokenizer.encode_batch_fast([read], add_special_tokens=False)
        return Encoded(encoding.ids, is_cut=is_cut)

    def encode_with_offsets(self, text: str) -> Any:
        """tokenizers.Encoding, with where each token lies in the text, in characters."""
        return self._tokenizer.encode(text, add_special_tokens=False)

    def prompt_tokens(self, prompt: str) -> int:
        """How many tokens a prompt is before a text, as sentence-transformers counts them for pooling without it."""
        ids = self.single(self.encode(prompt)).ids
        return len(ids) - (ids[-1] in self._special_ids if ids else 0)

    def described(self, text: str, special_tokens: bool) -> list[Token]:
        """The text's tokens, whole, and where each stands in it, in characters."""
        encoding = self._tokenizer.encode(text, add_special_tokens=False)
        own = [
            Token(id_, token, begin, end)
            for id_, token, (begin, end) in zip(encoding.ids, encoding.tokens, encoding.offsets, strict=True)
        ]
        if not special_tokens:
            return own
        before, _, after, _ = self._single
        return [*self._around(before), *own, *self._around(after)]

    def text_of(self, ids: Sequence[int]) -> str:
        """Of tokens, special ones too. Raises INVALID_ARGUMENT."""
        return decoded(self._tokenizer, ids)

    def _around(self, ids: Sequence[int]) -> list[Token]:
        return [Token(id_, self.token(id_), None, None) for id_ in ids]

    def token(self, id_: int) -> str:
        """The token with this id; empty where there is none."""
        return (self._tokenizer.id_to_token(id_) or "") if 0 <= id_ < 1 << 32 else ""

    def ids_of(self, tokens: Sequence[str]) -> set[int]:
        """Of those of the tokens that the vocabulary has."""
        found = (self._tokenizer.token_to_id(token) for token in tokens)
        return {id_ for id_ in found if id_ is not None}

    # ------------------------------------------------------------------------------------------------- putting together

    def single(self, text: Encoded, left: bool = False, most: int | None = None) -> Tokens:
        """A text, cut at the right or the left where it is too long, or has more than `most` tokens."""
        before, _, after, _ = self._single
        begin, end = self.kept(len(text.ids), left, most)
        is_cut = text.is_cut or end - begin < len(text.ids)
        own = text.ids[begin:end]
        if self._unknown is not None:
            own = [id_ for id_ in own if id_ != self._unknown]
        ids = [*before, *own, *after]
        return Tokens(ids, len(ids), is_cut)

    def kept(self, count: int, left: bool, most: int | None = None) -> tuple[int, int]:
        """Where the part of a text of so many tokens begins and ends that is read."""
        room = self.room if most is None else max(0, min(most, self.max_tokens) - self._single.size)
        if count <= room:
            return 0, count
        return (count - room, count) if left else (0, room)

    def windows(self, text: Encoded, before: Sequence[int] = ()) -> list[tuple[Tokens, int]]:
        """The whole text in as many parts as it takes, each behind `before` and as long as fits, and their tokens.

        None is empty unless the text is. `before` is cut where it leaves no room.
        """
        before = before[: self.room - 1]
        ids, room = text.ids, self.room - len(before)
        parts = [ids[begin : begin + room] for begin in range(0, max(len(ids), 1), room)]
        return [(self.single(Encoded([*before, *part])), len(part)) for part in parts]

    def pair(self, first: Encoded, second: Encoded, left: bool = False, only_first: bool = False) -> Tokens:
        """Two texts, of which the longer is cut first, as transformers does it (longest_first).

        `only_first`: the first one alone is cut, where that is enough.
        """
        assert self._pair is not None
        before, between, after, typed = self._pair
        room = self.max_tokens - self._pair.size
        one, two = first.ids, second.ids
        is_cut = len(one) + len(two) > room
        if is_cut:
            if only_first and len(two) < room:
                one_fits, two_fits = room - len(two), len(two)
            else:
                one_fits, two_fits = _longest_first(_length(first), _length(second), room)
            one = one[len(one) - one_fits :] if left else one[:one_fits]
            two = two[len(two) - two_fits :] if left else two[:two_fits]
        begins = len(before) + len(one) + len(between)
        ids = [*before, *one, *between, *two, *after]
        return Tokens(ids, begins if typed else len(ids), is_cut)


def _length(text: Encoded) -> int:
    """More than any other, where it is not known: then the other one is."""
    return _UNKNOWN_LENGTH if text.is_part else len(text.ids)


def _longest_first(one: int, two: int, room: int) -> tuple[int, int]:
    """How many tokens of each are left."""
    shorter, longer = min(one, two), max(one, two)
    longer = shorter if shorter > room else max(shorter, room - shorter)
    if shorter + longer > room:
        shorter = room // 2
        longer = shorter + room % 2
    return (shorter, longer) if one <= two else (longer, shorter)


# --------------------------------------------------------------------------------------------------------- the template


def _single(tokenizer: Any) -> _Template:
    encoding = _probe(tokenizer, None)
    first, last = _of(encoding, 0)
    return _Template(encoding.ids[:first], [], encoding.ids[last:], False)


def _pair(tokenizer: Any, typed: bool) -> _Template | None:
    """None where the tokenizer does nothing with the second text."""
    encoding = _probe(tokenizer, "pair")
    if 1 not in encoding.sequence_ids:
        return None
    (first, first_ends), (second, second_ends) = _of(encoding, 0), _of(encoding, 1)
    if first_ends > second:
        raise ModelError("the tokenizer puts the second text of a pair before the first, which is not served")
    ids, types = encoding.ids, encoding.type_ids
    has_types = typed and any(types)
    if has_types and types != [0] * second + [1] * (len(ids) - second):
        raise ModelError("the tokenizer's token types are not 0 for the first text of a pair and 1 for the second")
    return _Template(ids[:first], ids[first_ends:second], ids[second_ends:], has_types)


def _probe(tokenizer: Any, pair: str | None) -> Any:
    vocabulary = sorted(tokenizer.get_vocab().items(), key=lambda item: item[1])
    for probe in (*_PROBES, *(token for token, _ in vocabulary[:200])):
        encoding = tokenizer.encode(probe, None if pair is None else probe)
        sequences = encoding.sequence_ids
        if 0 in sequences and (pair is None or 1 in sequences or None not in sequences):
            return encoding
    raise ModelError("the tokenizer makes no tokens of any text")


def _of(encoding: Any, sequence: int) -> tuple[int, int]:
    """Where a text's tokens begin and end."""
    places = [place for place, of in enumerate(encoding.sequence_ids) if of == sequence]
    if places != list(range(places[0], places[-1] + 1)):
        raise ModelError("the tokenizer puts special tokens within a text, which is not served")
    return places[0], places[-1] + 1
