"""What transformers generates for the folders of language_models.py, what the server's models do, and how far they are.

Texts are greedy. One in which the two likeliest tokens were ever closer than float32 can tell is left out, and counted.
"""

from __future__ import annotations

import asyncio
import pickle
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from ext import _generator
from server.models.folder.generation import generator_folder
from server.models.options import NO_OPTIONS
from server.models.requests import Sampling
from tests.server.waiting import result
from tests.support import sentences
from tests.support.folders import reference, served, vocabularies

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from server.models.folder.generation.generator_folder import GeneratorFolder

PROMPTS = 20
NEW_TOKENS = 64
PROMPT_TOKENS = 48  # at most, of a prompt
CLOSE = 1e-4  # logits of the two likeliest tokens that float32 does not tell apart
# Logits are within 1e-4 of the library's, whose own sums differ with what its process did before: of one row they were
# 0.5e-4 away in a process of their own, and 1.1e-4 in one of many tests.
MOST_ROUNDING = 1.5e-4
LOGITS = 4  # texts whose logits are compared, with all their tokens


class Text(NamedTuple):
    """Of one prompt."""

    prompt: str
    tokens: list[int]
    """Of the prompt."""
    generated: list[int]
    """The likeliest tokens, an end token included."""
    margin: float
    """How far the likeliest token was before the next one, at least."""
    text: str
    """What the tokenizer decodes to behind the decoded prompt; what is no UTF-8 may be shown otherwise."""


class Right(NamedTuple):
    """What the library answers."""

    texts: list[Text]
    logits: list[NDArray[np.float32]]
    """Of the first LOGITS texts, after each token of prompt and continuation: float32[tokens, vocabulary]."""


def prompts() -> list[str]:
    """Of many kinds, none of them empty."""
    odd = [text for text in sentences.ODD if text.strip() and len(text) < 40]
    lines = [line for line in vocabularies.corpus() if 20 < len(line) < 80][:60:6]
    return [*lines, " leads", "one\n\ntwo", *odd][:PROMPTS]


def wanted(folder: Path, count: int = PROMPTS) -> Right:
    """By transformers, in float32, one text at a time: of the first so many prompts."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    with reference.quiet(), torch.inference_mode():
        tokenizer = AutoTokenizer.from_pretrained(folder)
        model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
        texts = [_text(model, tokenizer, prompt) for prompt in prompts()[:count]]
        logits = [model(torch.tensor([text.tokens + text.generated])).logits[0].numpy() for text in texts[:LOGITS]]
    return Right(texts, logits)


def _text(model: Any, tokenizer: Any, prompt: str) -> Text:
    import torch

    tokens = tokenizer(prompt).input_ids[:PROMPT_TOKENS]
    prompt = prompt if len(tokens) < PROMPT_TOKENS else tokenizer.decode(tokens, skip_special_tokens=True)
    tokens = tokenizer(prompt).input_ids
    done = model.generate(
        torch.tensor([tokens]),
        attention_mask=torch.ones(1, len(tokens), dtype=torch.int64),
        do_sample=False,
        max_new_tokens=NEW_TOKENS,
        output_logits=True,
        return_dict_in_generate=True,
    )
    best = torch.cat(done.logits).topk(2).values
    generated = done.sequences[0, len(tokens) :].tolist()
    before = tokenizer.decode(tokens, skip_special_tokens=True)
    text = tokenizer.decode(tokens + generated, skip_special_tokens=True)
    return Text(prompt, tokens, generated, float((best[:, 0] - best[:, 1]).min()), text.removeprefix(before))


def save(right: Right, path: Path) -> None:
    path.write_bytes(pickle.dumps(tuple(right)))


def load(path: Path) -> Right:
    return Right(*pickle.loads(path.read_bytes()))


def clear(texts: Sequence[Text]) -> list[Text]:
    """Those that float32 decides."""
    return [text for text in texts if text.margin >= CLOSE]


# ------------------------------------------------------------------------------------------------- the server's models

GREEDY = Sampling(NEW_TOKENS, temperature=0.0, top_k=0, top_p=1.0, repetition_penalty=1.0, stop=(), seed=1)


class Answer(NamedTuple):
    """Of one prompt."""

    tokens: list[int]
    """Of the prompt."""
    generated: list[int]
    text: str
    finish: int


async def given(model: Any, asked: Sequence[str], *, together: bool = True) -> list[Answer]:
    """What the server's model generates; `together`: all prompts are there before the first is read."""
    if together:
        return list(await asyncio.gather(*(result(_answer(model, prompt)) for prompt in asked)))
    return [await result(_answer(model, prompt)) for prompt in asked]


async def _answer(model: Any, prompt: str) -> Answer:
    tokens = await model.prompt_tokens(prompt, GREEDY)
    text, generated, finish, _ = await model._engine.generate(tokens, GREEDY.changes(), served.context(), None)
    return Answer(tokens, generated, text, finish)


def logits(folder: Path, tokens: Sequence[int], precision: str) -> NDArray[np.float32]:
    """The engine's, after each token: float32[tokens, vocabulary]."""
    return logits_of(generator_folder.read(folder, NO_OPTIONS), tokens, precision)


def logits_of(read: GeneratorFolder, tokens: Sequence[int], precision: str) -> NDArray[np.float32]:
    """The same of what was read."""
    found = _generator.text_logits(read.config, read.weights.files, read.weights.tensors, tokens, precision=precision)
    return np.frombuffer(found, np.float32).reshape(len(tokens), -1)


def error(folder: Path, right: Right, precision: str) -> float:
    """In float32 the largest difference of a logit; else the mean divergence of the next token's distribution."""
    return error_of(generator_folder.read(folder, NO_OPTIONS), right, precision)


def error_of(read: GeneratorFolder, right: Right, precision: str) -> float:
    """The same of what was read."""
    errors = []
    for text, wanted_ in zip(right.texts, right.logits, strict=False):
        found = logits_of(read, text.tokens + text.generated, precision)
        errors.append(float(np.abs(found - wanted_).max()) if precision == "float32" else divergence(found, wanted_))
    return max(errors)


def divergence(found: NDArray[np.float32], right: NDArray[np.float32]) -> float:
    """Kullback-Leibler's, of the next token's distribution, in nats: the mean of all places."""
    p, q = _log_shares(right), _log_shares(found)
    return float((np.exp(p) * (p - q)).sum(1).mean())


def _log_shares(logits: NDArray[np.float32]) -> NDArray[np.float64]:
    shifted = logits.astype(np.float64) - logits.max(1, keepdims=True)
    shares: NDArray[np.float64] = shifted - np.log(np.exp(shifted).sum(1, keepdims=True))
    return shares
