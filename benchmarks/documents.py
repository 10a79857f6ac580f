"""What the benchmark sends: one fixed sentence, and documents of varied length."""

from __future__ import annotations

import random
from pathlib import Path

FIXED_SENTENCE = "set an alarm for tomorrow at seven"
WORDS_FILE = Path(__file__).parent.parent / "scripts" / "data" / "utterances.tsv"
MAX_WORDS = 40


def read_words(path: Path = WORDS_FILE) -> list[str]:
    """The words of a training set (label, tab, text), as often as they occur and in their order, so that a word drawn
    from them is as frequent as in the texts."""
    texts = [line.partition("\t")[2] for line in path.read_text(encoding="utf-8").splitlines()]
    words = [word for text in texts for word in text.lower().split()]
    if not words:
        raise ValueError(f"{path}: no line has a text after a tab")
    return words


def varied_documents(words: list[str], count: int = 2000, seed: int = 1) -> list[str]:
    """`count` documents of 1 to 40 words; every length is equally likely."""
    draw = random.Random(seed)
    return [" ".join(draw.choices(words, k=draw.randint(1, MAX_WORDS))) for _ in range(count)]


def write_documents(folder: Path) -> dict[str, Path]:
    """The files `fixed` and `varied` in `folder`, one document a line, as the load generator reads them."""
    contents = {"fixed": [FIXED_SENTENCE], "varied": varied_documents(read_words())}
    paths = {}
    for name, documents in contents.items():
        paths[name] = folder / f"{name}.txt"
        paths[name].write_text("\n".join(documents) + "\n", encoding="utf-8")
    return paths
