"""One row for each folder that the server answers for: how it is made, what kind of answer it gives.

`rows(kind)` gives those of one kind; tests are parametrised over them and docs/models.md lists them.
"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

from tests.support.folders import forms, heads

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

VECTORS = "vectors"
CLASSES = "classes"
TOKEN_CLASSES = "token classes"
SCORES = "scores of pairs"
ENTAILMENT = "entailment"
SPARSE = "sparse vectors"
TOKEN_VECTORS = "token vectors"


@dataclasses.dataclass(frozen=True)
class Row:
    """A folder."""

    name: str
    kind: str
    architecture: str
    """As docs/models.md calls it."""
    head: str
    """The same."""
    write: Callable[[Path], None]
    basic: bool = False
    """One for each architecture and kind: with all the texts. The others are variations, with some of them."""
    options: dict[str, Any] = dataclasses.field(default_factory=dict)
    """Of the reference's function and of the server's call: prompt_name."""
    change: Callable[[Path], None] | None = None
    """The folder as the server gets it, where the library cannot read that."""

    def __str__(self) -> str:
        return self.name


NAMES = {
    "bert": "BERT",
    "roberta": "RoBERTa",
    "xlm-roberta": "XLM-RoBERTa",
    "camembert": "CamemBERT",
    "distilbert": "DistilBERT",
    "mpnet": "MPNet",
    "albert": "ALBERT",
    "electra": "ELECTRA",
    "nomic_bert": "NomicBERT",
    "modernbert": "ModernBERT",
    "gte": "GTE",
    "jina_embeddings_v3": "Jina embeddings v3",
    "deberta-v2": "DeBERTa v2",
    "deberta-v3": "DeBERTa v3",
    "t5": "T5 encoder",
    "qwen2": "Qwen2",
    "qwen3": "Qwen3",
    "llama": "Llama",
    "mistral": "Mistral",
    "gemma3_text": "Gemma 3",
}
DECODERS = ("qwen2", "qwen3", "llama", "mistral", "gemma3_text")
ENCODERS = tuple(name for name in NAMES if name not in (*DECODERS, "t5"))


def _row(kind: str, make: Callable[..., None], architecture: str, head: str, *arguments: Any, **more: Any) -> Row:
    """`then` changes the folder when it is there; `label` makes the name unique where the head does not."""
    then = more.pop("then", None)
    label = more.pop("label", head)
    basic = more.pop("basic", False)
    call = more.pop("call", {})
    change = more.pop("change", None)

    def write(folder: Path) -> None:
        make(folder, architecture, *arguments, **more)
        if then is not None:
            then(folder)

    name = f"{kind} of {architecture}: {label}"
    return Row(name, kind, NAMES[architecture], head, write, basic, call, change)


# ----------------------------------------------------------------------------------------------------- sentence vectors

_AFTER: dict[str, tuple[str | tuple[str, ...], tuple[str, ...]]] = {
    "roberta": ("mean", ()),
    "xlm-roberta": ("cls", ("normalize",)),
    "distilbert": ("mean", ("Tanh",)),
    "albert": ("mean", ()),
    "electra": ("cls", ()),
    "gte": ("cls", ("normalize",)),
    "t5": ("mean", ("Identity", "normalize")),
    "qwen2": ("lasttoken", ("normalize",)),
    "qwen3": ("lasttoken", ("normalize",)),
    "llama": ("lasttoken", ("normalize",)),
    "mistral": ("lasttoken", ("normalize",)),
    "gemma3_text": ("mean", ("Identity", "Identity", "normalize")),
}


def _encoder(architecture: str, pooling: str | tuple[str, ...], after: tuple[str, ...] = (), **more: Any) -> Row:
    modes = pooling if isinstance(pooling, str) else " + ".join(pooling)
    head = " → ".join((modes, *(name if name.islower() else f"Dense {name}" for name in after)))
    return _row(VECTORS, heads.sentence_encoder, architecture, head, pooling, after, **more)


def _vectors() -> list[Row]:
    rows = [_encoder(name, *_AFTER.get(name, ("mean", ("normalize",))), basic=True) for name in NAMES]
    rows += [_encoder("bert", mode) for mode in ("cls", "max", "mean_sqrt_len_tokens", "weightedmean", "lasttoken")]
    rows += [
        _encoder("bert", ("cls", "mean")),
        _encoder("mpnet", ("max", "mean"), ("layer_norm", "ReLU")),
        _encoder("roberta", "mean", ("GELU", "normalize")),
        _encoder("roberta", "mean", ("Sigmoid", "SiLU", "layer_norm")),
        _encoder("qwen3", "weightedmean"),
        _encoder("t5", "mean", label="gated GELU", feed_forward_proj="gated-gelu"),
        _encoder("gemma3_text", "lasttoken", label="causal", use_bidirectional_attention=False),
        _encoder("albert", "mean", label="two groups", num_hidden_groups=2, inner_group_num=2, num_hidden_layers=4),
        _encoder("bert", "mean", label="gelu_new", hidden_act="gelu_new"),
        _encoder("bert", "mean", label="relu", hidden_act="relu"),
        _encoder("deberta-v3", "mean", label="c2p, keys of their own", share_att_key=False, pos_att_type=["c2p"]),
        _encoder("deberta-v3", "mean", label="positions in the input", position_biased_input=True),
        _encoder("deberta-v2", "mean", label="no relative attention", **_ABSOLUTE),
        _encoder("qwen2", "mean", label="grouped by four", num_key_value_heads=1),
        _encoder("mistral", "lasttoken", label="a window", sliding_window=16),
        _row(VECTORS, heads.transformer, "bert", "mean", label="plain folder"),
        _row(VECTORS, heads.transformer, "xlm-roberta", "mean", label="plain folder"),
        _row(VECTORS, heads.transformer, "roberta", "mean", "AutoModelForMaskedLM", label="plain masked-LM folder"),
    ]
    return rows + _settings() + _forms() + _static()


_ABSOLUTE = {"relative_attention": False, "position_biased_input": True, "conv_kernel_size": 0, "norm_rel_ebd": "none"}


def _settings() -> list[Row]:
    """What sentence-transformers' own files say."""
    prompted = {"prompts": heads.PROMPTS, "default_prompt_name": "document"}
    query = {"call": {"prompt_name": "query"}}
    return [
        _encoder("bert", "mean", label="default prompt", options=prompted),
        _encoder("bert", "mean", label="prompt by name", options=prompted, **query),
        _encoder("mpnet", "mean", label="prompt left out of mean", options=prompted, include_prompt=False, **query),
        _encoder(
            "bert", "weightedmean", label="prompt left out of weightedmean", options=prompted, include_prompt=False
        ),
        _encoder("qwen3", "lasttoken", label="prompt left out of lasttoken", options=prompted, include_prompt=False),
        _encoder("roberta", "cls", label="prompt left out of cls", options=prompted, include_prompt=False),
        _encoder("bert", "mean", label="truncate_dim", options={"truncate_dim": 20}),
        _encoder("mpnet", "mean", ("normalize",), label="truncate_dim, normalized", options={"truncate_dim": 20}),
        _encoder("bert", "mean", label="max_seq_length", max_seq_length=24),
        _encoder("roberta", "mean", label="do_lower_case", do_lower_case=True, then=_older(do_lower_case=True)),
    ]


def _older(**options: Any) -> Callable[[Path], None]:
    return lambda folder: forms.by_older_versions(folder, **options)


def _in(dtype: str) -> Callable[[Path], None]:
    return lambda folder: forms.in_type(folder, dtype)


_NTK_AS_LINEAR = forms.ntk_as_linear(head_size=16)


def _forms() -> list[Row]:
    """The same folders as others leave them."""
    older = [
        _encoder(name, *_AFTER.get(name, ("mean", ("normalize",))), label="older versions", then=_older())
        for name in NAMES
        if name not in ("gte", "jina_embeddings_v3", "nomic_bert")
    ]
    return [
        *older,
        _encoder("bert", ("cls", "mean"), ("Tanh",), label="older versions, two modes", then=_older()),
        _encoder("nomic_bert", "mean", label="its own code's", change=forms.nomic_by_its_own_code),
        _encoder(
            "gte", "cls", label="its own code's", change=forms.gte_by_its_own_code, rope_parameters=_NTK_AS_LINEAR
        ),
        _encoder("bert", "mean", label="shards", then=forms.in_shards),
        _encoder("mpnet", "mean", label="float16", then=_in("float16")),
        _encoder("qwen3", "lasttoken", label="bfloat16", then=_in("bfloat16")),
        _encoder("bert", "mean", ("Tanh",), label="pytorch_model.bin", then=forms.as_torch_file),
        _encoder("xlm-roberta", "cls", label="pytorch_model.bin in shards", then=forms.in_torch_shards),
    ]


def _static() -> list[Row]:
    return [
        Row("StaticEmbedding", VECTORS, "static", "mean", lambda folder: heads.static_encoder(folder, normalize=False)),
        Row("Model2Vec", VECTORS, "static", "mean → normalize", heads.model2vec, basic=True),
        Row(
            "StaticEmbedding, normalized",
            VECTORS,
            "static",
            "mean → normalize",
            lambda folder: heads.static_encoder(folder, normalize=True),
        ),
    ]


# --------------------------------------------------------------------------------------------------- the other kinds


def _classes() -> list[Row]:
    rows = [_row(CLASSES, heads.classifier, name, "softmax", basic=True) for name in (*ENCODERS, *DECODERS)]
    several = {"problem_type": "multi_label_classification"}
    number = {"labels": ("stars",), "problem_type": "regression"}
    rows += [
        _row(CLASSES, heads.classifier, name, "sigmoid", **several) for name in ("bert", "distilbert", "deberta-v3")
    ]
    rows += [_row(CLASSES, heads.classifier, name, "number", **number) for name in ("bert", "roberta")]
    return [
        *rows,
        _row(CLASSES, heads.classifier, "bert", "sigmoid", labels=("toxic",), label="one label"),
        _row(CLASSES, heads.classifier, "modernbert", "softmax", label="mean", classifier_pooling="mean"),
        _row(CLASSES, heads.classifier, "bert", "softmax", label="older versions", then=_older()),
        _row(CLASSES, heads.classifier, "distilbert", "softmax", label="pytorch_model.bin", then=forms.as_torch_file),
    ]


def _token_classes() -> list[Row]:
    names = (*ENCODERS, "qwen2", "qwen3")
    return [_row(TOKEN_CLASSES, heads.tagger, name, "BIO labels", basic=True) for name in names]


def _scores() -> list[Row]:
    names = ("bert", "roberta", "xlm-roberta", "distilbert", "electra", "mpnet", "modernbert", "gte", "deberta-v3")
    rows = [_row(SCORES, heads.reranker, name, "sigmoid", basic=True) for name in names]
    return [
        *rows,
        _row(SCORES, heads.classifier, "bert", "sigmoid", labels=("relevance",), label="plain folder"),
    ]


def _entailment() -> list[Row]:
    """Labels of the caller's own, by models of natural language inference."""
    several = {"call": {"multi_label": True}}
    return [
        _row(ENTAILMENT, heads.classifier, "roberta", "labels of one's own", labels=heads.ENTAILMENT, basic=True),
        _row(ENTAILMENT, heads.classifier, "deberta-v3", "labels of one's own", labels=heads.ENTAILMENT, basic=True),
        _row(ENTAILMENT, heads.classifier, "bert", "several of one's own", labels=heads.ENTAILMENT, **several),
    ]


def _sparse() -> list[Row]:
    names = ("bert", "roberta", "xlm-roberta", "distilbert", "mpnet", "electra", "albert", "modernbert", "deberta-v3")
    rows = [_row(SPARSE, heads.sparse_encoder, name, "max", basic=True) for name in names]
    return [
        *rows,
        _row(SPARSE, heads.sparse_encoder, "bert", "sum", pooling="sum"),
        _row(SPARSE, heads.sparse_encoder, "distilbert", "max, log1p twice", activation="log1p_relu"),
    ]


def _token_vectors() -> list[Row]:
    names = ("bert", "xlm-roberta", "modernbert")
    return [_row(TOKEN_VECTORS, heads.token_encoder, name, "Dense → normalize", basic=True) for name in names]


# The values of model_type in config.json that rows stand for; "new" is what "gte" was called by its own code.
MODEL_TYPES = {*(name for name in NAMES if not name.startswith("deberta")), "deberta-v2", "new"}

ROWS = [*_vectors(), *_classes(), *_token_classes(), *_scores(), *_entailment(), *_sparse(), *_token_vectors()]


def rows(kind: str) -> list[Row]:
    return [row for row in ROWS if row.kind == kind]
