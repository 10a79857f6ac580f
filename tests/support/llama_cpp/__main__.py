"""python -m tests.support.llama_cpp MODEL PORT [generate|embed|rerank] [API_KEY]: serve until killed."""

from __future__ import annotations

import signal
import sys

import xllamacpp


def main() -> None:
    """Prints the address when the model is loaded."""
    model, port, task, *keys = sys.argv[1:]
    params = xllamacpp.CommonParams()
    params.model.path = model
    params.port = int(port)
    params.n_ctx = 8192
    params.n_parallel = 4
    params.n_threads_http = 16
    params.cpuparams.n_threads = 1
    params.ui = False
    params.fit_params = False
    params.model_alias = {"tiny"}
    params.api_keys = keys
    if task != "generate":
        params.embedding = True
        params.pooling_type = xllamacpp.llama_pooling_type.LLAMA_POOLING_TYPE_MEAN
    if task == "rerank":
        params.pooling_type = xllamacpp.llama_pooling_type.LLAMA_POOLING_TYPE_RANK
    server = xllamacpp.Server(params)
    print(server.listening_address, flush=True)
    signal.pause()


if __name__ == "__main__":
    main()
