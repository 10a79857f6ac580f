"""An encoder of BERT-base's size with random weights, in the layout of another that sentence-transformers saved.

    python -m benchmarks.base_encoder FOLDER_OF_MINILM OUT

All but the sizes and the weights is the other's, so that libraries of any age read it.
"""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from transformers import BertConfig, BertModel

SIZES = {"hidden_size": 768, "num_hidden_layers": 12, "num_attention_heads": 12, "intermediate_size": 3072}


def change(path: Path, **fields: Any) -> dict[str, Any]:
    """Set fields of a JSON file; what it then is."""
    content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8")) | fields
    path.write_text(json.dumps(content, indent=2), encoding="utf-8")
    return content


def make(source: Path, folder: Path) -> None:
    """110 million weights."""
    shutil.copytree(source, folder, ignore=shutil.ignore_patterns("*.safetensors", "*.bin", "onnx", "openvino"))
    config = change(folder / "config.json", **SIZES)
    change(folder / "1_Pooling" / "config.json", word_embedding_dimension=SIZES["hidden_size"])
    torch.manual_seed(1)
    weights = BertModel(BertConfig(**config)).state_dict()
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})


if __name__ == "__main__":
    make(Path(sys.argv[1]), Path(sys.argv[2]))
