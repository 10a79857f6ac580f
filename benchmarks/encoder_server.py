"""The usual way to serve a sentence encoder: sentence-transformers' encode of one text a request, behind aiohttp.

    python -m benchmarks.encoder_server FOLDER PORT DEVICE

`POST /embed {"text": ...}` -> `{"embedding": [...]}`. One thread encodes, with all of torch's threads: several at a
time only take the processor from each other.
"""

from __future__ import annotations

import asyncio
import sys
from concurrent.futures import ThreadPoolExecutor

from aiohttp import web
from sentence_transformers import SentenceTransformer


def application(folder: str, device: str) -> web.Application:
    """Loads the model."""
    model = SentenceTransformer(folder, device=device, local_files_only=True)
    encoding = ThreadPoolExecutor(1)

    async def embed(request: web.Request) -> web.Response:
        text = (await request.json())["text"]
        vector = await asyncio.get_running_loop().run_in_executor(
            encoding, lambda: model.encode(text, show_progress_bar=False)
        )
        return web.json_response({"embedding": vector.tolist()})

    app = web.Application()
    app.router.add_post("/embed", embed)
    return app


if __name__ == "__main__":
    web.run_app(
        application(sys.argv[1], sys.argv[3]), host="127.0.0.1", port=int(sys.argv[2]), print=lambda _line: None
    )
