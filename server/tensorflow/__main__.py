"""Try a SavedModel: what its signature is, and what it answers to a request of TensorFlow Serving's REST API.

python -m server.tensorflow models/half_plus_two '{"instances": [1, 2, 5]}'
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
from typing import TYPE_CHECKING, Any

from server.errors import ModelError, PredictionError
from server.tensorflow.predictor import SavedModelPredictor, open_predictor

if TYPE_CHECKING:
    from collections.abc import Sequence

_MEMBERS = {"instances", "inputs", "signature_name"}
_EPILOG = """
examples:
  python -m server.tensorflow models/half_plus_two
  python -m server.tensorflow models/half_plus_two '{"instances": [1, 2, 5]}'
  python -m server.tensorflow tfserving://host:8500/model '{"inputs": {"x": [1, 2]}, "signature_name": "other"}'
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Gives the exit code."""
    options = _parser().parse_args(arguments)
    try:
        request = _request(options.request)
        print(asyncio.run(_answer(options.location, request, options.timeout)))
    except (ModelError, ValueError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except PredictionError as error:
        print(f"error: {error.message}", file=sys.stderr)
        return 1
    return 0


def _request(text: str | None) -> dict[str, Any] | None:
    """The request's members. Raises ValueError."""
    if text is None:
        return None
    request = json.loads(sys.stdin.read() if text == "-" else text)
    if type(request) is not dict or len(request.keys() & {"instances", "inputs"}) != 1 or request.keys() - _MEMBERS:
        raise ValueError('the request must be an object with "instances" or "inputs", and maybe "signature_name"')
    if "instances" in request and type(request["instances"]) is not list:
        raise ValueError('"instances" must be a list')
    if type(request.get("signature_name", "")) is not str:
        raise ValueError('"signature_name" must be a string')
    return request


async def _answer(location: str, request: dict[str, Any] | None, timeout_s: float) -> str:
    name = None if request is None else request.get("signature_name")
    async with open_predictor(location, timeout_s=timeout_s, signature_name=name) as predictor:
        if request is None:
            return predictor.signature
        return json.dumps(await _predicted(predictor, request, timeout_s), ensure_ascii=False)


async def _predicted(predictor: SavedModelPredictor, request: dict[str, Any], timeout_s: float) -> dict[str, Any]:
    if "inputs" in request:
        return {"outputs": await predictor.predict_columns(request["inputs"], timeout_s=timeout_s)}
    return {"predictions": await predictor.predict(request["instances"], timeout_s=timeout_s)}


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m server.tensorflow",
        description="Try a SavedModel: show its signature, or answer a request of TensorFlow Serving's REST API.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("location", metavar="LOCATION", help="A SavedModel's folder, or tfserving://HOST:PORT/NAME[/VERSION].")
    add("request", metavar="REQUEST", nargs="?", help="JSON as in the examples; - reads it from stdin.")
    add("--timeout", type=float, default=120, metavar="SECONDS", help="Maximum time for each step. Default: 120.")
    return parser


if __name__ == "__main__":
    sys.exit(main())
