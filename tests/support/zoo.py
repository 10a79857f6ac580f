"""Small real TorchScript models: one of each export and output that the service must load, and some it must refuse.

    python -m tests.support.zoo OUT_DIR

MODELS builds them by name, `save_named` writes one of them. Each class says which old system it stands for. Scores are
log-probabilities of an untrained, seeded network: they differ between labels and change with every token.
"""

from __future__ import annotations

import pickle
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn import functional

from scripts.train_classifier import PAD, UNKNOWN, Classifier, DocNN, Vocabulary, export, tokenize

if TYPE_CHECKING:
    from collections.abc import Callable

LABELS = ["alarm/set_alarm", "reminder/set_reminder", "weather/find"]
POISON = "poison"
SEED = 7
BUCKETS = 997
DIMENSION = 16


# ------------------------------------------------------------------------------------------------- common parts


class Encoder(nn.Module):
    """Documents as lists of tokens to vectors float32[n, DIMENSION]: the mean of vectors that the tokens hash to."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(SEED)
        self.buckets = nn.EmbeddingBag(BUCKETS, DIMENSION, mode="mean")
        self.count = BUCKETS

    def forward(self, documents: list[list[str]]) -> Tensor:
        ids: list[int] = []
        offsets: list[int] = []
        for document in documents:
            offsets.append(len(ids))
            for token in document:
                bucket = 0
                for i in range(len(token)):
                    bucket = (bucket * 31 + ord(token[i])) % self.count
                ids.append(bucket)
        return self.buckets(torch.tensor(ids, dtype=torch.long), torch.tensor(offsets, dtype=torch.long))


class Scorer(nn.Module):
    """Documents to one map of label to log-probability each."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder = Encoder()
        self.decoder = nn.Linear(DIMENSION, len(LABELS))
        self.labels = list(LABELS)

    def forward(self, documents: list[list[str]]) -> list[dict[str, float]]:
        rows: list[list[float]] = functional.log_softmax(self.decoder(self.encoder(documents)), 1).tolist()
        scores: list[dict[str, float]] = []
        for row in rows:
            document: dict[str, float] = {}
            for i, label in enumerate(self.labels):
                document[label] = row[i]
            scores.append(document)
        return scores


def require_tokens(tokens: list[list[str]] | None) -> list[list[str]]:
    if tokens is None:
        raise RuntimeError("tokens is required")
    return tokens


def require_texts(texts: list[str] | None) -> list[str]:
    if texts is None:
        raise RuntimeError("texts is required")
    return texts


def require_dense(dense_feat: list[list[float]] | None) -> list[list[float]]:
    if dense_feat is None:
        raise RuntimeError("dense_feat is required")
    return dense_feat


class Tensorizer(nn.Module):
    """Splits texts at blanks, as PyText's scripted tensorizers do inside the model."""

    def forward(self, texts: list[str]) -> list[list[str]]:
        return [text.lower().split() for text in texts]


class TokenModel(nn.Module):
    """Base of the models that only differ in `forward`."""

    def __init__(self) -> None:
        super().__init__()
        self.scorer = Scorer()


# -------------------------------------------------------------------------------------------- exports by arguments


class DocModel02(TokenModel):
    """PyText 0.2, DocModel: `tokens` only."""

    def forward(self, tokens: list[list[str]]) -> list[dict[str, float]]:
        return self.scorer(tokens)


class DocModel02Dense(TokenModel):
    """PyText 0.2, DocModel with dense features, which the service does not carry: must be refused."""

    def forward(self, tokens: list[list[str]], dense_feat: list[list[float]]) -> list[dict[str, float]]:
        scores = self.scorer(tokens)
        for i, features in enumerate(dense_feat):
            scores[i]["dense"] = sum(features)
        return scores


class DocModel(TokenModel):
    """PyText 0.3 and later, DocModel, WordModel and ByteTokens: four Optional arguments, `tokens` is used."""

    def forward(
        self,
        texts: list[str] | None = None,
        multi_texts: list[list[str]] | None = None,
        tokens: list[list[str]] | None = None,
        languages: list[str] | None = None,
    ) -> list[dict[str, float]]:
        return self.scorer(require_tokens(tokens))


class DocModelDense(TokenModel):
    """PyText 0.3, DocModel with dense features: Optional in the schema, required by the code; must be refused."""

    def forward(
        self,
        texts: list[str] | None = None,
        multi_texts: list[list[str]] | None = None,
        tokens: list[list[str]] | None = None,
        languages: list[str] | None = None,
        dense_feat: list[list[float]] | None = None,
    ) -> list[dict[str, float]]:
        scores = self.scorer(require_tokens(tokens))
        for i, features in enumerate(require_dense(dense_feat)):
            scores[i]["dense"] = sum(features)
        return scores


class OlderDemo(TokenModel):
    """The tutorial's older demo models: three lists, none Optional; the tutorial's server passed empty ones."""

    def forward(
        self, texts: list[str], multi_texts: list[list[str]], tokens: list[list[str]]
    ) -> list[dict[str, float]]:
        return self.scorer(tokens)


class TextModel(nn.Module):
    """Base of the models with a tensorizer inside."""

    def __init__(self) -> None:
        super().__init__()
        self.tensorizer = Tensorizer()
        self.scorer = Scorer()

    def score_texts(self, texts: list[str]) -> list[dict[str, float]]:
        return self.scorer(self.tensorizer(texts))


class ScriptPyTextModule(TextModel):
    """PyText's ScriptPyTextModule (RoBERTa, XLM-R): the four arguments, `texts` is used."""

    def forward(
        self,
        texts: list[str] | None = None,
        multi_texts: list[list[str]] | None = None,
        tokens: list[list[str]] | None = None,
        languages: list[str] | None = None,
    ) -> list[dict[str, float]]:
        return self.score_texts(require_texts(texts))


class WithDenseFirst(TextModel):
    """PyText's ScriptPyTextModuleWithDense, early form: `dense_feat` first and required; must be refused."""

    def forward(
        self,
        dense_feat: list[list[float]],
        texts: list[str] | None = None,
        multi_texts: list[list[str]] | None = None,
        tokens: list[list[str]] | None = None,
        languages: list[str] | None = None,
    ) -> list[dict[str, float]]:
        return self.score_texts(require_texts(texts))


class WithDenseLast(TextModel):
    """PyText's ScriptPyTextModuleWithDense, later form: `dense_feat` last, Optional, required by the code."""

    def forward(
        self,
        texts: list[str] | None = None,
        multi_texts: list[list[str]] | None = None,
        tokens: list[list[str]] | None = None,
        languages: list[str] | None = None,
        dense_feat: list[list[float]] | None = None,
    ) -> list[dict[str, float]]:
        require_dense(dense_feat)
        return self.score_texts(require_texts(texts))


class LayerModule(TextModel):
    """PyText's PyTextLayerModule: `texts` only."""

    def forward(self, texts: list[str]) -> list[dict[str, float]]:
        return self.score_texts(texts)


class LayerModuleDense(TextModel):
    """PyText's PyTextLayerModule with dense features: must be refused."""

    def forward(self, texts: list[str], dense_feat: list[list[float]]) -> list[dict[str, float]]:
        return self.score_texts(texts)


class Pairwise(TokenModel):
    """PyText's pairwise classification: two documents a request; must be refused."""

    def forward(
        self,
        texts1: list[str] | None = None,
        tokens1: list[list[str]] | None = None,
        texts2: list[str] | None = None,
        tokens2: list[list[str]] | None = None,
    ) -> list[dict[str, float]]:
        documents: list[list[str]] = []
        for left, right in zip(require_tokens(tokens1), require_tokens(tokens2)):  # noqa: B905 (unknown to TorchScript)
            documents.append(left + right)
        return self.scorer(documents)


class ForeignInput(TokenModel):
    """Not PyText's: needs a tensor `pixels` that no RPC carries; must be refused by that name."""

    def forward(self, tokens: list[list[str]], pixels: Tensor) -> list[dict[str, float]]:
        return self.scorer(tokens)


# ---------------------------------------------------------------------------------------------- exports by output


class LabelSets(TokenModel):
    """PyText's multi-label-set classification: each document's list of two label sets."""

    def forward(self, tokens: list[list[str]]) -> list[list[dict[str, float]]]:
        results: list[list[dict[str, float]]] = []
        for scores in self.scorer(tokens):
            urgency = {"urgent": scores[self.scorer.labels[0]], "calm": scores[self.scorer.labels[1]]}
            results.append([scores, urgency])
        return results


class WordTagging(TokenModel):
    """PyText's WordTaggingModel: each document's list of one map per token."""

    def forward(self, tokens: list[list[str]]) -> list[list[dict[str, float]]]:
        results: list[list[dict[str, float]]] = []
        for document in tokens:
            results.append(self.scorer([[token] for token in document]))
        return results


class IntentSlot(TokenModel):
    """PyText's IntentSlotModel: a map per document, and a list of one map per token."""

    def forward(self, tokens: list[list[str]]) -> tuple[list[dict[str, float]], list[list[dict[str, float]]]]:
        slots: list[list[dict[str, float]]] = []
        for document in tokens:
            slots.append(self.scorer([[token] for token in document]))
        return self.scorer(tokens), slots


class Regression(nn.Module):
    """PyText's DocRegressionModel: one number per document."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder = Encoder()

    def forward(self, tokens: list[list[str]]) -> list[float]:
        result: list[float] = self.encoder(tokens).sum(1).tolist()
        return result


class EmbeddingTensor(nn.Module):
    """PyText's embedding modules: a tensor float32[n, DIMENSION]."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder = Encoder()

    def forward(self, tokens: list[list[str]]) -> Tensor:
        return self.encoder(tokens)


class EmbeddingList(nn.Module):
    """PyText's embedding modules after batching across requests: a tensor float32[DIMENSION] per document."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder = Encoder()

    def forward(self, tokens: list[list[str]]) -> list[Tensor]:
        return self.encoder(tokens).unbind(0)


class ReturnsInt(nn.Module):
    """Not PyText's: answers with a number; must be refused."""

    def forward(self, tokens: list[list[str]]) -> int:
        return len(tokens)


class TooFewResults(TokenModel):
    """A faulty model: loses the last document of every batch of two or more."""

    def forward(self, tokens: list[list[str]]) -> list[dict[str, float]]:
        return self.scorer(tokens)[: max(1, len(tokens) - 1)]


# ------------------------------------------------------------------------------------------------ faults and delays


class Poison(TokenModel):
    """Raises when any document of the batch has the token `poison`."""

    def __init__(self) -> None:
        super().__init__()
        self.poison = POISON

    def forward(self, tokens: list[list[str]]) -> list[dict[str, float]]:
        for document in tokens:
            if self.poison in document:
                raise RuntimeError("a poisoned document")
        return self.scorer(tokens)


class Slow(TokenModel):
    """Keeps its thread busy for `milliseconds` per forward, by the clock and not by an amount of work."""

    def __init__(self, milliseconds: int) -> None:
        super().__init__()
        self.nanoseconds = milliseconds * 1_000_000

    def forward(self, tokens: list[list[str]]) -> list[dict[str, float]]:
        end = torch.ops.prim.TimePoint() + self.nanoseconds
        while torch.ops.prim.TimePoint() < end:
            pass
        return self.scorer(tokens)


# ------------------------------------------------------------------------------------------------------------ files


def docnn(mask: bool) -> Classifier:
    """PyText's DocNN, untrained, exported as scripts/train_classifier.py does, with a vocabulary of common words."""
    torch.manual_seed(SEED)
    words = tokenize(
        "set an alarm for tomorrow at seven remind me to call what is the weather like in show my reminders"
    )
    network = DocNN(len(words) + 2, len(LABELS), embedding_dim=32, filters=16, mask=mask)
    with torch.no_grad():
        network.embedding.weight.mul_(10)  # as large as after much training, so that padding without a mask is felt
    return Classifier(network, Vocabulary([PAD, UNKNOWN, *words]), LABELS)


MODELS: dict[str, Callable[[], nn.Module]] = {
    "doc_model_0_2": DocModel02,
    "doc_model_0_2_dense": DocModel02Dense,
    "doc_model": DocModel,
    "doc_model_dense": DocModelDense,
    "older_demo": OlderDemo,
    "script_pytext_module": ScriptPyTextModule,
    "with_dense_first": WithDenseFirst,
    "with_dense_last": WithDenseLast,
    "layer_module": LayerModule,
    "layer_module_dense": LayerModuleDense,
    "pairwise": Pairwise,
    "foreign_input": ForeignInput,
    "label_sets": LabelSets,
    "word_tagging": WordTagging,
    "intent_slot": IntentSlot,
    "regression": Regression,
    "embedding_tensor": EmbeddingTensor,
    "embedding_list": EmbeddingList,
    "returns_int": ReturnsInt,
    "too_few_results": TooFewResults,
    "poison": Poison,
    "slow_20ms": lambda: Slow(20),
    "slow_200ms": lambda: Slow(200),
    "docnn_mask": lambda: docnn(mask=True),
    "docnn_no_mask": lambda: docnn(mask=False),
}


def save(module: nn.Module, path: Path) -> Path:
    """Write the module as TorchScript and give the path back."""
    path.write_bytes(export(module))
    return path


def save_named(name: str, folder: Path) -> Path:
    """Write the model that MODELS knows by this name to `folder`/`name`.pt."""
    return save(MODELS[name](), folder / f"{name}.pt")


def save_broken(folder: Path) -> dict[str, Path]:
    """Write files that are not TorchScript: empty, random bytes, a pickle, a state dict, a truncated model."""
    whole = export(DocModel02())
    noise = torch.randint(256, (4096,), generator=torch.Generator().manual_seed(SEED), dtype=torch.uint8)
    contents = {
        "empty": b"",
        "random_bytes": bytes(noise.tolist()),
        "pickle": pickle.dumps({"weight": [1.0, 2.0]}),
        "truncated": whole[: len(whole) // 2],
    }
    paths = {name: folder / f"{name}.pt" for name in [*contents, "state_dict"]}
    for name, content in contents.items():
        paths[name].write_bytes(content)
    torch.save(Scorer().state_dict(), paths["state_dict"])
    return paths


def main(folder: Path) -> None:
    """Write everything to `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = [save_named(name, folder) for name in MODELS]
    for path in [*paths, *save_broken(folder).values()]:
        print(path)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
