"""GPT-2 (Radford et al. 2019) in plain torch, for training; its parameters are named as Hugging Face names them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

INITIAL_DEVIATION = 0.02


@dataclass(frozen=True)
class Config:
    """Sizes."""

    vocabulary: int
    context: int = 256
    width: int = 256
    layers: int = 4
    heads: int = 4
    dropout: float = 0.1

    def for_hugging_face(self, end_token: int) -> dict[str, Any]:
        """config.json."""
        return {
            "architectures": ["GPT2LMHeadModel"],
            "model_type": "gpt2",
            "activation_function": "gelu_new",
            "vocab_size": self.vocabulary,
            "n_positions": self.context,
            "n_embd": self.width,
            "n_layer": self.layers,
            "n_head": self.heads,
            "layer_norm_epsilon": 1e-5,
            "bos_token_id": end_token,
            "eos_token_id": end_token,
        }


class Product(nn.Module):
    """x @ weight + bias, the weight lying as GPT-2's does: [in, out]."""

    def __init__(self, inputs: int, outputs: int, deviation: float = INITIAL_DEVIATION) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(inputs, outputs) * deviation)
        self.bias = nn.Parameter(torch.zeros(outputs))

    def forward(self, x: Tensor) -> Tensor:
        return x @ self.weight + self.bias


class Attention(nn.Module):
    def __init__(self, config: Config, deviation: float) -> None:
        super().__init__()
        self.heads, self.dropout = config.heads, config.dropout
        self.c_attn = Product(config.width, 3 * config.width)
        self.c_proj = Product(config.width, config.width, deviation)

    def forward(self, x: Tensor) -> Tensor:
        batch, length, width = x.shape
        query, key, value = self.c_attn(x).view(batch, length, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        dropout = self.dropout if self.training else 0.0
        mixed = functional.scaled_dot_product_attention(query, key, value, dropout_p=dropout, is_causal=True)
        projected: Tensor = self.c_proj(mixed.transpose(1, 2).reshape(batch, length, width))
        return projected


class Network(nn.Module):
    def __init__(self, config: Config, deviation: float) -> None:
        super().__init__()
        self.c_fc = Product(config.width, 4 * config.width)
        self.c_proj = Product(4 * config.width, config.width, deviation)

    def forward(self, x: Tensor) -> Tensor:
        projected: Tensor = self.c_proj(functional.gelu(self.c_fc(x), approximate="tanh"))
        return projected


class Block(nn.Module):
    def __init__(self, config: Config) -> None:
        super().__init__()
        deviation = INITIAL_DEVIATION / (2 * config.layers) ** 0.5  # of what adds up over the layers
        self.ln_1, self.attn = nn.LayerNorm(config.width), Attention(config, deviation)
        self.ln_2, self.mlp = nn.LayerNorm(config.width), Network(config, deviation)
        self.dropout = nn.Dropout(config.dropout)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.dropout(self.attn(self.ln_1(x)))
        x = x + self.dropout(self.mlp(self.ln_2(x)))
        return x  # noqa: RET504 - Any until it has a name


class Gpt2(nn.Module):
    """Tokens int64 [batch, length] to logits float32 [batch, length, vocabulary]."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.wte = nn.Embedding(config.vocabulary, config.width)
        self.wpe = nn.Embedding(config.context, config.width)
        self.h = nn.ModuleList(Block(config) for _ in range(config.layers))
        self.ln_f = nn.LayerNorm(config.width)
        self.dropout = nn.Dropout(config.dropout)
        for embedding in (self.wte, self.wpe):
            nn.init.normal_(embedding.weight, std=INITIAL_DEVIATION)

    def forward(self, tokens: Tensor) -> Tensor:
        positions = torch.arange(tokens.shape[1])
        x = self.dropout(self.wte(tokens) + self.wpe(positions))
        for block in self.h:
            x = block(x)
        logits: Tensor = self.ln_f(x) @ self.wte.weight.t()
        return logits
