#!/usr/bin/env python3
"""Train PyText's document classifier (DocNN) on a TSV of label and text, and export it as TorchScript.

    python scripts/train_classifier.py --output models/classifier.pt

The network is DocNN as PyText 0.3 defines it (pytext/models/representations/docnn.py): a word embedding, one
convolution per kernel size padded by that size on both ends, max pooling over time, dropout, a linear decoder and
log-softmax. The export takes PyText's arguments (texts, multi_texts, tokens, languages) and does vocabulary lookup and
padding inside.
"""

from __future__ import annotations

import argparse
import hashlib
import io
import sys
import warnings
from collections import Counter, defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, cast

import torch
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table
from torch import Tensor, nn
from torch.nn import functional

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from process.files import write_atomically

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

DATA = Path(__file__).parent / "data" / "utterances.tsv"
PAD, UNKNOWN = "<pad>", "<unk>"
PAD_ID, UNKNOWN_ID = 0, 1
MAX_LINE_BYTES = 65_536
UNKNOWN_SHARE = 0.15  # of the training tokens become <unk>, which would otherwise never be trained


# ------------------------------------------------------------------------------------------------------------ data


class DataError(Exception):
    """A file cannot be used; the message names it, the line where there is one, and what is wrong."""


@dataclass(frozen=True)
class Example:
    """One labelled document. `tokens` is never empty."""

    label: str
    tokens: tuple[str, ...]


def tokenize(text: str) -> list[str]:
    """PyText's server-side tokens: ASCII letters in lower case, split at the white space of C's isspace.

    A text of white space only gives ["<pad>"].
    """
    return [token.decode() for token in text.encode().lower().split()] or [PAD]


def read_examples(path: Path, max_tokens: int) -> list[Example]:
    """The distinct examples of a UTF-8 file of label, tab, text, one a line; blank lines are skipped.

    Raises DataError with file and line for anything else, and for a text of more than `max_tokens` tokens.
    """
    examples: dict[Example, None] = {}
    try:
        with path.open("rb") as file:
            for number, line in enumerate(iter(lambda: file.readline(MAX_LINE_BYTES + 1), b""), 1):
                if line.strip():
                    examples[_parse(line, f"{path}:{number}", max_tokens)] = None
    except OSError as error:
        raise DataError(f"{path}: {error.strerror}") from error
    sizes = Counter(example.label for example in examples)
    if len(sizes) < 2:
        raise DataError(f"{path}: {len(sizes)} label(s), at least 2 are needed")
    for label, size in sizes.items():
        if size < 2:
            raise DataError(
                f"{path}: label {label!r} has one example, at least 2 are needed (one of them for the test)"
            )
    return list(examples)


def _parse(line: bytes, where: str, max_tokens: int) -> Example:
    if len(line) > MAX_LINE_BYTES:
        raise DataError(f"{where}: the line is longer than {MAX_LINE_BYTES} bytes")
    try:
        label, tab, text = line.decode("utf-8-sig").partition("\t")
    except UnicodeDecodeError as error:
        raise DataError(f"{where}: invalid UTF-8 at byte {error.start}") from error
    if not tab:
        raise DataError(f"{where}: no tab between label and text")
    if not label.strip():
        raise DataError(f"{where}: empty label")
    if not text.strip():
        raise DataError(f"{where}: empty text")
    tokens = tokenize(text)
    if len(tokens) > max_tokens:
        raise DataError(f"{where}: {len(tokens)} tokens, the limit is {max_tokens} (--max-tokens)")
    return Example(label.strip(), tuple(tokens))


def split(examples: Iterable[Example], test_share: float) -> tuple[list[Example], list[Example]]:
    """Training and test examples: of each label, the `test_share` whose texts have the lowest SHA-256.

    The same text is always on the same side, whatever the seed and the order of the file. Each side gets at least one
    example of each label.
    """
    by_label = defaultdict(list)
    for example in examples:
        by_label[example.label].append(example)
    train: list[Example] = []
    test: list[Example] = []
    for label in sorted(by_label):
        ordered = sorted(by_label[label], key=lambda e: hashlib.sha256(" ".join(e.tokens).encode()).digest())
        cut = min(max(1, round(test_share * len(ordered))), len(ordered) - 1)
        test += ordered[:cut]
        train += ordered[cut:]
    return train, test


# --------------------------------------------------------------------------------------------------------- network


class DocNN(nn.Module):
    """Token ids int64[n, w] to log-probabilities float32[n, labels].

    With `mask` the embedding of <pad> is zero and stays so. Because the convolutions pad both ends with zeros by their
    own width, every document already meets windows of nothing but zeros: more of them, beside a longer document, cannot
    change its maximum. Without `mask` <pad> is a word like any other, as in PyText, and scores depend on the padding.
    """

    def __init__(
        self,
        vocabulary_size: int,
        label_count: int,
        embedding_dim: int = 100,
        filters: int = 100,
        kernel_sizes: Sequence[int] = (3, 4),
        dropout: float = 0.4,
        mask: bool = True,
    ) -> None:
        super().__init__()
        self.filters = filters
        self.kernel_sizes = tuple(kernel_sizes)
        self.embedding = nn.Embedding(vocabulary_size, embedding_dim, padding_idx=PAD_ID if mask else None)
        with torch.no_grad():
            self.embedding.weight.mul_(0.1)  # on a few hundred examples: 92 % right in 5-fold validation, not 89 %
        self.convolutions = nn.ModuleList(
            [nn.Conv1d(embedding_dim, filters, size, padding=size) for size in kernel_sizes]
        )
        self.dropout = nn.Dropout(dropout)
        self.decoder = nn.Linear(filters * len(kernel_sizes), label_count)

    def forward(self, ids: Tensor) -> Tensor:
        embedded = self.embedding(ids).transpose(1, 2)
        pooled = [functional.relu(convolution(embedded)).amax(2) for convolution in self.convolutions]
        return functional.log_softmax(self.decoder(self.dropout(torch.cat(pooled, 1))), 1)


class Vocabulary(nn.Module):
    """Documents as lists of tokens to padded ids int64[n, w], w the longest one's tokens; unknown tokens are <unk>.

    A document without tokens counts as ["<pad>"].
    """

    def __init__(self, tokens: Sequence[str]) -> None:
        super().__init__()
        self.ids = {token: i for i, token in enumerate(tokens)}
        self.pad_id = PAD_ID
        self.unknown_id = UNKNOWN_ID

    def forward(self, documents: list[list[str]]) -> Tensor:
        width = 1
        for document in documents:
            width = max(width, len(document))
        ids: list[int] = []  # flat, because TorchScript is slow to turn a list of lists into a tensor
        for document in documents:
            for token in document:
                ids.append(self.ids.get(token, self.unknown_id))
            for _ in range(width - len(document)):
                ids.append(self.pad_id)
        return torch.tensor(ids).view(len(documents), width)


class Classifier(nn.Module):
    """A trained DocNN in PyText's export form: lists of tokens in, a map of label to log-probability per document out.

    The same network with its products done beforehand. A convolution over embedded tokens is a sum of one product per
    place in the window, and one factor is always a vector of the vocabulary: `shares` holds what each token adds to
    each filter from each place. Short filters count as long ones with zeros, so that all of them share one window.
    Serving only adds rows up. The price is memory: filters of all widths * widest width numbers per known token.
    """

    def __init__(self, network: DocNN, vocabulary: Vocabulary, labels: Sequence[str]) -> None:
        super().__init__()
        self.labels = list(labels)
        self.vocabulary = vocabulary
        # No nn.Linear: TorchScript writes its constants in an order that varies from process to process.
        self.decoder_weight = nn.Parameter(network.decoder.weight.detach().double())
        self.decoder_bias = nn.Parameter(network.decoder.bias.detach().double())
        self.width = max(network.kernel_sizes)
        self.outside = network.embedding.num_embeddings  # the id of the zeros around a document
        with torch.no_grad():
            convolutions = [cast("nn.Conv1d", module) for module in network.convolutions]
            weights = [functional.pad(c.weight, [0, self.width - c.weight.size(2)]) for c in convolutions]
            vectors = functional.pad(network.embedding.weight, [0, 0, 0, 1])
            shares = torch.einsum("td,fdp->tpf", vectors, torch.cat(weights))  # token, dimension, filter, place
            self.bias = nn.Parameter(torch.cat([c.bias for c in convolutions if c.bias is not None]))
        self.shares = nn.Parameter(shares.flatten(0, 1))  # in row `id * width + place`
        self.places = nn.Buffer(torch.arange(self.width))

    def forward(
        self,
        texts: list[str] | None = None,
        multi_texts: list[list[str]] | None = None,
        tokens: list[list[str]] | None = None,
        languages: list[str] | None = None,
    ) -> list[dict[str, float]]:
        if tokens is None:
            raise RuntimeError("tokens is required: this model was exported without a tokenizer")
        if len(tokens) == 0:
            return []
        rows: list[list[float]] = self.log_probabilities(self.vocabulary(tokens)).tolist()
        scores: list[dict[str, float]] = []
        for row in rows:
            document: dict[str, float] = {}
            for i, label in enumerate(self.labels):
                document[label] = row[i]
            scores.append(document)
        return scores

    def log_probabilities(self, ids: Tensor) -> Tensor:
        """float64[n, labels] of the ids int64[n, w]; equal to DocNN's but for rounding.

        The last product is done in double precision: in single precision it rounds differently for one document and for
        several, and scores would differ by some 1e-6 between a document alone and in a batch.
        """
        rows = functional.pad(ids, [self.width, self.width], value=float(self.outside)) * self.width
        windows = rows.unfold(1, self.width, 1) + self.places
        sums = functional.embedding_bag(windows.view(-1, self.width), self.shares, mode="sum")
        pooled = sums.view(ids.size(0), -1, self.bias.size(0)).amax(1)
        # The bias is the same for all windows and relu is monotonic: both may wait until the maximum is known.
        hidden = functional.relu(pooled + self.bias).double()
        return functional.log_softmax(functional.linear(hidden, self.decoder_weight, self.decoder_bias), 1)


def export(module: nn.Module) -> bytes:
    """The module, for evaluation only, as a TorchScript file's bytes; the same module gives the same bytes."""
    buffer = io.BytesIO()  # saved by name, the archive would carry the name of a temporary file
    with warnings.catch_warnings(action="ignore", category=DeprecationWarning):  # TorchScript is what we are here for
        torch.jit.save(torch.jit.script(module.eval().requires_grad_(False)), buffer)
    return buffer.getvalue()


def load(file: Path | BinaryIO) -> torch.jit.ScriptModule:
    """The TorchScript module in a file, on the CPU."""
    with warnings.catch_warnings(action="ignore", category=DeprecationWarning):
        module: torch.jit.ScriptModule = torch.jit.load(file, map_location="cpu")
        return module


# -------------------------------------------------------------------------------------------------------- training


@dataclass(frozen=True)
class Settings:
    """How to train; each field is the command line's option of the same name."""

    epochs: int
    seed: int
    batch_size: int
    learning_rate: float
    embedding_dim: int
    filters: int
    kernel_sizes: list[int]
    max_words: int
    mask: bool


def vocabulary_of(examples: Iterable[Example], max_words: int) -> Vocabulary:
    """<pad>, <unk> and the `max_words` most frequent tokens of the examples."""
    counts = Counter(token for example in examples for token in example.tokens)
    ordered = sorted(counts.keys() - {PAD, UNKNOWN}, key=lambda token: (-counts[token], token))
    return Vocabulary([PAD, UNKNOWN, *ordered[:max_words]])


def batches(
    examples: Sequence[Example], vocabulary: Vocabulary, labels: Sequence[str], size: int
) -> Iterator[tuple[Tensor, Tensor]]:
    """All examples in random order: ids int64[n, w], some of them replaced by <unk>, and label numbers int64[n]."""
    numbers = {label: i for i, label in enumerate(labels)}
    for chosen in torch.randperm(len(examples)).split(size):
        batch = [examples[i] for i in chosen.tolist()]
        ids = vocabulary([list(example.tokens) for example in batch])
        ids[(torch.rand(ids.shape) < UNKNOWN_SHARE) & (ids != PAD_ID)] = UNKNOWN_ID
        yield ids, torch.tensor([numbers[example.label] for example in batch])


def train(examples: Sequence[Example], settings: Settings, on_epoch: Callable[[int, float], object]) -> Classifier:
    """A classifier for the labels of `examples`; `on_epoch(number, mean loss)` is called after every epoch."""
    torch.manual_seed(settings.seed)
    vocabulary = vocabulary_of(examples, settings.max_words)
    labels = sorted({example.label for example in examples})
    sizes = (settings.embedding_dim, settings.filters, settings.kernel_sizes)
    network = DocNN(len(vocabulary.ids), len(labels), *sizes, mask=settings.mask)
    optimizer = torch.optim.AdamW(network.parameters(), lr=settings.learning_rate)
    for epoch in range(1, settings.epochs + 1):
        total = 0.0
        for ids, targets in batches(examples, vocabulary, labels, settings.batch_size):
            loss = functional.nll_loss(network(ids), targets)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            total += loss.item() * len(targets)
        on_epoch(epoch, total / len(examples))
    return Classifier(network, vocabulary, labels)


def confusion(model: torch.jit.ScriptModule, examples: Sequence[Example]) -> Counter[tuple[str, str]]:
    """How often each (label, best scored label) occurs among the examples, each sent alone."""
    counts: Counter[tuple[str, str]] = Counter()
    with torch.inference_mode():
        for example in examples:
            (scores,) = model(tokens=[list(example.tokens)])
            counts[example.label, max(scores, key=scores.__getitem__)] += 1
    return counts


# ---------------------------------------------------------------------------------------------------- command line


def bounded(kind: type[int] | type[float], low: float, high: float) -> Callable[[str], float]:
    """An argparse type: a number of that kind from `low` to `high`."""

    def number(text: str) -> float:
        value = kind(text)
        if not low <= value <= high:
            raise argparse.ArgumentTypeError(f"{text} is not between {low} and {high}")
        return value

    number.__name__ = kind.__name__  # argparse names it in its message for what is no number
    return number


def parse_arguments(arguments: Sequence[str] | None) -> argparse.Namespace:
    """The command line, checked."""
    parser = argparse.ArgumentParser(
        description="Train a DocNN text classifier and export it as TorchScript.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    count = bounded(int, 1, 4096)
    add = parser.add_argument
    add("--data", type=Path, default=DATA, metavar="TSV", help="training set, UTF-8: label, tab, text on each line")
    add(
        "--output",
        type=Path,
        required=True,
        default=argparse.SUPPRESS,
        metavar="FILE",
        help="the model to write; its folder is created",
    )
    add("--epochs", type=bounded(int, 1, 10_000), default=12, help="passes over the training set")
    add("--seed", type=bounded(int, 0, 2**63 - 1), default=1, help="same seed, data, options and threads: same file")
    add("--batch-size", type=count, default=16, help="examples in a step")
    add("--learning-rate", type=bounded(float, 1e-7, 1), default=2e-3, help="of AdamW")
    add("--embedding-dim", type=count, default=100, help="numbers in a token's vector")
    add("--filters", type=count, default=100, help="convolution filters of each width")
    add(
        "--kernel-sizes",
        type=bounded(int, 1, 64),
        nargs="+",
        default=[3, 4],
        metavar="WIDTH",
        help="tokens in a window",
    )
    add("--max-words", type=bounded(int, 1, 1_000_000), default=50_000, help="the most frequent words get a vector")
    add(
        "--mask",
        action=argparse.BooleanOptionalAction,
        default=True,
        help="scores independent of padding; without it a batch's longest document changes the others, as in PyText",
    )
    add("--test-share", type=bounded(float, 0.01, 0.9), default=0.2, help="of each label's texts, held out by hash")
    add("--max-tokens", type=bounded(int, 1, 100_000), default=512, help="longest text accepted from the training set")
    add(
        "--threads",
        type=bounded(int, 1, 256),
        default=1,
        help="of the processor; a small network trains fastest on one",
    )
    return parser.parse_args(arguments)


def report(counts: Counter[tuple[str, str]]) -> tuple[Table, float]:
    """A table of each label's examples, recall and precision, and the accuracy over all."""
    table = Table("label", "examples", "recall", "precision")
    for label in sorted({label for label, _ in counts}):
        size = sum(n for (actual, _), n in counts.items() if actual == label)
        answers = sum(n for (_, best), n in counts.items() if best == label)
        hits = counts[label, label]
        table.add_row(label, f"{size}", f"{hits / size:.3f}", f"{hits / answers:.3f}" if answers else "-")
    return table, sum(n for (actual, best), n in counts.items() if actual == best) / counts.total()


def run(options: argparse.Namespace, console: Console) -> None:
    """Read, train, test, write."""
    torch.set_num_threads(options.threads)
    torch.use_deterministic_algorithms(True)
    if options.output.is_dir():
        raise DataError(f"{options.output}: is a directory, --output is the file to write")
    options.output.parent.mkdir(parents=True, exist_ok=True)  # now, not after the training
    examples = read_examples(options.data, options.max_tokens)
    training, test = split(examples, options.test_share)
    console.print(f"{len(training)} training examples, {len(test)} held out, from {options.data}")
    settings = Settings(**{name: getattr(options, name) for name in Settings.__dataclass_fields__})
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console) as progress:
        task = progress.add_task("training", total=settings.epochs)

        def on_epoch(number: int, loss: float) -> None:
            progress.console.print(f"epoch {number}: loss {loss:.4f}")
            progress.advance(task)

        content = export(train(training, settings, on_epoch))
    table, accuracy = report(confusion(load(io.BytesIO(content)), test))
    console.print(table)
    console.print(f"held-out accuracy: {accuracy:.3f}")
    write_atomically(options.output, content)
    console.print(f"wrote {options.output} ({len(content)} bytes, sha256 {hashlib.sha256(content).hexdigest()[:12]})")


def main(arguments: Sequence[str] | None = None) -> int:
    """Exit status 0, or 2 for input that cannot be used."""
    options = parse_arguments(arguments)
    try:
        run(options, Console(highlight=False, markup=False, emoji=False, soft_wrap=True))
    except DataError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except OSError as error:
        print(f"error: {error.filename or options.output}: {error.strerror}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
