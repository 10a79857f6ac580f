"""A model of texts by another library, behind HTTP: requests that wait become one batch.

    python text_server.py embed|classify|rerank ENGINE PRECISION FOLDER PORT

`POST /embed {"text": ...}` -> `{"embedding": [...]}`, `POST /predict {"doc": ...}` -> `{"scores": [...]}`,
`POST /rerank {"query": ..., "texts": [...]}` -> `{"scores": [...]}`. There is no timer: what waits when the model is
free is taken, up to 32 texts, sorted by length and computed 8 at a time, so that little is padded. The model has all
cores; exports lie in a folder that ends with the program.
"""

from __future__ import annotations

import asyncio
import importlib
import os
import sys
import tempfile
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from aiohttp import web

if TYPE_CHECKING:
    from collections.abc import Callable

WAITING = 32
BATCH = 8
OPENVINO = {"float32": "f32", "bfloat16": "bf16"}


# --------------------------------------------------------------------------------------------------------- libraries


def backend_options(backend: str, precision: str) -> dict[str, Any]:
    """Of sentence-transformers' classes."""
    if backend == "torch":
        import torch

        return {"model_kwargs": {"torch_dtype": getattr(torch, precision)}}
    if backend == "onnx":
        return {"backend": backend, "model_kwargs": {"provider": "CPUExecutionProvider", "export": True}}
    config = {"INFERENCE_PRECISION_HINT": OPENVINO[precision], "PERFORMANCE_HINT": "LATENCY"}
    return {"backend": backend, "model_kwargs": {"export": True, "ov_config": config}}


def sentence_transformers(
    kind: str, backend: str, precision: str, folder: str, work: Path
) -> Callable[[list[Any]], Any]:
    """`kind`: SentenceTransformer for texts, CrossEncoder for pairs."""
    import sentence_transformers as library
    from sentence_transformers import backend as exports

    quantized = backend == "onnx" and precision == "int8"
    make = partial(getattr(library, kind), device="cpu", local_files_only=True)
    model = make(folder, **backend_options(backend, "float32" if quantized else precision))
    if quantized:  # onnxruntime's dynamic quantization, for the instructions that are there
        instructions = "avx512_vnni" if "avx512_vnni" in Path("/proc/cpuinfo").read_text() else "avx2"
        model.save_pretrained(str(work))
        exports.export_dynamic_quantized_onnx_model(model, instructions, str(work))
        file = next(path for path in work.glob("onnx/*.onnx") if "quint8" in path.name or "qint8" in path.name)
        options = {"provider": "CPUExecutionProvider", "file_name": f"onnx/{file.name}"}
        model = make(str(work), backend="onnx", model_kwargs=options)
    call = model.encode if kind == "SentenceTransformer" else model.predict
    return partial(call, batch_size=BATCH, show_progress_bar=False)


def pooled(hidden: Any, mask: Any) -> Any:
    """The mean over the tokens, scaled to length 1."""
    sums = np.einsum("btd,bt->bd", hidden, mask.astype(np.float32))
    return sums / np.linalg.norm(sums, axis=1, keepdims=True)


def tokenizer_of(folder: str) -> Any:
    """With padding and the folder's limit."""
    from transformers import AutoTokenizer

    tokenizer: Any = AutoTokenizer.from_pretrained(folder)
    return partial(tokenizer, padding=True, truncation=True, return_tensors="np")


def onnxruntime(precision: str, folder: str, work: Path) -> Callable[[list[str]], Any]:
    """Its session alone, with the tokens and the pooling made here."""
    import onnxruntime as library
    from onnxruntime.quantization import quantize_dynamic
    from optimum.onnxruntime import ORTModelForFeatureExtraction

    ORTModelForFeatureExtraction.from_pretrained(folder, export=True).save_pretrained(work)
    path = work / "model.onnx"
    if precision == "int8":
        quantize_dynamic(path, work / "int8.onnx")
        path = work / "int8.onnx"
    session, tokenize = library.InferenceSession(path, providers=["CPUExecutionProvider"]), tokenizer_of(folder)
    names = [each.name for each in session.get_inputs()]

    def embed(texts: list[str]) -> Any:
        tokens = tokenize(texts)
        hidden = session.run(None, {name: tokens[name] for name in names})[0]
        return pooled(hidden, tokens["attention_mask"])

    return embed


def ctranslate2(precision: str, folder: str, work: Path) -> Callable[[list[str]], Any]:
    """Its encoder, with the tokens and the pooling made here."""
    import ctranslate2 as library
    from ctranslate2.converters import TransformersConverter

    TransformersConverter(folder).convert(str(work), force=True)
    encoder = library.Encoder(str(work), device="cpu", compute_type=precision, intra_threads=library_threads())
    tokenize = tokenizer_of(folder)

    def embed(texts: list[str]) -> Any:
        tokens = tokenize(texts)
        mask = tokens["attention_mask"]
        ids = [row[:length].tolist() for row, length in zip(tokens["input_ids"], mask.sum(1), strict=True)]
        return pooled(np.array(encoder.forward_batch(ids).last_hidden_state), mask)

    return embed


def library_threads() -> int:
    """One a core."""
    return len(os.sched_getaffinity(0))


def classifier(backend: str, precision: str, folder: str) -> Callable[[list[str]], Any]:
    """transformers' model, or optimum's for the backend, and its softmax."""
    import torch

    options: dict[str, Any] = {"export": True}
    if backend == "torch":
        module, name = "transformers", "AutoModelForSequenceClassification"
        options = {"torch_dtype": getattr(torch, precision)}
    elif backend == "onnx":
        module, name = "optimum.onnxruntime", "ORTModelForSequenceClassification"
    else:
        module, name = "optimum.intel", "OVModelForSequenceClassification"
        options["ov_config"] = {"INFERENCE_PRECISION_HINT": OPENVINO[precision]}
    kind = getattr(importlib.import_module(module), name)
    model, tokenize = kind.from_pretrained(folder, **options), tokenizer_of(folder)

    def classify(texts: list[str]) -> Any:
        tokens = tokenize(texts)
        with torch.inference_mode():
            given = {name: torch.as_tensor(value) for name, value in tokens.items()}
            return model(**given).logits.float().softmax(-1).numpy()

    return classify


def engine(task: str, name: str, precision: str, folder: str, work: Path) -> Callable[[list[Any]], Any]:
    """A function from a batch to as many rows of numbers."""
    if name == "onnxruntime":
        return onnxruntime(precision, folder, work)
    if name == "ctranslate2":
        return ctranslate2(precision, folder, work)
    if task == "classify":
        return classifier(name, precision, folder)
    kind = "SentenceTransformer" if task == "embed" else "CrossEncoder"
    return sentence_transformers(kind, name, precision, folder, work)


# ------------------------------------------------------------------------------------------------------------ serving


class Batches:
    """One batch at a time, of what waits."""

    def __init__(self, call: Callable[[list[Any]], Any]) -> None:
        self._call = call
        self._waiting: deque[tuple[str, asyncio.Future[Any]]] = deque()
        self._thread = ThreadPoolExecutor(1)
        self._running = False

    async def answer(self, text: str) -> Any:
        """The text's row."""
        future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self._waiting.append((text, future))
        if not self._running:
            self._running = True
            self._task = asyncio.create_task(self._run())
        return await future

    async def whole(self, items: list[Any]) -> Any:
        """The rows of a list, as a batch of the library's own."""
        return await asyncio.get_running_loop().run_in_executor(self._thread, self._call, items)

    async def _run(self) -> None:
        while self._waiting:
            taken = [self._waiting.popleft() for _ in range(min(WAITING, len(self._waiting)))]
            taken.sort(key=lambda item: len(item[0]))
            for begin in range(0, len(taken), BATCH):
                batch = taken[begin : begin + BATCH]
                rows = await self.whole([text for text, _ in batch])
                for (_, future), row in zip(batch, rows, strict=True):
                    if not future.done():
                        future.set_result(row)
        self._running = False


def application(batches: Batches) -> web.Application:
    """The three routes."""

    async def embed(request: web.Request) -> web.Response:
        row = await batches.answer((await request.json())["text"])
        return web.json_response({"embedding": np.asarray(row, np.float32).tolist()})

    async def predict(request: web.Request) -> web.Response:
        row = await batches.answer((await request.json())["doc"])
        return web.json_response({"scores": np.asarray(row, np.float32).tolist()})

    async def rerank(request: web.Request) -> web.Response:
        asked = await request.json()
        scores = await batches.whole([(asked["query"], text) for text in asked["texts"]])
        return web.json_response({"scores": np.asarray(scores, np.float32).tolist()})

    app = web.Application()
    for path, handler in (("/embed", embed), ("/predict", predict), ("/rerank", rerank)):
        app.router.add_post(path, handler)
    return app


if __name__ == "__main__":
    task, name, precision, folder, port = sys.argv[1:]
    with tempfile.TemporaryDirectory() as work:
        batches = Batches(engine(task, name, precision, folder, Path(work)))
        web.run_app(application(batches), host="127.0.0.1", port=int(port), print=lambda _line: None)
