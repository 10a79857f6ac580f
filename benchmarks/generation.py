"""Tokens a second, of one request at a time and of eight: ours in each precision, CTranslate2, and transformers.

    python -m benchmarks.generation

Ours is asked over Thrift. CTranslate2 runs without a server: what its own batching gives, which takes all texts
together and ends with the longest. The usual server is transformers' pipeline behind Flask. With --device cuda all of
them run on a graphics card.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import logging
import shutil
import sys
import threading
import time
import urllib.request
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING

from predictor.ttypes import GenerationOptions
from thrift.Thrift import TException

from benchmarks.arguments import add_times
from benchmarks.checks import Check
from benchmarks.endpoints import HOST, ThriftClient, free_port
from benchmarks.process import ROOT, ServerProcess, StartError, cpu_seconds
from benchmarks.report import machine_line
from benchmarks.servers import TUNED
from benchmarks.table import check_table, markdown
from server.errors import ModelError
from server.models.options import PRECISIONS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from contextlib import AbstractContextManager

    # One request: takes the client's number and a seed, gives the number of new tokens.
    Ask = Callable[[int, int], int]
    Connect = Callable[[], AbstractContextManager[Ask]]

MODEL = ROOT / "models" / "generator"
FOLDERS = ROOT / "build" / "generators"
LOGS = ROOT / "build" / "bench-logs"
QUICK = {"rounds": 1, "seconds": 1.0, "warmup": 0.3}
CONCURRENT = (1, 8)
TOKENS = 64
PROMPTS = (
    "The harbour of",
    "Every evening she",
    "Old Peter has been a fisherman",
    '"Why does it',
    "In the autumn the fog comes.",
    "Mara told Tom, and",
    "The baker gets up",
    "There was no gold in the chest.",
)
USUAL = "transformers behind Flask"
LEAST_RATIO = 3.0
LEAST_OF_USUAL = 5.0


@dataclass(frozen=True)
class Rate:
    """Of one round."""

    tokens_per_s: float
    cpu_us: float
    """CPU for a token, in microseconds: of the server's tree, or of this process where there is none."""


Rows = dict[tuple[str, int], list[Rate]]


class Asker(threading.Thread):
    """One client: asks, and when the answer is in, asks again. Counts the tokens of answers that came in time."""

    def __init__(self, number: int, connect: Connect, begin: float, end: float) -> None:
        super().__init__(daemon=True)
        self._number, self._connect, self._begin, self._end = number, connect, begin, end
        self.tokens = 0.0
        self.error: BaseException | None = None

    def run(self) -> None:
        """Until the time is over; an answer that began before the beginning or ends after it counts by its share."""
        seed = self._number * 1_000_000
        try:
            with self._connect() as ask:
                while (asked := time.monotonic()) < self._end:
                    seed += 1
                    tokens = ask(self._number, seed)
                    answered = time.monotonic()
                    inside = min(answered, self._end) - max(asked, self._begin)
                    self.tokens += tokens * max(0.0, inside) / (answered - asked)
        except BaseException as error:
            self.error = error


def measure(connect: Connect, clients: int, options: argparse.Namespace, pid: int) -> Rate:
    """Tokens a second that `clients` get, each with a connection of its own. Raises what a client raised."""
    begin = time.monotonic() + options.warmup
    askers = [Asker(number, connect, begin, begin + options.seconds) for number in range(clients)]
    for asker in askers:
        asker.start()
    time.sleep(max(0.0, begin - time.monotonic()))
    spent = cpu_seconds(pid)
    time.sleep(max(0.0, begin + options.seconds - time.monotonic()))
    spent = cpu_seconds(pid) - spent
    for asker in askers:
        asker.join()
        if asker.error is not None:
            raise asker.error
    tokens = sum(asker.tokens for asker in askers)
    return Rate(tokens / options.seconds, spent / max(tokens, 1) * 1e6)


@contextlib.contextmanager
def thrift_asker(port: int) -> Iterator[Ask]:
    """Asks ours."""
    with ThriftClient(port) as client:

        def ask(number: int, seed: int) -> int:
            options = GenerationOptions(max_tokens=TOKENS, seed=seed)
            return int(client.generate(PROMPTS[number % len(PROMPTS)], options, None).token_count)

        yield ask


@contextlib.contextmanager
def http_asker(port: int) -> Iterator[Ask]:
    """Asks the usual server, which has no seeds."""

    def ask(number: int, _seed: int) -> int:
        body = json.dumps({"prompt": PROMPTS[number % len(PROMPTS)], "max_tokens": TOKENS}).encode()
        headers = {"Content-Type": "application/json"}
        request = urllib.request.Request(f"http://{HOST}:{port}/generate", body, headers)
        with urllib.request.urlopen(request, timeout=60) as answer:
            return int(json.load(answer)["token_count"])

    yield ask


def answers(connect: Connect) -> bool:
    """Whether the server generates by now."""
    try:
        with connect() as ask:
            return ask(0, 0) > 0
    except (OSError, TException):
        return False


def of_server(
    name: str, command: list[str], connect: Connect, environment: Mapping[str, str], options: argparse.Namespace
) -> Iterator[tuple[int, Rate]]:
    """(clients, rate) of a server, started for it and ended."""
    with ServerProcess(name, command, environment, LOGS / f"{name}.log") as server:
        server.wait_ready(lambda: answers(connect))
        for clients in CONCURRENT:
            yield clients, measure(connect, clients, options, server.pid)


def of_ctranslate2(folder: Path, kind: str, options: argparse.Namespace) -> Iterator[tuple[int, Rate]]:
    """(texts in a batch, rate) of CTranslate2 in this process, on one thread."""
    import ctranslate2
    from tokenizers import Tokenizer

    device, _, index = options.device.partition(":")
    generator = ctranslate2.Generator(
        str(folder), device=device, device_index=int(index or 0), compute_type=kind, intra_threads=1
    )
    tokenizer = Tokenizer.from_file(str(options.model / "tokenizer.json"))
    prompts = [tokenizer.encode(prompt).tokens for prompt in PROMPTS]
    for texts in CONCURRENT:
        for seconds in (options.warmup, options.seconds):
            tokens, begin, spent = 0, time.monotonic(), time.process_time()
            while time.monotonic() < begin + seconds:
                results = generator.generate_batch(
                    prompts[:texts], max_length=TOKENS, sampling_topk=0, include_prompt_in_result=False
                )
                tokens += sum(len(result.sequences_ids[0]) for result in results)
        spent = time.process_time() - spent
        yield texts, Rate(tokens / (time.monotonic() - begin), spent / tokens * 1e6)


def prepared_ctranslate2(model: Path) -> Path:
    """The model as CTranslate2 wants it."""
    from ctranslate2.converters import TransformersConverter

    target = FOLDERS / "ctranslate2"
    shutil.rmtree(target, ignore_errors=True)
    target.parent.mkdir(parents=True, exist_ok=True)
    TransformersConverter(str(model)).convert(str(target))
    return target


def run(options: argparse.Namespace) -> Rows:
    """All rounds of all."""
    rows: Rows = {}
    ctranslate2_folder = prepared_ctranslate2(options.model)
    for _ in range(options.rounds):
        for precision in PRECISIONS:
            port = free_port()
            flags = ("--no-rest", "--port", str(port), "--device", options.device)
            command = [sys.executable, "-m", "server", f"{options.model},precision={precision}", *flags]
            label = f"ours, {precision}"
            _note(rows, label, of_server(f"ours-{precision}", command, partial(thrift_asker, port), {}, options))
        for kind in ("float32", "int8"):
            _note(rows, f"CTranslate2 in-process, {kind}", of_ctranslate2(ctranslate2_folder, kind, options))
        port = free_port()
        command = [sys.executable, "-m", "benchmarks.generation_server", str(options.model), str(port), options.device]
        _note(rows, USUAL, of_server("transformers-flask", command, partial(http_asker, port), TUNED, options))
    return rows


def _note(rows: Rows, label: str, rates: Iterator[tuple[int, Rate]]) -> None:
    for clients, rate in rates:
        rows.setdefault((label, clients), []).append(rate)
        print(f"{label}, {clients}: {rate.tokens_per_s:,.0f} tokens/s", file=sys.stderr)


def table(rows: Rows) -> str:
    """Medians of the rounds."""
    lines = []
    for label in dict.fromkeys(label for label, _ in rows):
        one, eight = (median(rate.tokens_per_s for rate in rows[label, clients]) for clients in CONCURRENT)
        spent = (f"{median(rate.cpu_us for rate in rows[label, clients]):,.0f}" for clients in CONCURRENT)
        lines.append([label, f"{one:,.0f}", f"{eight:,.0f}", f"{eight / one:.1f}", *spent])
    return markdown(("", "1 request: tokens/s", "8 requests", "times", "CPU us/token at 1", "at 8"), lines)


def checks(rows: Rows) -> list[Check]:
    """What is asked of float32."""
    one, eight = (median(rate.tokens_per_s for rate in rows["ours, float32", clients]) for clients in CONCURRENT)
    usual = median(rate.tokens_per_s for rate in rows[USUAL, CONCURRENT[-1]])
    return [
        Check(
            "8 requests against 1", f">= {LEAST_RATIO:g} times", f"{eight / one:.1f} times", eight >= LEAST_RATIO * one
        ),
        Check(
            f"8 requests against {USUAL}",
            f">= {LEAST_OF_USUAL:g} times",
            f"{eight / usual:.1f} times",
            eight >= LEAST_OF_USUAL * usual,
        ),
    ]


def parse_arguments(arguments: Sequence[str] | None) -> argparse.Namespace:
    """The options; ends the program when they are wrong."""
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        prog="python -m benchmarks.generation",
        epilog="The exit status is 1 when something that is asked for does not hold, 2 when nothing can be measured.",
    )
    add = parser.add_argument
    add("--model", type=Path, default=MODEL, metavar="FOLDER", help="default: models/generator")
    add("--device", default="cpu", help="cpu, cuda or cuda:N; default: %(default)s")
    add_times(parser, rounds=3, seconds=3.0, warmup=1.0)
    add("--quick", action="store_true", help="one round of a second: to see that it works")
    options = parser.parse_args(arguments)
    if options.quick:
        vars(options).update(QUICK)
    if not (options.model / "config.json").is_file():
        parser.error(f"--model: {options.model} is not there: make models/generator")
    return options


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the tables; the exit status, as --help gives it."""
    options = parse_arguments(arguments)
    logging.getLogger("thrift").setLevel(logging.CRITICAL)  # it logs every attempt to connect
    try:
        rows = run(options)
    except (ModelError, StartError, TException, OSError) as error:
        print(f"benchmark: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130
    config = json.loads((options.model / "config.json").read_text())
    sizes = f"{config['n_layer']} layers of {config['n_embd']}, {config['vocab_size']} tokens"
    print(f"Generating {TOKENS} tokens, sampled, GPT-2 of {sizes}; {machine_line()}\n")
    verdict = checks(rows)
    print(f"{table(rows)}\n\n{check_table(verdict, 'of float32')}")
    return 0 if all(check.holds for check in verdict) else 1


if __name__ == "__main__":
    sys.exit(main())
