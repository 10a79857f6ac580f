"""Smart Reply once more, slow and plain, from its description: what the fast one is tested against.

Sources: the description of the operators in the Smart Reply demonstration of TensorFlow Lite, and of FarmHash.
"""

from __future__ import annotations

import re
from collections import defaultdict
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

SPACE = rb"[\t\n\f\r ]"  # the patterns' white space has no vertical tab
STRIPPED = b"\t\n\v\f\r "
CONTRACTIONS = rb"('t|'nt|n't|'d|'ll|'s|'m|'ve|'re)"
SEPARATOR = rb"[\t\n\f\r ,;:/]"
EDGE = rb"[\t\n\f\r ,:;\-&'\"]"
MASK = (1 << 64) - 1
K0, K1, K2 = 0xC3A5C85C97CB3127, 0xB492B66FBE98F273, 0x9AE16A3B2F90404F


# ------------------------------------------------------------------------------------------------------------- text


def segments(message: bytes) -> list[bytes]:
    """Cut after punctuation that white space follows."""
    text = re.sub(rb"[?.!,]*([?.!,])", rb" \1", message)
    text = re.sub(rb"([?.!,])" + SPACE + rb"+", rb"\1\t", text)
    text = re.sub(rb" +", b" ", text)
    return re.sub(rb"\t+\Z", b"", text).split(b"\t")


def normalized(segment: bytes) -> bytes:
    """`<S> text <E>`."""
    text = bytes(byte + 32 if 65 <= byte <= 90 else byte for byte in segment).strip(STRIPPED)
    text = re.sub(rb'[.*()"]', b"", text)
    text = re.sub(SPACE + CONTRACTIONS + b"(" + SEPARATOR + b")", rb"\1\2", text)
    text = re.sub(SPACE + CONTRACTIONS + rb"\Z", rb"\1", text)
    for ending, words in ((b"'ll", b"will"), (b"'nt", b"not"), (b"'re", b"are"), (b"'ve", b"have"), (b"n't", b"not")):
        text = re.sub(rb"([^\t\n\f\r ]+)" + ending, rb"\1 " + words, text)
    text = text.replace(b"i'm", b"i am")
    text = re.sub(rb"\?+", b"?", text)
    text = re.sub(rb"!+", b"!", text)
    text = re.sub(rb"([^?!]+)([?!])", rb"\1 \2 ", text)
    text = re.sub(rb"([?!])([?!])", rb"\1 \2", text)
    text = re.sub(EDGE + rb"+\Z", b"", text)
    text = re.sub(rb"\A" + EDGE + rb"+", b"", text).strip(STRIPPED)
    return b"<S> " + text + b" <E>" if len(text) <= 300 else b"<S> " + text[:300]


def ngrams(text: bytes, size: int = 3, skip: int = 2) -> list[bytes]:
    """All runs of one to `size` words in their order, with up to `skip` left out between two; none of fewer words."""
    words = [word for word in re.split(rb"[\t\n\v\f\r ]", text) if word]
    if len(words) < size:
        return []
    found: list[tuple[int, ...]] = [(i,) for i in range(len(words))]
    everything = list(found)
    for _ in range(size - 1):
        found = [(*run, i) for run in found for i in range(run[-1] + 1, min(run[-1] + 2 + skip, len(words)))]
        everything += found
    return [b" ".join(words[i] for i in run) for run in sorted(everything, key=_depth_first)]


def _depth_first(run: tuple[int, ...]) -> tuple[float, ...]:
    """The operator's order: longer runs with the same beginning come first."""
    return (*run, float("inf"))


# ---------------------------------------------------------------------------------------------------------- hashing


def fingerprint64(data: bytes) -> int:
    """FarmHash Fingerprint64 of up to 64 bytes and of more."""
    size = len(data)
    if size <= 16:
        return _up_to_16(data)
    multiplier = K2 + 2 * size
    if size <= 32:
        a, b = _word(data, 0) * K1 & MASK, _word(data, 8)
        c, d = _word(data, size - 8) * multiplier & MASK, _word(data, size - 16) * K2
        return _mix(_turn(a + b, 43) + _turn(c, 30) + d, a + _turn(b + K2, 18) + c, multiplier)
    if size <= 64:
        return _up_to_64(data)
    return _over_64(data)


def _word(data: bytes, at: int, size: int = 8) -> int:
    return int.from_bytes(data[at : at + size], "little")


def _turn(value: int, by: int) -> int:
    value &= MASK
    return (value >> by | value << (64 - by)) & MASK


def _fold(value: int) -> int:
    value &= MASK
    return value ^ value >> 47


def _mix(low: int, high: int, multiplier: int) -> int:
    a = _fold(((low ^ high) & MASK) * multiplier)
    return _fold(((high ^ a) & MASK) * multiplier) * multiplier & MASK


def _up_to_16(data: bytes) -> int:
    size = len(data)
    multiplier = K2 + 2 * size
    if size >= 8:
        a, b = _word(data, 0) + K2, _word(data, size - 8)
        return _mix(_turn(b, 37) * multiplier + a, (_turn(a, 25) + b) * multiplier, multiplier)
    if size >= 4:
        return _mix(size + (_word(data, 0, 4) << 3), _word(data, size - 4, 4), multiplier)
    if size:
        y, z = data[0] + (data[size // 2] << 8), size + (data[-1] << 2)
        return _fold(y * K2 ^ z * K0) * K2 & MASK
    return K2


def _up_to_64(data: bytes) -> int:
    size = len(data)
    multiplier = K2 + 2 * size
    a, b = _word(data, 0) * K2, _word(data, 8)
    c, d = _word(data, size - 8) * multiplier, _word(data, size - 16) * K2
    y = _turn(a + b, 43) + _turn(c, 30) + d
    z = _mix(y, a + _turn(b + K2, 18) + c, multiplier)
    e, f = _word(data, 16) * multiplier, _word(data, 24)
    g, h = (y + _word(data, size - 32)) * multiplier, (z + _word(data, size - 24)) * multiplier
    return _mix(_turn(e + f, 43) + _turn(g, 30) + h, e + _turn(f + a, 18) + g, multiplier)


def _over_64(data: bytes) -> int:
    y = 81 * K1 + 113
    x, z = 81 * K2 + _word(data, 0), _fold(y * K2 + 113) * K2
    v, w = (0, 0), (0, 0)
    blocks = [data[i : i + 64] for i in range(0, len(data), 64)]
    blocks[-1] = data[-64:]
    for number, block in enumerate(blocks):
        last = number == len(blocks) - 1
        multiplier, scale = K1, 1
        if last:
            multiplier, scale = K1 + 2 * (z & 0xFF), 9
            w = (w[0] + (len(data) - 1) % 64, w[1])
            v = (v[0] + w[0], v[1])
            w = (w[0] + v[0], w[1])
        x = _turn(x + y + v[0] + _word(block, 8), 37) * multiplier & MASK
        y = _turn(y + v[1] + _word(block, 48), 42) * multiplier
        x ^= w[1] * scale & MASK
        y = y + v[0] * scale + _word(block, 40) & MASK
        z = _turn(z + w[0], 33) * multiplier & MASK
        v = _weak(block[:32], v[1] * multiplier, x + w[0])
        w = _weak(block[32:], z + w[1], y + _word(block, 16))
        x, z = z, x
    return _mix(_mix(v[0], w[0], multiplier) + _fold(y) * K0 + z, _mix(v[1], w[1], multiplier) + x, multiplier)


def _weak(block: bytes, a: int, b: int) -> tuple[int, int]:
    first, second, third, fourth = (_word(block, at) for at in (0, 8, 16, 24))
    a += first
    b = _turn(b + a + fourth, 21)
    turned = _turn(a + second + third, 44)
    return (a + second + third + fourth) & MASK, (b + turned + a) & MASK


# -------------------------------------------------------------------------------------------------------- the graph


def features(runs: Sequence[bytes]) -> tuple[list[int], list[float]]:
    """Ids and weights."""
    frames = (b"<S>", b"<E>", b"<S> <E>")
    ids = [0 if run in frames else fingerprint64(run) % 1_000_000 for run in runs]
    weights = [0.0 if run in frames else 1.0 + run.count(b" ") for run in runs]
    return ids or [0], weights or [0.0]


def projection_sum(seed: np.float32, ids: Sequence[int], weights: Sequence[float]) -> float:
    """Of one seed, in double precision and in order."""
    total = 0.0
    for number, weight in zip(ids, weights, strict=True):
        hashed = fingerprint64(np.float32(seed).tobytes() + int(number).to_bytes(4, "little", signed=True))
        total += float(np.float32(weight)) * float(hashed - (1 << 64) if hashed >> 63 else hashed)
    return total


def signatures(seeds: np.ndarray, ids: Sequence[int], weights: Sequence[float]) -> list[int]:
    """One for each row of seeds."""
    bits = seeds.shape[1]
    return [
        int("".join(str(int(projection_sum(seed, ids, weights) > 0)) for seed in row), 2) + (number << bits)
        for number, row in enumerate(seeds)
    ]


def predicted(
    found: Sequence[int], keys: np.ndarray, labels: np.ndarray, weights: np.ndarray, most: int, threshold: float
) -> list[tuple[int, np.float32]]:
    """Labels with their weights, best first, in single precision."""
    sums: defaultdict[int, np.float32] = defaultdict(lambda: np.float32(0))
    rows = {int(key): row for row, key in reversed(list(enumerate(keys)))}
    for signature in found:
        if signature in rows:
            for label, weight in zip(labels[rows[signature]], weights[rows[signature]], strict=True):
                sums[int(label)] += np.float32(weight) / np.float32(len(found))
    kept = [(label, weight) for label, weight in sums.items() if weight >= np.float32(threshold)]
    return sorted(kept, key=lambda pair: (-pair[1], pair[0]))[:most]
