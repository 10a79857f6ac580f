"""What transformers and sentence-transformers answer for a folder, in float32 on the processor."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

BATCH = 32
Pair = tuple[str, str]


def _options() -> dict[str, Any]:
    import torch

    return {"device": "cpu", "local_files_only": True, "model_kwargs": {"dtype": torch.float32}}


def vectors(folder: Path, texts: Sequence[str], **options: Any) -> NDArray[np.float32]:
    """By sentence-transformers, which pools a plain folder by the mean; `options` are those of `encode`."""
    from sentence_transformers import SentenceTransformer

    with quiet():
        model = SentenceTransformer(str(folder), **_options())
        found: NDArray[np.float32] = model.encode(list(texts), batch_size=BATCH, show_progress_bar=False, **options)
    return found


def model2vec_vectors(folder: Path, texts: Sequence[str]) -> NDArray[np.float32]:
    """By Model2Vec's own library, which looks at no modules.json."""
    from model2vec import StaticModel

    found: NDArray[np.float32] = StaticModel.from_pretrained(folder).encode(list(texts))
    return found


def sparse_vectors(folder: Path, texts: Sequence[str]) -> NDArray[np.float32]:
    """By sentence-transformers: a number for each token of the vocabulary, most of them 0."""
    from sentence_transformers import SparseEncoder

    with quiet():
        model = SparseEncoder(str(folder), **_options())
        found = model.encode(list(texts), batch_size=BATCH, show_progress_bar=False, convert_to_sparse_tensor=False)
    return np.asarray(found)


def token_vectors(folder: Path, texts: Sequence[str], task: str = "document") -> list[NDArray[np.float32]]:
    """By sentence-transformers: a vector for each token of a document or query, special ones included."""
    from sentence_transformers import MultiVectorEncoder

    with quiet():
        model = MultiVectorEncoder(str(folder), **_options())
        encode = model.encode_query if task == "query" else model.encode_document
        found: list[NDArray[np.float32]] = encode(
            list(texts), batch_size=BATCH, show_progress_bar=False, convert_to_numpy=True
        )
    return found


def scores(folder: Path, pairs: Sequence[Pair]) -> NDArray[np.float32]:
    """By sentence-transformers' CrossEncoder, with the activation that the folder asks for."""
    from sentence_transformers import CrossEncoder

    with quiet():
        model = CrossEncoder(str(folder), **_options())
        found: NDArray[np.float32] = model.predict(list(pairs), batch_size=BATCH, show_progress_bar=False)
    return found


def logits(folder: Path, inputs: Sequence[str] | Sequence[Pair]) -> NDArray[np.float32]:
    """By transformers, float32[inputs, labels]: texts, or pairs of them."""
    rows = [outputs for _, outputs in _run(folder, "AutoModelForSequenceClassification", inputs)]
    return np.concatenate(rows)


def token_logits(folder: Path, texts: Sequence[str]) -> list[NDArray[np.float32]]:
    """By transformers, float32[tokens, labels] for each text, special tokens included."""
    found = []
    for mask, outputs in _run(folder, "AutoModelForTokenClassification", texts):
        found += [row[here] for row, here in zip(outputs, mask.astype(bool), strict=True)]
    return found


def hidden_states(folder: Path, text: str) -> list[NDArray[np.float32]]:
    """By transformers: float32[tokens, hidden] after the embeddings and after each layer, to find a wrong one by."""
    import torch
    from transformers import AutoConfig, AutoModel, AutoTokenizer, T5EncoderModel

    with quiet(), torch.inference_mode():
        kind = T5EncoderModel if AutoConfig.from_pretrained(folder).model_type == "t5" else AutoModel
        model = kind.from_pretrained(folder, dtype=torch.float32).eval()
        tokenizer = AutoTokenizer.from_pretrained(folder)
        states = model(**tokenizer(text, return_tensors="pt", truncation=True), output_hidden_states=True)
    return [state[0].numpy() for state in states.hidden_states]


def spans(folder: Path, texts: Sequence[str], strategy: str) -> list[list[dict[str, Any]]]:
    """By transformers' pipeline for tokens: label, score, begin and end of each span."""
    from transformers import pipeline

    with quiet():
        tag = pipeline("token-classification", str(folder), aggregation_strategy=strategy, device="cpu")
        found = [tag(text) for text in texts]
    return [
        [
            {
                "label": span["entity" if strategy == "none" else "entity_group"],
                "score": float(span["score"]),
                "start": span["start"],
                "end": span["end"],
            }
            for span in spans_
        ]
        for spans_ in found
    ]


def zero_shot(
    folder: Path, texts: Sequence[str], labels: Sequence[str], *, multi_label: bool = False
) -> list[dict[str, float]]:
    """By transformers' pipeline: a score for each label that the caller names."""
    from transformers import pipeline

    with quiet():
        classify = pipeline("zero-shot-classification", str(folder), device="cpu")
        found = [classify(text, list(labels), multi_label=multi_label) for text in texts]
    return [dict(zip(answer["labels"], answer["scores"], strict=True)) for answer in found]


def _run(
    folder: Path, kind: str, inputs: Sequence[str] | Sequence[Pair]
) -> Iterator[tuple[NDArray[np.int64], NDArray[np.float32]]]:
    """The mask and the logits of one padded batch after the other."""
    import torch
    import transformers

    with quiet(), torch.inference_mode():
        model = getattr(transformers, kind).from_pretrained(folder, dtype=torch.float32).eval()
        tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
        # transformers takes the padding before a text for the text where that is nothing but tokens of padding
        size = 1 if tokenizer.padding_side == "left" else BATCH
        for begin in range(0, len(inputs), size):
            batch = inputs[begin : begin + size]
            columns = (list(batch),) if isinstance(batch[0], str) else tuple(map(list, zip(*batch, strict=True)))
            tokens = tokenizer(*columns, padding=True, truncation=True, return_tensors="pt")
            yield tokens["attention_mask"].numpy(), model(**tokens).logits.numpy()


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Without bars of progress, and without warnings about names of arguments that the libraries themselves pass on."""
    import warnings

    from transformers.utils import logging

    logging.disable_progress_bar()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
