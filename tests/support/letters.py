"""A model of every capability whose answers are computed from the letters of its texts, so that tests can tell them."""

from __future__ import annotations

import math
import re
import sys
from typing import TYPE_CHECKING, Any

import numpy as np
from predictor.ttypes import ModelLimits, ModelState

from server.calls import Pending
from server.errors import deadline_exceeded, invalid_argument, too_large
from server.models.capabilities import Capability
from server.models.registry import Entry, Registry
from server.models.requests import Entailment, Entity, Token

if TYPE_CHECKING:
    from collections.abc import Sequence

    from server.config import Settings
    from server.models.requests import Classification, Reading, ReplyFilter, RequestContext, Tagging

LETTERS = "abcdefgh"
LIMIT = 20
PROMPTS = {"query": "aa"}

_FAILING = "nan"  # a text with this word gets numbers that are none


class Letters:
    """Reads at most LIMIT characters. `asked` are the texts that came to it, with all that was said of them."""

    kind = "letters"
    capabilities = tuple(one for one in Capability if one not in (Capability.GENERATE, Capability.CHAT))
    limits = ModelLimits(LIMIT, 0, 0, 0, 0, 0)
    equal_lengths_only = False
    takes = frozenset({"prompt", "prompt_name", "split", "raw_scores", "multi_label", "candidate_labels"})
    labels = ()
    dimensions = len(LETTERS)
    normalized = True

    def __init__(self) -> None:
        self.details: dict[str, str] = {}
        self.asked: list[tuple[Any, ...]] = []

    def predict(self, doc: str, classification: Classification, context: RequestContext) -> Pending[dict[str, float]]:
        """A score for each letter of the text."""
        text = self._read(doc, classification.truncate, context)
        counts = {letter: float(text.count(letter)) for letter in LETTERS if letter in text}
        if classification.raw_scores:
            return done(_spoilt(text, counts))
        if classification.multi_label:
            return done({letter: _sigmoid(count) for letter, count in counts.items()})
        return done(_spoilt(text, {letter: count / sum(counts.values()) for letter, count in counts.items()}))

    def reply(
        self, messages: Sequence[str], reply_filter: ReplyFilter, context: RequestContext
    ) -> Pending[dict[str, float]]:
        """Each message itself."""
        return done(_spoilt(" ".join(messages), {message: float(len(message)) for message in messages}))

    def entail(self, text: str, hypothesis: str, truncate: bool, context: RequestContext) -> Pending[Entailment]:
        """How many of the hypothesis's letters are in the text, and how many are not."""
        read = self._read(text, truncate, context, hypothesis)
        inside = sum(letter in read for letter in hypothesis)
        failing = math.nan if _FAILING in text else 0.0
        return done(Entailment(len(hypothesis) - inside + failing, float(inside)))

    def embed(self, text: str, reading: Reading, context: RequestContext) -> Pending[bytes]:
        """The counts of the letters, scaled to length 1."""
        prompt = PROMPTS.get(reading.prompt_name or "", "") if reading.prompt is None else reading.prompt
        whole = prompt + text
        read = whole if reading.split else self._read(whole, reading.truncate, context)
        return self._vector(read, _FAILING in text)

    def embed_ids(self, ids: Sequence[int], truncate: bool, context: RequestContext) -> Pending[bytes]:
        """Of a text whose letters are numbered from 0."""
        if not ids or not all(0 <= id_ < len(LETTERS) for id_ in ids):
            raise invalid_argument("has an id that the vocabulary lacks, or none")
        return self._vector(self._read("".join(LETTERS[id_] for id_ in ids), truncate, context))

    def embed_tokens(self, text: str, reading: Reading, context: RequestContext) -> Pending[bytes]:
        """The vector of each word."""
        words = self._read(text, reading.truncate, context).split()
        return done(b"".join(vector_of(word).tobytes() for word in words))

    def embed_sparse(self, text: str, reading: Reading, context: RequestContext) -> Pending[bytes]:
        """The counts of the letters by their code, the last letter first."""
        read = self._read((reading.prompt or "") + text, reading.truncate, context)
        pairs = [(ord(letter), read.count(letter)) for letter in sorted(set(read), reverse=True)]
        array = np.array(pairs, dtype=[("index", "<i4"), ("value", "<f4")])
        if _FAILING in text:
            array["value"] = math.inf
        return done(array.tobytes())

    def token_of(self, token_id: int) -> str:
        """The letter."""
        return chr(token_id)

    def score_pair(
        self, query: str, text: str, truncate: bool, raw_scores: bool, context: RequestContext
    ) -> Pending[float]:
        """How many of the text's letters are in the query."""
        score = float(sum(letter in query for letter in self._read(text, truncate, context, query)))
        score = math.nan if _FAILING in text else score
        return done(score if raw_scores else _sigmoid(score))

    def classify_tokens(self, text: str, tagging: Tagging, context: RequestContext) -> Pending[list[Entity]]:
        """Words that begin with a capital are names, others are O; with simple aggregation neighbours are one."""
        read = self._read(text, tagging.truncate, context)
        pattern = r"\w+" if tagging.aggregation == "none" else r"[A-Z]\w*(?: [A-Z]\w*)*|\w+"
        found = []
        for place, match in enumerate(re.finditer(pattern, read)):
            label = "NAME" if match[0][0].isupper() else "O"
            score = math.nan if _FAILING in match[0] else 0.5
            if label not in tagging.ignore_labels or math.isnan(score):
                index = place if tagging.aggregation == "none" else None
                found.append(Entity(label, score, match[0], *match.span(), index))
        return done(found)

    async def tokenize(self, text: str, special_tokens: bool) -> list[Token]:
        """Its words, with one more before them."""
        words = [Token(len(word[0]), word[0], *word.span()) for word in re.finditer(r"\w+", text)]
        return [Token(0, "[CLS]", None, None), *words] if special_tokens else words

    async def detokenize(self, ids: Sequence[int]) -> str:
        """Letters by their code."""
        if not all(0 <= id_ <= sys.maxunicode and not 0xD800 <= id_ < 0xE000 for id_ in ids):
            raise invalid_argument("ids must be codes of letters")
        return "".join(map(chr, ids))

    def stats(self) -> dict[str, int]:
        """None."""
        return {}

    def drain(self) -> None:
        """Nothing waits."""

    async def close(self) -> None:
        """Nothing is held."""

    def _read(self, text: str, truncate: bool, context: RequestContext, *more: str) -> str:
        self.asked.append((text, *more, context))
        if "late" in text:
            raise deadline_exceeded("the deadline had passed when the request came")
        if len(text) > LIMIT and not truncate:
            raise too_large(f"the text has more than {LIMIT} tokens, the model's limit, and truncate is false")
        return text[:LIMIT]

    def _vector(self, text: str, fails: bool = False) -> Pending[bytes]:
        vector = vector_of(text)
        if fails:
            vector[1] = math.nan
        request = done(vector.tobytes())
        request.tokens = len(text)
        return request


def vector_of(text: str) -> np.ndarray[Any, np.dtype[np.float32]]:
    """What Letters makes of a text."""
    counts = np.array([text.count(letter) for letter in LETTERS], np.float32)
    return counts / max(float(np.linalg.norm(counts)), 1e-12)


def registry_of(settings: Settings, **models: Any) -> Registry:
    """A registry with these models, without files."""
    registry = Registry(settings)
    for name, model in models.items():
        registry._entries[name] = Entry(name, "", state=ModelState.READY, model=model)
    registry._choose_defaults()
    return registry


def done(value: Any) -> Pending[Any]:
    """A result that is there."""
    pending: Pending[Any] = Pending()
    pending.resolve(value)
    return pending


def _spoilt(text: str, scores: dict[str, float]) -> dict[str, float]:
    return dict.fromkeys(scores, math.inf) if _FAILING in text else scores


def _sigmoid(value: float) -> float:
    return 1 / (1 + math.exp(-value))
