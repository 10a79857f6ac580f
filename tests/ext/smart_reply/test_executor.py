"""The executor of the graph: what each operator's description says."""

from __future__ import annotations

import numpy as np
from hypothesis import example, given, settings
from hypothesis import strategies as st

from ext import _smart_reply
from server.models.smart_reply_engine import SmartReplyInterpreter
from tests.support import plain_smart_reply as plain
from tests.support.smart_reply_models import small_parts
from tests.support.smart_reply_texts import texts_of_every_kind

words = st.text(alphabet="ab'n?! ,.-é\0", max_size=12)
messages = st.lists(words, max_size=6).map(" ".join)


def test_each_operator_gives_what_its_description_says() -> None:
    parts, options = small_parts(), _smart_reply.SkipGramOptions()
    table, limits = parts.table, parts.limits
    projection = _smart_reply.Projection(parts.seeds.tolist(), options)
    model = _smart_reply.Model(_smart_reply.ModelFile.copied(parts.graph()))
    for segment in [b"", b"a b c d e f g", b"xyz " * 100, *texts_of_every_kind(150)]:
        normalized = plain.normalized(segment)
        ngrams = plain.ngrams(normalized)
        ids, weights = plain.features(ngrams)
        signatures = plain.signatures(parts.seeds, ids, weights)
        assert _smart_reply.normalized(segment) == normalized
        assert _smart_reply.skip_grams(normalized, options) == ngrams
        assert _smart_reply.features(normalized, options) == (ids, weights)
        assert projection.signatures(segment) == signatures
        best = plain.predicted(
            signatures, table.keys, table.labels, table.weights, limits.max_replies, limits.threshold
        )
        assert model.best_labels(signatures) == best


@settings(max_examples=80)
@given(st.lists(messages, min_size=1, max_size=3))
@example(["", "?!.,", "a" * 300, "a" * 301])
def test_replies_add_up_over_segments_and_messages(texts: list[str]) -> None:
    """Empty texts are dropped, and the same text adds up: two responses of this model are the same, one is empty."""
    parts = small_parts()
    wanted: dict[str, np.float32] = {}
    for text in texts:
        for segment in plain.segments(text.encode()):
            ids, weights = plain.features(plain.ngrams(plain.normalized(segment)))
            found = plain.signatures(parts.seeds, ids, weights)
            table, limits = parts.table, parts.limits
            for label, score in plain.predicted(
                found, table.keys, table.labels, table.weights, limits.max_replies, limits.threshold
            ):
                if reply := parts.responses[label]:
                    wanted[reply] = np.float32(wanted.get(reply, np.float32(0)) + score)
    replies = SmartReplyInterpreter(parts.graph()).merged_replies(texts)
    assert replies == {reply: float(score) for reply, score in wanted.items()}
    assert list(replies) == sorted(wanted, key=lambda reply: (-wanted[reply], reply))
