"""Texts of many kinds and lengths, the same on every run."""

from __future__ import annotations

import random

SEED = 11
_WORDS = """
the a of to and in is it you that he was for on are with as his they be at one have this from or had by hot
but some what there we can out other were all your when up use word how said an each she which do their time
if will way about many then them would write like so these her long make thing see him two has look more day
could go come weather alarm reminder tomorrow airport dinner unbelievable internationalisation 2026 3.14 Paris
"""
ODD = [
    "",
    " ",
    "\n\t ",
    ".",
    "...!?",
    "a",
    "[CLS] [SEP] [MASK] [PAD]",
    "😀",
    "👨‍👩‍👧‍👦 👋🏽 🎉🎉🎉 party",
    "今日はとても良い天気ですね。散歩に行きましょう。",
    "我喜欢在早上喝咖啡,然后去上班。",
    "안녕하세요, 만나서 반갑습니다.",
    "Привет, как дела?",
    "مرحبا بالعالم، كيف حالك اليوم؟",
    "שלום עולם",
    "สวัสดีชาวโลก",
    "Straße, naïve café — “quotes” … £100",
    "e\u0301 combining, \u200bzero width, \u00a0no break, \ufeffmark",
    "null\x00byte and \x07bell",
    "x = f(y) if y > 0 else {'k': [1, 2]}",
    "https://example.org/a/b?c=d&e=f#g",
    "supercalifragilisticexpialidocious" * 10,
    "語" * 600,
    "word " * 2000,
    " " * 3000 + "far behind",
    "a" * 5000 + " after a long word",
]


def texts(count: int) -> list[str]:
    """`count` texts, at least 30: odd ones first, then sentences of 1 to 400 words, most of them short."""
    choice = random.Random(SEED)
    sentences = []
    for _ in range(count - len(ODD)):
        length = min(400, int(choice.paretovariate(0.8)))
        sentence = " ".join(choice.choices(_WORDS.split(), k=length))
        sentences.append(choice.choice((sentence, sentence.capitalize() + ".", sentence.upper(), sentence + "?")))
    return ODD + sentences
