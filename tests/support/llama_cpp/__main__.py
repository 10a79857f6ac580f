"""python -m tests.support.llama_cpp MODEL PORT generate|embed|rerank [--key=KEY] [--set=NAME=VALUE]: until killed."""

from __future__ import annotations

import argparse
import signal
from operator import attrgetter

import xllamacpp


def main() -> None:
    """Prints the address when the model is loaded."""
    parser = argparse.ArgumentParser()
    parser.add_argument("model")
    parser.add_argument("port", type=int)
    parser.add_argument("task", choices=("generate", "embed", "rerank"))
    parser.add_argument("--key", action="append", default=[])
    parser.add_argument("--set", action="append", default=[])
    options = parser.parse_args()
    params = xllamacpp.CommonParams()
    params.model.path = options.model
    params.port = options.port
    params.n_ctx = 8192
    params.n_parallel = 4
    params.n_threads_http = 16
    params.cpuparams.n_threads = 1
    params.ui = False
    params.fit_params = False
    params.model_alias = {"tiny"}
    params.api_keys = options.key
    if options.task != "generate":
        params.embedding = True
        params.pooling_type = xllamacpp.llama_pooling_type.LLAMA_POOLING_TYPE_MEAN
    if options.task == "rerank":
        params.pooling_type = xllamacpp.llama_pooling_type.LLAMA_POOLING_TYPE_RANK
    for setting in options.set:
        path, _, value = setting.partition("=")
        of, _, name = path.rpartition(".")
        setattr(attrgetter(of)(params) if of else params, name, int(value))
    server = xllamacpp.Server(params)
    print(server.listening_address, flush=True)
    signal.pause()


if __name__ == "__main__":
    main()
