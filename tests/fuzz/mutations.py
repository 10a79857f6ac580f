"""Mutations of JSON by its structure, which a fuzzer of bytes finds late: another type, a size, a field left out."""

from __future__ import annotations

import json
import re
from random import Random
from typing import Any

_DECODER = json.JSONDecoder()
_LENGTH = re.compile(rb"(?i)(content-length: *)\d+")
_HEAD_END = b"\r\n\r\n"

_VALUES: tuple[Any, ...] = (
    None,
    True,
    False,
    0,
    1,
    -1,
    2,
    255,
    2**31 - 1,
    2**31,
    2**32,
    -(2**31),
    2**53,
    2**63 - 1,
    2**63,
    2**64,
    10**13,
    10**40,
    0.5,
    -0.0,
    1e-320,
    1e308,
    "",
    "a",
    "\x00",
    "\ud800",
    "é" * 3,
    "../x",
    "/etc/passwd",
    "a" * 300,
    [],
    {},
    [[]],
    [{}],
    {"": {}},
    [0] * 40,
)


def json_mutated(data: bytes, seed: int) -> bytes | None:
    """The same with a part of its JSON changed; None where there is none."""
    found = _json_in(data)
    if found is None:
        return None
    begin, end, value = found
    rng = Random(seed)
    for _ in range(rng.choice((1, 1, 1, 2, 5))):
        value = _changed(value, rng)
    try:
        written = json.dumps(value, ensure_ascii=rng.random() < 0.5).encode(errors="surrogatepass")
    except (ValueError, RecursionError):
        return None
    mutated = data[:begin] + written + data[end:]
    head, mark, body = mutated.partition(_HEAD_END)
    if mark:  # of a request: or nothing of the body would be read
        mutated = _LENGTH.sub(rb"\g<1>%d" % len(body), head) + mark + body
    return mutated


def _json_in(data: bytes) -> tuple[int, int, Any] | None:
    places = [place for place in (data.find(b"{"), data.find(b"[")) if place >= 0]
    if not places:
        return None
    begin = min(places)
    text = data[begin:].decode("utf-8", "surrogateescape")
    try:
        value, size = _DECODER.raw_decode(text)
    except (ValueError, RecursionError):
        return None
    return begin, begin + len(text[:size].encode("utf-8", "surrogateescape")), value


def _changed(value: Any, rng: Random) -> Any:
    """One part of it changed, at any depth."""
    if isinstance(value, dict) and value and rng.random() < 0.9:
        key = rng.choice(list(value))
        way = rng.random()
        changed = dict(value)
        if way < 0.1:
            del changed[key]
        elif way < 0.2:
            changed[rng.choice(("", "x", key + "x", "model", "0", "-1"))] = changed.pop(key)
        else:
            changed[key] = _changed(value[key], rng)
        return changed
    if isinstance(value, list) and value and rng.random() < 0.9:
        at = rng.randrange(len(value))
        way = rng.random()
        if way < 0.1:
            return value[:at] + value[at + 1 :]
        if way < 0.2:
            return value[:at] + value[at : at + 1] * rng.choice((2, 3, 50)) + value[at + 1 :]
        return [*value[:at], _changed(value[at], rng), *value[at + 1 :]]
    if isinstance(value, int | float) and not isinstance(value, bool) and rng.random() < 0.4:
        return rng.choice((-value, value + 1, value - 1, value * 2, value * 1000003))
    return rng.choice(_VALUES)


def spoilt(data: bytes, rng: Random) -> bytes:
    """The same with some bytes changed, and often cut short."""
    changed = bytearray(data)
    for _ in range(rng.randint(1, 8)):
        changed[rng.randrange(len(changed))] = rng.randrange(256)
    return bytes(changed[: rng.randint(1, len(changed))] if rng.random() < 0.3 else changed)
