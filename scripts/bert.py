# mypy: disable-error-code="no-any-return,operator,union-attr"
"""BERT as a sentence encoder in plain torch, made to be exported as TorchScript (scripts/export_encoder.py).

Texts come as their tokens one after the other, without padding: all products of matrices take the tokens of the whole
batch at once, attention takes a text at a time, and pooling each run of texts of equal length. So a batch of mixed
lengths costs no more than its tokens, nothing needs a mask, and no text sees another.
"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn import functional

from ext import _torchscript  # noqa: F401  registers predictor::attention and int8_products

if TYPE_CHECKING:
    from collections.abc import Mapping

PRECISIONS = ("float32", "bfloat16", "int8")


@dataclasses.dataclass(frozen=True)
class Architecture:
    """What the configuration of a sentence-transformers folder says."""

    layers: int
    heads: int
    hidden: int
    intermediate: int
    vocabulary: int
    positions: int
    norm_epsilon: float
    activation: str
    """gelu, gelu_tanh or relu."""
    pooling: str
    """mean, cls, max or mean_sqrt_len."""
    normalize: bool


# Activation -> what oneDNN calls it: the function, its form.
POST_OPS = {"none": ("none", ""), "relu": ("relu", ""), "gelu": ("gelu", "none"), "gelu_tanh": ("gelu", "tanh")}


def activate(x: Tensor, activation: str) -> Tensor:
    """`activation`: one of POST_OPS."""
    if activation == "none":
        return x
    if activation == "relu":
        return functional.relu(x)
    return functional.gelu(x, approximate="tanh" if activation == "gelu_tanh" else "none")


class Linear(nn.Module):
    """A product and its activation; `pack` puts the weights into the order in which oneDNN reads them fastest."""

    def __init__(self, weight: Tensor, bias: Tensor, activation: str, dtype: torch.dtype) -> None:
        super().__init__()
        self.weight = weight.to(dtype)
        self.bias = bias.to(dtype)
        self.activation = activation
        self.post_op, self.form = POST_OPS[activation]
        self.packed = False

    @torch.jit.export
    def pack(self) -> None:
        """For the processor that this runs on, and for good: the module cannot be saved any more."""
        self.weight = torch.ops.mkldnn._reorder_linear_weight(self.weight, None)
        self.packed = True

    def forward(self, x: Tensor) -> Tensor:
        if self.packed:
            return torch.ops.mkldnn._linear_pointwise(x, self.weight, self.bias, self.post_op, [], self.form)
        return activate(functional.linear(x, self.weight, self.bias), self.activation)


class Int8Linear(nn.Module):
    """Weights as int8 with a scale for each row of them; the input as it comes (dynamic), by each token's own range.

    A range for all tokens together would let a text's batch mates change its vector. The middle of a token's range is
    taken off before rounding, and its part of the product, the sums of the weights, is added again: that more than
    halves the error, as activations lie mostly to one side of 0.
    """

    def __init__(self, weight: Tensor, bias: Tensor, activation: str) -> None:
        super().__init__()
        self.activation = activation
        self.scales = weight.abs().amax(1).clamp(min=1e-12) / 127
        self.weight = torch.round(weight / self.scales[:, None]).to(torch.int8).t()
        self.sums = self.weight.to(torch.float32).sum(0) * self.scales
        self.bias = bias

    def forward(self, x: Tensor) -> Tensor:
        least, most = x.amin(1, keepdim=True), x.amax(1, keepdim=True)  # aminmax takes many times as long
        middle = (least + most) / 2
        scales = (most - least).clamp_(min=1e-12).div_(254)
        rounded = (x - middle).div_(scales).round_().to(torch.int8)
        products = torch.ops.predictor.int8_products(rounded, self.weight)
        x = torch.addcmul(self.bias, middle, self.sums).addcmul_(products.to(torch.float32).mul_(scales), self.scales)
        return activate(x, self.activation)


class LayerNorm(nn.Module):
    """In single precision inside, whatever comes in."""

    def __init__(self, weight: Tensor, bias: Tensor, epsilon: float) -> None:
        super().__init__()
        self.weight = weight
        self.bias = bias
        self.epsilon = epsilon

    def forward(self, x: Tensor) -> Tensor:
        if x.is_cuda and x.dtype != self.weight.dtype:  # a card's layer_norm takes one type only
            wide = functional.layer_norm(
                x.to(self.weight.dtype), [self.weight.size(0)], self.weight, self.bias, self.epsilon
            )
            return wide.to(x.dtype)
        return functional.layer_norm(x, [self.weight.size(0)], self.weight, self.bias, self.epsilon)


class Attention(nn.Module):
    """Multi-head attention within each text. `qkv` float[tokens, 3 * hidden] -> float[tokens, hidden]."""

    def __init__(self, heads: int) -> None:
        super().__init__()
        self.heads = heads

    def forward(self, qkv: Tensor, counts: list[int], lengths: list[int]) -> Tensor:
        return torch.ops.predictor.attention(qkv, self.heads, counts, lengths)


class Layer(nn.Module):
    """One transformer layer, normalised after each half as BERT is."""

    def __init__(self, weights: Mapping[str, Tensor], prefix: str, architecture: Architecture, precision: str) -> None:
        super().__init__()
        epsilon = architecture.norm_epsilon

        def linear(*names: str, activation: str = "none") -> nn.Module:
            weight = torch.cat([weights[f"{prefix}{name}.weight"] for name in names])
            bias = torch.cat([weights[f"{prefix}{name}.bias"] for name in names])
            if precision == "int8":
                return Int8Linear(weight, bias, activation)
            return Linear(weight, bias, activation, getattr(torch, precision))

        def norm(name: str) -> nn.Module:
            return LayerNorm(weights[f"{prefix}{name}.weight"], weights[f"{prefix}{name}.bias"], epsilon)

        self.qkv = linear("attention.self.query", "attention.self.key", "attention.self.value")
        self.attention = Attention(architecture.heads)
        self.out = linear("attention.output.dense")
        self.attention_norm = norm("attention.output.LayerNorm")
        self.up = linear("intermediate.dense", activation=architecture.activation)
        self.down = linear("output.dense")
        self.norm = norm("output.LayerNorm")

    def forward(self, x: Tensor, counts: list[int], lengths: list[int]) -> Tensor:
        x = self.attention_norm(x + self.out(self.attention(self.qkv(x), counts, lengths)))
        return self.norm(x + self.down(self.up(x)))


class SentenceEncoder(nn.Module):
    """Token ids to sentence vectors."""

    def __init__(self, weights: Mapping[str, Tensor], architecture: Architecture, precision: str) -> None:
        super().__init__()
        embeddings = "embeddings."
        self.words = weights[f"{embeddings}word_embeddings.weight"]
        # every token of a single text is of the first type
        types = weights[f"{embeddings}token_type_embeddings.weight"]
        self.positions = weights[f"{embeddings}position_embeddings.weight"] + types[0]
        norm = f"{embeddings}LayerNorm"
        self.norm = LayerNorm(weights[f"{norm}.weight"], weights[f"{norm}.bias"], architecture.norm_epsilon)
        self.layers = nn.ModuleList(
            Layer(weights, f"encoder.layer.{i}.", architecture, precision) for i in range(architecture.layers)
        )
        self.dtype = torch.bfloat16 if precision == "bfloat16" else torch.float32
        self.pooling = architecture.pooling
        self.normalize = architecture.normalize

    def pool(self, run: Tensor) -> Tensor:
        """float32[texts, tokens, hidden] -> float32[texts, hidden]."""
        if self.pooling == "cls":
            return run[:, 0]
        if self.pooling == "max":
            return run.amax(1)
        if self.pooling == "mean_sqrt_len":
            return run.sum(1) / float(run.size(1)) ** 0.5
        return run.mean(1)

    def forward(self, ids: Tensor, lengths: list[int]) -> Tensor:
        """`ids` int[sum(lengths)] holds one text after the other; float32[len(lengths), hidden].

        Fastest where texts of equal length follow each other.
        """
        counts: list[int] = []
        runs: list[int] = []
        for length in lengths:
            if len(runs) > 0 and runs[-1] == length:
                counts[-1] += 1
            else:
                runs.append(length)
                counts.append(1)
        positions: list[Tensor] = []
        for i in range(len(runs)):
            positions.append(self.positions[: runs[i]].repeat(counts[i], 1))
        x = self.norm(functional.embedding(ids, self.words) + torch.cat(positions)).to(self.dtype)
        for layer in self.layers:
            x = layer(x, counts, runs)
        pooled: list[Tensor] = []
        begin = 0
        for i in range(len(runs)):
            rows = counts[i] * runs[i]
            pooled.append(self.pool(x[begin : begin + rows].view(counts[i], runs[i], -1).to(torch.float32)))
            begin += rows
        vectors = torch.cat(pooled)
        return functional.normalize(vectors, 2.0, 1) if self.normalize else vectors


class PackableEncoder(SentenceEncoder):
    """One whose weights can be packed: not those of int8, which are packed as they are read."""

    @torch.jit.export
    def pack(self) -> None:
        for layer in self.layers:
            layer.qkv.pack()
            layer.out.pack()
            layer.up.pack()
            layer.down.pack()


def wanted_weights(architecture: Architecture) -> dict[str, tuple[int, ...]]:
    """Name -> shape of every weight that is read."""
    hidden, intermediate = architecture.hidden, architecture.intermediate
    shapes: dict[str, tuple[int, ...]] = {
        "embeddings.word_embeddings.weight": (architecture.vocabulary, hidden),
        "embeddings.position_embeddings.weight": (architecture.positions, hidden),
        "embeddings.LayerNorm.weight": (hidden,),
        "embeddings.LayerNorm.bias": (hidden,),
    }
    for i in range(architecture.layers):
        for name, outputs, inputs in (
            ("attention.self.query", hidden, hidden),
            ("attention.self.key", hidden, hidden),
            ("attention.self.value", hidden, hidden),
            ("attention.output.dense", hidden, hidden),
            ("intermediate.dense", intermediate, hidden),
            ("output.dense", hidden, intermediate),
        ):
            shapes[f"encoder.layer.{i}.{name}.weight"] = (outputs, inputs)
            shapes[f"encoder.layer.{i}.{name}.bias"] = (outputs,)
        for name in ("attention.output.LayerNorm", "output.LayerNorm"):
            shapes[f"encoder.layer.{i}.{name}.weight"] = (hidden,)
            shapes[f"encoder.layer.{i}.{name}.bias"] = (hidden,)
    return shapes


def encoder(weights: Mapping[str, Tensor], architecture: Architecture, precision: str) -> SentenceEncoder:
    """The module, for inference. `weights` as `wanted_weights` names them, and the token types, in float32."""
    kind = SentenceEncoder if precision == "int8" else PackableEncoder
    return kind(weights, architecture, precision).eval()
