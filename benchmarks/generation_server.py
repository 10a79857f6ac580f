"""The usual way to serve a text generator: transformers' pipeline behind Flask, a thread for each request.

python -m benchmarks.generation_server FOLDER PORT DEVICE
"""

from __future__ import annotations

import sys
from typing import Any

from flask import Flask, request
from transformers import AutoModelForCausalLM, PreTrainedTokenizerFast, pipeline


def application(folder: str, device: str) -> Flask:
    """POST /generate {"prompt": ..., "max_tokens": ...} -> {"generated": ..., "token_count": ...}."""
    tokenizer = PreTrainedTokenizerFast(tokenizer_file=f"{folder}/tokenizer.json", eos_token="<|endoftext|>")
    model = AutoModelForCausalLM.from_pretrained(folder).eval()
    generate = pipeline("text-generation", model=model, tokenizer=tokenizer, device=device)
    app = Flask(__name__)

    @app.post("/generate")
    def answer() -> dict[str, Any]:
        body = request.get_json()
        tokens = generate(
            body["prompt"],
            max_new_tokens=body["max_tokens"],
            do_sample=True,
            return_tensors=True,
            pad_token_id=tokenizer.eos_token_id,
        )[0]["generated_token_ids"]
        new = tokens[len(tokenizer.encode(body["prompt"])) :]
        return {"generated": tokenizer.decode(new, skip_special_tokens=True), "token_count": len(new)}

    @app.get("/healthz")
    def healthy() -> str:
        return "ok"

    return app


if __name__ == "__main__":
    application(sys.argv[1], sys.argv[3]).run("127.0.0.1", int(sys.argv[2]), threaded=True)
