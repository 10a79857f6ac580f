#!/usr/bin/env python3
"""Our own model server with the command line of tensorflow_model_server, for a machine that has none.

It takes the flags that the launcher gives, and refuses others.
"""

from __future__ import annotations

import argparse
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[3]))

from server.tensorflow.location import versions_of
from server.tensorflow.model_server import ModelServer, Servable
from server.tensorflow.protocol import protocol


def main() -> None:
    """Until it is killed."""
    parser = argparse.ArgumentParser(allow_abbrev=False)
    for flag in ("--port", "--rest_api_port"):
        parser.add_argument(flag, choices=["0"], required=True)
    for flag in ("--grpc_socket_path", "--model_name", "--model_base_path"):
        parser.add_argument(flag, required=True)
    options = parser.parse_args()
    versions = versions_of(Path(options.model_base_path))
    newest = max(versions)
    server = ModelServer(options.model_name, newest)
    listener = protocol().grpc.server(ThreadPoolExecutor(2), server.handlers())
    listener.add_insecure_port(f"unix:{options.grpc_socket_path}")
    listener.start()
    server.servable = Servable(versions[newest])
    time.sleep(3600)


if __name__ == "__main__":
    main()
