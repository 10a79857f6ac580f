"""Input files of batch jobs: lines, compressed ones too, their JSON, instances of every method, and SavedModels'.

The first byte says of which method, the second how: with a key field (1), compressed (2), with integers of any size
(4), and in chunks of one line (8).
"""

from __future__ import annotations

import asyncio
import gzip
import io
import json
import time
from typing import TYPE_CHECKING, Any

import numpy as np

from server.batch.methods.text_methods import TEXT_METHODS
from server.batch.pipeline.lines import LineLimit, LineReader
from server.batch.pipeline.rows import RowReader
from server.batch.state.errors import RowError
from server.batch.storage.errors import StorageError
from server.errors import PredictionError
from server.models.requests import RequestContext
from server.tensorflow.instances import batches
from server.tensorflow.signature import Port, Signature
from server.tensorflow.tensors import TensorType
from tests.support.letters import Letters

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.shared import SharedFiles

KEYED, GZIPPED, EXACT, ONE_BY_ONE = 1, 2, 4, 8
METHODS = (*(name for name in TEXT_METHODS if name != "generate"), "saved_model")

_MOST_LINES = 50  # of which the model is asked
_TYPES = {"float": np.float32, "int64": np.int64, "bool": np.bool_, "string": np.object_, "uint8": np.uint8}
_LINES: dict[str, list[Any]] = {
    "predict": ["abc", {"doc": "abc", "id": 7, "options": {"top_k": 2, "candidate_labels": ["a", "b"]}}],
    "reply": ["hello", {"message": "abc", "id": 7}],
    "embed": ["abc", {"text": "abc", "id": 7, "options": {"dimensions": 4, "encoding": "int8", "normalize": True}}],
    "rerank": [{"query": "ab", "texts": ["abc", "d"], "id": 7, "options": {"top_n": 1}}],
    "classify_tokens": [{"text": "Ada is", "id": 7, "options": {"aggregation": "simple", "ignore_labels": ["O"]}}],
    "embed_sparse": [{"text": "abc", "id": 2**70, "options": {"max_active_dims": 2, "tokens": True}}],
    "embed_tokens": [{"text": "a b", "id": "x"}],
    "tokenize": [{"text": "a b", "id": None, "options": {"special_tokens": True}}],
    "saved_model": [
        {
            "float": [0.5, 1],
            "int64": [7, 2**53],
            "bool": [True, False],
            "string": ["a", {"b64": "YQ=="}],
            "uint8": [255, 0],
        }
    ],
}


class _Size:
    rows = 100
    chunk_bytes = 1 << 20
    line_limit = LineLimit(1 << 16, "max_line_bytes")


class _OneByOne(_Size):
    rows = 1


class Target:
    """See tests.fuzz.targets."""

    growth_bytes = 96 << 20

    def __init__(self, files: SharedFiles) -> None:
        del files
        self._loop = asyncio.new_event_loop()
        self._model = Letters()
        ports = {
            name: Port(name, TensorType(0, name, np.dtype(scalar), ""), (None,)) for name, scalar in _TYPES.items()
        }
        self._signature = Signature("serving_default", "predict", ports, {}, None)

    def one(self, data: bytes) -> bool:
        """Whether every line has a result."""
        if len(data) < 2:
            return False
        name, how, content = METHODS[data[0] % len(METHODS)], data[1], data[2:]
        size = _OneByOne() if how & ONE_BY_ONE else _Size()
        instance_of = (lambda value: value) if name == "saved_model" else TEXT_METHODS[name].instance
        key_field = "id" if how & KEYED else None
        reader = RowReader(
            instance_of,
            key_field,
            size.line_limit,
            exact=bool(how & EXACT),
            takes_key_out=name == "saved_model",
        )
        lines = right = 0
        try:
            chunks = LineReader(size, lambda: None).read(io.BytesIO(content), "file", gzipped=bool(how & GZIPPED))
            for chunk in chunks:
                rows = reader.read(chunk)
                assert len(rows.instances) + len(rows.errors) == len(chunk.texts) == len(rows.numbers)
                assert rows.keys is None or len(rows.keys) == len(chunk.texts)
                for place, key in enumerate(rows.keys or ()):
                    assert key is None or place in rows.errors or json.loads(b"{" + key + b"}").keys() == {"id"}
                lines += len(chunk.texts)
                right += self._results(name, rows.instances[: max(0, _MOST_LINES - lines)])
        except StorageError:
            return False
        return 0 < lines == right

    def _results(self, name: str, instances: list[Any]) -> int:
        if name != "saved_model":
            return sum(self._result(name, instance) for instance in instances)
        made, errors = batches(self._signature, instances)
        found = sum(len(batch.indices) for batch in made)
        assert found + len(errors) == len(instances)
        return found

    def _result(self, name: str, instance: Any) -> bool:
        method = TEXT_METHODS[name]
        context = RequestContext(0, time.monotonic_ns() + 60 * 10**9, None)
        try:
            answer = self._loop.run_until_complete(_awaited(method.call(self._model, instance, context)))  # type: ignore[arg-type]
        except (PredictionError, RowError):
            return False
        assert isinstance(json.loads(b"{" + method.result(answer) + b"}"), dict)
        return True

    def seeds(self) -> Iterator[bytes]:
        """Lines of each method, in each way."""
        for number, name in enumerate(METHODS):
            keyed = [value | {"id": 3} for value in _LINES[name] if isinstance(value, dict)]
            for how in range(16):
                values = keyed if how & KEYED else _LINES[name]
                if name == "saved_model" and not how & KEYED:
                    values = [{key: item for key, item in value.items() if key != "id"} for value in values]
                content = b"".join(json.dumps(value).encode() + b"\n" for value in values)
                content = b"\xef\xbb\xbf\n" + content + b"  \r\n" + content[:-1]
                yield bytes([number, how]) + (gzip.compress(content) if how & GZIPPED else content)

    def close(self) -> None:
        """See tests.fuzz.targets."""
        self._loop.close()


async def _awaited(work: Any) -> Any:
    return await work
