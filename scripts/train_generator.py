#!/usr/bin/env python3
"""Train a small GPT-2 and its tokenizer on a text, for the server to generate from.

    python scripts/train_generator.py --output models/generator

The text is scripts/data/harbour.txt, a story written for this purpose, or any UTF-8 file of your own (--text). OUT
becomes a folder as Hugging Face's libraries save and load them: config.json, model.safetensors, tokenizer.json. While
it trains, OUT.checkpoint holds all that --resume needs to go on after an interruption, to the same result.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import json
import math
import signal
import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from safetensors import SafetensorError
from safetensors.torch import save_file
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from torch import Tensor
from torch.nn import functional

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from process.files import replacing
from scripts.gpt2 import Config, Gpt2

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

TEXT = Path(__file__).parent / "data" / "harbour.txt"
END = "<|endoftext|>"
END_TOKEN = 0
SAVE_EVERY = 50
WARM_UP_STEPS = 20
MOST_TEXT_BYTES = 256 << 20
LEAST_RATE = 0.1


class TrainingError(Exception):
    """There is nothing to train on, or to resume; the message says what and where."""


def read_text(path: Path) -> str:
    """The file's text. Raises TrainingError, OSError."""
    if path.stat().st_size > MOST_TEXT_BYTES:
        raise TrainingError(f"{path} has more than {MOST_TEXT_BYTES} bytes")
    try:
        text = path.read_bytes().decode()
    except UnicodeDecodeError as error:
        raise TrainingError(f"{path} is not UTF-8: {error}") from None
    if not text.strip():
        raise TrainingError(f"{path} is empty")
    return text


def train_tokenizer(text: str, size: int) -> Tokenizer:
    """Byte-level BPE as GPT-2's, of at most `size` tokens; token 0 ends a text."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=size,
        special_tokens=[END],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(text.splitlines(keepends=True), trainer)
    return tokenizer


def token_stream(tokenizer: Tokenizer, text: str, context: int) -> Tensor:
    """The text's tokens, between two ends, int64 [tokens]. Raises TrainingError."""
    tokens = [END_TOKEN, *tokenizer.encode(text).ids, END_TOKEN]
    if len(tokens) <= context + 1:
        raise TrainingError(f"the text has {len(tokens)} tokens; more than {context + 1} are needed (--context)")
    return torch.tensor(tokens)


class Training:
    """A model on its way: weights, optimiser and random numbers, all of which a checkpoint holds."""

    def __init__(self, stream: Tensor, config: Config, options: argparse.Namespace) -> None:
        self._stream, self._options = stream, options
        self._context = config.context
        self._generator = torch.Generator().manual_seed(options.seed)
        torch.manual_seed(options.seed)
        self.model = Gpt2(config)
        matrices = [weight for weight in self.model.parameters() if weight.dim() == 2]
        others = [weight for weight in self.model.parameters() if weight.dim() != 2]
        groups = [{"params": matrices, "weight_decay": 0.1}, {"params": others, "weight_decay": 0.0}]
        self._optimiser = torch.optim.AdamW(groups, lr=options.rate, betas=(0.9, 0.99))
        self.steps = 0
        self.losses: list[float] = []
        # What a checkpoint must have been made with to be gone on with.
        text = hashlib.sha256(stream.numpy().tobytes()).hexdigest()
        chosen = {name: vars(options)[name] for name in ("steps", "batch", "rate", "seed", "threads")}
        self._identity = {"text": text, **asdict(config), **chosen}

    def step(self) -> float:
        """One batch; its loss in nats a token."""
        starts = torch.randint(len(self._stream) - self._context, (self._options.batch,), generator=self._generator)
        windows = torch.stack([self._stream[start : start + self._context + 1] for start in starts.tolist()])
        logits = self.model(windows[:, :-1])
        loss = functional.cross_entropy(logits.flatten(0, 1), windows[:, 1:].flatten())
        for group in self._optimiser.param_groups:
            group["lr"] = self._rate()
        self._optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        self._optimiser.step()
        self.steps += 1
        self.losses.append(loss.item())
        return self.losses[-1]

    def save(self, path: Path) -> None:
        """Write a checkpoint, whole or not at all. Raises TrainingError, OSError."""
        state = {
            "identity": self._identity,
            "model": self.model.state_dict(),
            "optimiser": self._optimiser.state_dict(),
            "windows": self._generator.get_state(),
            "dropout": torch.get_rng_state(),
            "steps": self.steps,
            "losses": self.losses,
        }
        try:
            with replacing(path) as part:
                torch.save(state, part)
        except RuntimeError as error:  # no room, for one
            raise TrainingError(f"{path} cannot be written: {error}") from None

    def restore(self, path: Path) -> None:
        """Go on where `save` was. Raises TrainingError."""
        try:
            state: dict[str, Any] = torch.load(path, weights_only=True)
        except FileNotFoundError:
            raise TrainingError(f"--resume: there is no checkpoint {path}") from None
        except Exception as error:  # whatever a damaged file makes of pickle and zip
            raise TrainingError(f"--resume: {path} is damaged: {error}") from None
        if not isinstance(state, dict) or state.get("identity") != self._identity:
            raise TrainingError(f"--resume: {path} was made with another text or other options")
        self.model.load_state_dict(state["model"])
        self._optimiser.load_state_dict(state["optimiser"])
        self._generator.set_state(state["windows"])
        torch.set_rng_state(state["dropout"])
        self.steps, self.losses = state["steps"], state["losses"]

    def _rate(self) -> float:
        """Up in a line, then down in half a cosine."""
        if self.steps < WARM_UP_STEPS:
            return float(self._options.rate) * (self.steps + 1) / WARM_UP_STEPS
        done = (self.steps - WARM_UP_STEPS) / max(1, self._options.steps - WARM_UP_STEPS)
        return float(self._options.rate) * (LEAST_RATE + (1 - LEAST_RATE) * (1 + math.cos(math.pi * done)) / 2)


def train(training: Training, steps: int, checkpoint: Path, console: Console) -> None:
    """Take the steps that are left. SIGINT and SIGTERM write a checkpoint after the step that they come in.

    Raises KeyboardInterrupt then.
    """
    columns = (
        TextColumn("training"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("loss {task.fields[loss]}"),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console) as progress, signals_held() as signals:
        task = progress.add_task("", total=steps, completed=training.steps, loss="-")
        while training.steps < steps:
            loss = training.step()
            progress.update(task, advance=1, loss=f"{loss:.2f}")
            if signals or training.steps % SAVE_EVERY == 0:
                training.save(checkpoint)
            if signals:
                raise KeyboardInterrupt


@contextlib.contextmanager
def signals_held() -> Iterator[list[int]]:
    """SIGINT and SIGTERM are noted in the list: within a step they would leave something that no step leaves."""
    signals: list[int] = []
    held = (signal.SIGINT, signal.SIGTERM)
    before = [signal.signal(number, lambda number, _frame: signals.append(number)) for number in held]
    try:
        yield signals
    finally:
        for number, handler in zip(held, before, strict=True):
            signal.signal(number, handler)


def save_folder(folder: Path, model: Gpt2, config: Config, tokenizer: Tokenizer) -> None:
    """As Hugging Face's libraries have it."""
    save_file({name: weight.contiguous() for name, weight in model.state_dict().items()}, folder / "model.safetensors")
    (folder / "config.json").write_text(json.dumps(config.for_hugging_face(END_TOKEN), indent=2) + "\n")
    (folder / "tokenizer.json").write_text(tokenizer.to_str(pretty=True), encoding="utf-8")


def parse_arguments(arguments: Sequence[str] | None) -> argparse.Namespace:
    """The options; ends the program when they are wrong."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--output", type=Path, required=True, metavar="OUT", help="the folder to write")
    add("--text", type=Path, default=TEXT, metavar="FILE", help="what to learn; default: %(default)s")
    add("--steps", type=_positive, default=300, help="batches; default: %(default)s")
    add("--batch", type=_positive, default=4, help="windows of the text in a batch; default: %(default)s")
    add("--rate", type=float, default=2e-3, help="learning rate at its highest; default: %(default)s")
    add("--vocabulary", type=_positive, default=1024, help="tokens at most, 257 at least; default: %(default)s")
    add("--context", type=_positive, default=256, help="positions; default: %(default)s")
    add("--width", type=_positive, default=256, help="numbers for a token; default: %(default)s")
    add("--layers", type=_positive, default=4, help="default: %(default)s")
    add("--heads", type=_positive, default=4, help="default: %(default)s")
    add("--threads", type=_positive, default=1, help="of torch; the model depends on it; default: %(default)s")
    add("--seed", type=int, default=1, help="same seed, text and options: same model; default: %(default)s")
    add("--resume", action="store_true", help="go on from OUT.checkpoint")
    options = parser.parse_args(arguments)
    if options.width % options.heads:
        parser.error("--width must be a multiple of --heads")
    if options.vocabulary < 257:
        parser.error("--vocabulary must be at least 257: the bytes, and the end of a text")
    if options.output.exists() and not (options.output / "config.json").is_file():
        parser.error(f"--output: {options.output} is there already, and is no model's folder")
    return options


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError("must be at least 1")
    return number


def main(arguments: Sequence[str] | None = None) -> int:
    """Train and save; the exit status."""
    options = parse_arguments(arguments)
    console = Console(stderr=True)
    torch.set_num_threads(options.threads)
    checkpoint = options.output.with_name(options.output.name + ".checkpoint")
    try:
        text = read_text(options.text)
        tokenizer = train_tokenizer(text, options.vocabulary)
        config = Config(tokenizer.get_vocab_size(), options.context, options.width, options.layers, options.heads)
        training = Training(token_stream(tokenizer, text, options.context), config, options)
        if options.resume:
            training.restore(checkpoint)
        options.output.parent.mkdir(parents=True, exist_ok=True)
        train(training, options.steps, checkpoint, console)
        with replacing(options.output) as made:
            made.mkdir()
            save_folder(made, training.model, config, tokenizer)
        checkpoint.unlink(missing_ok=True)
    except (TrainingError, OSError, SafetensorError) as error:  # the last where weights cannot be written
        console.print(str(error), markup=False, style="red")
        return 1
    except KeyboardInterrupt:
        resumable = f"; --resume goes on from {checkpoint}" if checkpoint.exists() else ""
        console.print(f"interrupted{resumable}", markup=False)
        return 130
    size = sum(weight.numel() for weight in training.model.parameters())
    console.print(
        f"{options.output}: {size:,} parameters, {config.vocabulary} tokens; loss {training.losses[0]:.2f} ->"
        f" {sum(training.losses[-10:]) / len(training.losses[-10:]):.2f} nats a token",
        markup=False,
        highlight=False,
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
