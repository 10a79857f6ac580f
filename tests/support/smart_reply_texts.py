"""Messages for Smart Reply's graph: of every kind that its operators treat differently."""

from __future__ import annotations

import random

WORDS = "I you the meeting tomorrow thanks hello can't won't do n't they 've i'm dinner at ok ? ! .. , ?! é \U0001f600"


def texts_of_every_kind(count: int) -> list[bytes]:
    """Sentences, some in segments; bytes that are no UTF-8; around and over 300 bytes; white space; nothing."""
    chance = random.Random(count)
    vocabulary = WORDS.split()

    def sentence(most: int) -> bytes:
        return (
            chance.choice((" ", " ", "  ", "\t", "\n", "\v"))
            .join(chance.choices(vocabulary, k=chance.randint(0, most)))
            .encode()
        )

    makers = [
        *[lambda: sentence(12)] * 5,
        lambda: chance.randbytes(chance.randint(0, 40)),
        lambda: bytes(chance.choices(b" \t\n\v\f\r'?!.,ab\xc3\0", k=chance.randint(0, 30))),
        lambda: b"x" * chance.randint(296, 304) + sentence(2),
    ]
    return [chance.choice(makers)() for _ in range(count)]
