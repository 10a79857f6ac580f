"""Folders of every kind of model, written by the libraries that people write them with.

Each function writes into `folder`. `architecture` is a name of ARCHITECTURES; further `fields` go into config.json.
"""

from __future__ import annotations

import contextlib
import json
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tests.support.folders import vocabularies
from tests.support.folders.architectures import ARCHITECTURES, random_model, randomize

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

TOPICS = ("alarm", "weather", "music", "joke")
TAGS = ("O", "B-PER", "I-PER", "B-LOC", "I-LOC")
ENTAILMENT = ("contradiction", "neutral", "entailment")
PROMPTS = {"query": "the harbour is small: ", "document": "a boat and a lamp "}


def transformer(folder: Path, architecture: str, kind: str = "AutoModel", **fields: Any) -> None:
    """A model and its tokenizer, each by its save_pretrained; `kind` is the class of transformers."""
    about = ARCHITECTURES[architecture]
    tokenizer = about.tokenizer()
    if architecture == "t5" and kind == "AutoModel":
        kind = "T5EncoderModel"
    model = random_model(kind, about.configuration(tokenizer, **fields))
    if kind in ("AutoModelForSequenceClassification", "AutoModelForTokenClassification", "AutoModelForMaskedLM"):
        _balance(model, tokenizer)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def _balance(model: Any, tokenizer: Any) -> None:
    """Shift the logits such that every label is the highest of some text, and most of a vocabulary is below 0."""
    import torch

    texts = vocabularies.corpus()[-60:]
    with torch.inference_mode():
        tokens = tokenizer(texts, padding=True, truncation=True, return_tensors="pt")
        logits = model(**tokens).logits
        if logits.dim() == 3:
            logits = logits[tokens["attention_mask"].bool()]
        means, spread = logits.mean(0), logits.std(0)
    last = model.get_output_embeddings()
    if last is None:
        last = [part for part in model.modules() if getattr(part, "out_features", 0) == len(means)][-1]
        with torch.no_grad():
            last.weight /= spread[:, None]
            if last.bias is not None:
                last.bias /= spread
        means, spread = means / spread, torch.zeros_like(spread)
    if last.bias is not None:
        with torch.no_grad():
            last.bias -= means + 2.5 * spread


@contextlib.contextmanager
def _saved(architecture: str, kind: str = "AutoModel", **fields: Any) -> Iterator[str]:
    """A transformer's folder for a short time."""
    with tempfile.TemporaryDirectory() as folder:
        transformer(Path(folder), architecture, kind, **fields)
        yield folder


def sentence_encoder(
    folder: Path,
    architecture: str,
    pooling: str | tuple[str, ...] = "mean",
    after: Sequence[str] = (),
    *,
    include_prompt: bool = True,
    max_seq_length: int | None = None,
    do_lower_case: bool = False,
    options: Mapping[str, Any] | None = None,
    **fields: Any,
) -> None:
    """By sentence-transformers: Transformer, Pooling, then the modules `after`; `options` are SentenceTransformer's."""
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.modules import Pooling, Transformer

    with _saved(architecture, **fields) as source:
        first = Transformer(source, max_seq_length=max_seq_length, do_lower_case=do_lower_case)
        pool = Pooling(first.get_embedding_dimension(), pooling, include_prompt=include_prompt)
        modules = [first, pool, *_modules(after, pool.get_embedding_dimension())]
        model = SentenceTransformer(modules=modules, device="cpu", **options or {})
        model.save_pretrained(str(folder), create_model_card=False)


def _modules(names: Sequence[str], size: int) -> list[Any]:
    """normalize, layer_norm, or a Dense layer by the name of its activation in torch.nn."""
    from sentence_transformers.sentence_transformer.modules import Dense, LayerNorm, Normalize
    from torch import nn

    modules: list[Any] = []
    for number, name in enumerate(names):
        if name == "normalize":
            modules.append(Normalize())
        elif name == "layer_norm":
            modules.append(LayerNorm(size))
        else:
            dense = Dense(size, size * 3 // 4, bias=name != "Identity", activation_function=getattr(nn, name)())
            modules.append(dense)
            size = size * 3 // 4
        randomize(modules[-1], seed=number)
    return modules


def residual_encoder(folder: Path) -> None:
    """Two Dense modules that add what comes in: one makes vectors shorter, the other keeps their size."""
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.modules import Dense, Pooling, Transformer
    from torch import nn

    with _saved("bert") as source:
        first = Transformer(source)
        size = first.get_embedding_dimension()
        further = [
            Dense(size, size - 8, activation_function=nn.Tanh(), use_residual=True),
            Dense(size - 8, size - 8, activation_function=nn.GELU(), use_residual=True),
        ]
        for seed, module in enumerate(further):
            randomize(module, seed=seed)
        model = SentenceTransformer(modules=[first, Pooling(size, "mean"), *further], device="cpu")
        model.save_pretrained(str(folder), create_model_card=False)


def static_encoder(folder: Path, *, normalize: bool) -> None:
    """sentence-transformers' StaticEmbedding: the mean of the tokens' vectors."""
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.modules import Normalize, StaticEmbedding

    static = StaticEmbedding(ARCHITECTURES["bert"].tokenizer().backend_tokenizer, embedding_dim=48)
    randomize(static)
    model = SentenceTransformer(modules=[static, *([Normalize()] if normalize else [])], device="cpu")
    model.save_pretrained(str(folder), create_model_card=False)


def model2vec(folder: Path) -> None:
    """Model2Vec's layout, which its own library writes: `embeddings`, and modules.json for sentence-transformers."""
    import torch
    from safetensors.torch import save_file

    static_encoder(folder, normalize=True)
    tokenizer = ARCHITECTURES["bert"].tokenizer().backend_tokenizer
    vectors = torch.randn(tokenizer.get_vocab_size(), 48, generator=torch.Generator().manual_seed(3))
    for path in folder.glob("**/model.safetensors"):
        path.unlink()
    save_file({"embeddings": vectors}, str(folder / "model.safetensors"))
    tokenizer.save(str(folder / "tokenizer.json"))
    config = {
        "model_type": "model2vec",
        "architectures": ["StaticModel"],
        "tokenizer_name": "BAAI/bge-base-en-v1.5",
        "apply_pca": 48,
        "apply_zipf": True,
        "sif_coefficient": 0.0001,
        "hidden_dim": 48,
        "seq_length": 1000000,
        "normalize": True,
    }
    (folder / "config.json").write_text(json.dumps(config, indent=4), encoding="utf-8")
    modules = [
        {"idx": 0, "name": "0", "path": ".", "type": "sentence_transformers.models.StaticEmbedding"},
        {"idx": 1, "name": "1", "path": "1_Normalize", "type": "sentence_transformers.models.Normalize"},
    ]
    (folder / "modules.json").write_text(json.dumps(modules, indent=4), encoding="utf-8")


def classifier(folder: Path, architecture: str, labels: Sequence[str] = TOPICS, **fields: Any) -> None:
    """By transformers; `problem_type` decides between softmax, sigmoid and a bare number."""
    transformer(folder, architecture, "AutoModelForSequenceClassification", **_named(labels), **fields)


def tagger(folder: Path, architecture: str, labels: Sequence[str] = TAGS, **fields: Any) -> None:
    """A token classifier, by transformers."""
    transformer(folder, architecture, "AutoModelForTokenClassification", **_named(labels), **fields)


def _named(labels: Sequence[str]) -> dict[str, Any]:
    return {"id2label": dict(enumerate(labels)), "label2id": {label: number for number, label in enumerate(labels)}}


def reranker(folder: Path, architecture: str, labels: int = 1, **fields: Any) -> None:
    """A cross-encoder, by sentence-transformers."""
    from sentence_transformers import CrossEncoder

    with _saved(architecture, "AutoModelForSequenceClassification", num_labels=labels, **fields) as source:
        CrossEncoder(source, device="cpu").save_pretrained(str(folder))


def sparse_encoder(
    folder: Path, architecture: str, pooling: str = "max", activation: str = "relu", **fields: Any
) -> None:
    """SPLADE, by sentence-transformers."""
    from sentence_transformers import SparseEncoder
    from sentence_transformers.sentence_transformer.modules import Transformer
    from sentence_transformers.sparse_encoder.modules import SpladePooling

    with _saved(architecture, "AutoModelForMaskedLM", **fields) as source:
        first = Transformer(source, transformer_task="fill-mask")
        last = SpladePooling(pooling_strategy=pooling, activation_function=activation)
        SparseEncoder(modules=[first, last], device="cpu").save_pretrained(str(folder), create_model_card=False)


def token_encoder(folder: Path, architecture: str, **fields: Any) -> None:
    """ColBERT, by sentence-transformers: a shorter vector of length 1 for each token."""
    from sentence_transformers import MultiVectorEncoder
    from sentence_transformers.multi_vector_encoder.modules import MultiVectorMask
    from sentence_transformers.sentence_transformer.modules import Dense, Normalize, Transformer
    from torch import nn

    with _saved(architecture, **fields) as source:
        first = Transformer(source)
        dense = Dense(
            first.get_embedding_dimension(),
            48,
            bias=False,
            activation_function=nn.Identity(),
            module_input_name="token_embeddings",
        )
        randomize(dense)
        normalize = Normalize(module_input_name="token_embeddings")
        modules = [first, dense, normalize, MultiVectorMask()]
        MultiVectorEncoder(modules=modules, device="cpu").save_pretrained(str(folder), create_model_card=False)
