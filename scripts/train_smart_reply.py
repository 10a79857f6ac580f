#!/usr/bin/env python3
"""Build a Smart Reply model from messages and their replies, for serving your own.

    python scripts/train_smart_reply.py replies.tsv --output models/replies.tflite

The file holds one message a line, then its replies, all separated by tabs:

    when is the meeting?<TAB>At ten.<TAB>I will check.

The graph is that of Google's model, a projection without weights to train: every segment of a message has `--hashes`
signatures of `--bits` bits, each a locality-sensitive hash of its n-grams, so that segments with words in common have
signatures in common. A signature's row keeps how often each reply was given where it was seen; a reply's score is the
mean of that share over all signatures of a segment (S. Ravi, ProjectionNet, https://arxiv.org/abs/1708.00630).
"""

from __future__ import annotations

import argparse
import sys
from collections import Counter, defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from rich.console import Console
from rich.progress import track

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from ext import _smart_reply
from process.files import write_atomically
from server.errors import ModelError
from server.models.smart_reply_engine import SmartReplyInterpreter

try:
    from scripts.smart_reply_graph import Limits, ReplyTable, reply_graph
except ModuleNotFoundError as missing:  # the schema of .tflite files, which a server does not need
    sys.exit(f"error: {missing}; get it by: {sys.executable} -m pip install tflite==2.18.0")

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

MAX_LINE_BYTES = 65_536
MAX_RESPONSES = 1_000_000
MAX_ROWS = 10_000_000
NOTHING = _smart_reply.normalized(b"")


class DataError(Exception):
    """A file cannot be used; the message names it, the line where there is one, and what is wrong."""


@dataclass(frozen=True)
class Example:
    """One message and what was replied."""

    message: str
    replies: tuple[str, ...]


def read_examples(path: Path, max_replies: int) -> list[Example]:
    """The examples of a UTF-8 file; blank lines are skipped.

    Raises DataError with file and line for anything else, and for more than `max_replies` replies to a message.
    """
    examples = []
    with path.open("rb") as file:
        for number, line in enumerate(iter(lambda: file.readline(MAX_LINE_BYTES + 1), b""), 1):
            if line.strip():
                examples.append(_parse(line, f"{path}:{number}", max_replies))
    if not examples:
        raise DataError(f"{path}: no messages")
    return examples


def _parse(line: bytes, where: str, max_replies: int) -> Example:
    if len(line) > MAX_LINE_BYTES:
        raise DataError(f"{where}: the line is longer than {MAX_LINE_BYTES} bytes")
    try:
        message, *replies = (field.strip() for field in line.decode("utf-8-sig").split("\t"))
    except UnicodeDecodeError as error:
        raise DataError(f"{where}: invalid UTF-8 at byte {error.start}") from error
    if not message:
        raise DataError(f"{where}: empty message")
    if b"\0" in line:
        raise DataError(f"{where}: a NUL character")
    if not replies or not all(replies):
        raise DataError(f"{where}: no reply, or an empty one, after the tab")
    if len(replies) > max_replies:
        raise DataError(f"{where}: {len(replies)} replies, the limit is {max_replies} (--replies-per-signature)")
    if not any(segments_of(message)):
        raise DataError(f"{where}: the message is only white space and punctuation")
    return Example(message, tuple(replies))


def segments_of(message: str) -> list[bytes]:
    """The segments of which normalizing leaves something."""
    return [part for part in _smart_reply.segments(message.encode()) if _smart_reply.normalized(part) != NOTHING]


def reply_table(
    examples: Sequence[Example],
    labels: dict[str, int],
    projection: _smart_reply.Projection,
    width: int,
    console: Console,
) -> ReplyTable:
    """How often each reply was given where a signature was seen, as a share; the `width` most frequent of each."""
    counts: defaultdict[int, Counter[int]] = defaultdict(Counter)
    for example in track(examples, "projecting messages", console=console, transient=True):
        replies = [labels[reply] for reply in example.replies]
        for segment in segments_of(example.message):
            for signature in projection.signatures(segment):
                counts[signature].update(replies)
    if len(counts) > MAX_ROWS:
        raise DataError(f"{len(counts)} signatures, the limit is {MAX_ROWS}: fewer --hashes or --bits")
    keys = np.array(sorted(counts), dtype=np.int32)
    table = ReplyTable(keys, np.zeros((len(keys), width), np.int32), np.zeros((len(keys), width), np.float32))
    for row, key in enumerate(keys.tolist()):
        total = counts[key].total()
        table.labels[row] = min(counts[key])  # of what a row has no use for: a label with weight 0
        for column, (label, count) in enumerate(sorted(counts[key].items(), key=lambda item: (-item[1], item[0]))):
            if column == width:
                break
            table.labels[row, column] = label
            table.weights[row, column] = count / total
    return table


def train(examples: Sequence[Example], options: argparse.Namespace, console: Console) -> bytes:
    """The model's file."""
    responses = list(dict.fromkeys(reply for example in examples for reply in example.replies))
    if len(responses) > MAX_RESPONSES:
        raise DataError(f"{len(responses)} different replies, the limit is {MAX_RESPONSES}")
    labels = {response: label for label, response in enumerate(responses)}
    generator = np.random.default_rng(options.seed)
    bits = options.bits or min(max(6, len(examples).bit_length() + 3), 12)
    seeds = generator.uniform(0, 1000, (options.hashes, bits)).astype(np.float32)
    projection = _smart_reply.Projection(seeds.tolist(), _smart_reply.SkipGramOptions())
    table = reply_table(examples, labels, projection, options.replies_per_signature, console)
    console.print(f"{len(examples)} messages, {len(responses)} replies, {len(table.keys)} signatures of {bits} bits")
    return reply_graph(seeds, table, responses, Limits(options.max_replies, options.threshold))


def answered(model: bytes, examples: Sequence[Example], console: Console) -> Iterator[bool]:
    """For each message whether its best reply is one of its own."""
    interpreter = SmartReplyInterpreter(model)
    for example in track(examples, "asking the model", console=console, transient=True):
        yield next(iter(interpreter.replies(example.message)), None) in example.replies


def run(options: argparse.Namespace, console: Console) -> None:
    """Read, train, check, write."""
    examples = read_examples(options.data, options.replies_per_signature)
    model = train(examples, options, console)
    right = sum(answered(model, examples, console))
    console.print(f"best reply is one that was given: {right / len(examples):.1%} of the messages it was built from")
    options.output.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(options.output, model)
    console.print(f"wrote {options.output}, {len(model):,} bytes")


def _number(kind: type[int] | type[float], least: float, most: float) -> Callable[[str], float]:
    def parse(text: str) -> float:
        value = kind(text)
        if not least <= value <= most:
            raise argparse.ArgumentTypeError(f"{value} is not between {least:g} and {most:g}")
        return value

    parse.__name__ = kind.__name__  # what argparse calls it in a message
    return parse


def parse_arguments(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Settings of the command line, within limits that the graph's 32-bit signatures allow."""
    first, _, rest = (__doc__ or "").partition("\n\n")
    parser = argparse.ArgumentParser(
        description=first, epilog=rest, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("data", type=Path, help="TSV of message and replies")
    parser.add_argument("--output", type=Path, default=Path("models/replies.tflite"), help="default: %(default)s")
    for name, parse, default, text in (
        ("--hashes", _number(int, 1, 1024), 60, "signatures of a segment"),
        (
            "--bits",
            _number(int, 0, 20),
            0,
            "bits of a signature: the more, the less is in common; 0: by number of messages",
        ),
        ("--replies-per-signature", _number(int, 1, 100), 5, "replies that a row of the table keeps"),
        ("--max-replies", _number(int, 1, 1000), 30, "replies that the model gives for a segment at most"),
        (
            "--threshold",
            _number(float, 0, 1),
            0.05,
            "least score of a reply: of 60 signatures 3 that only it was seen with",
        ),
        ("--seed", _number(int, 0, 2**32 - 1), 0, "of the hashes"),
    ):
        parser.add_argument(name, type=parse, default=default, metavar="N", help=f"{text}; default: %(default)s")
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None) -> int:
    """Exit status 0, or 2 for input that cannot be used."""
    options = parse_arguments(arguments)
    try:
        run(options, Console(highlight=False, markup=False, emoji=False, soft_wrap=True))
    except (DataError, ModelError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except OSError as error:
        print(f"error: {error.filename or options.output}: {error.strerror}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
