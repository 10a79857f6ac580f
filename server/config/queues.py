"""Queues, their batches, and batch jobs."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from process.settings import Paths, SettingsGroup, Strings, setting

# "messages" is the queue of models that read messages whole: Smart Reply, TensorFlow Lite, SavedModels.
_BATCH_ENGINES = ("torchscript", "encoder", "messages")
_ENGINES = (*_BATCH_ENGINES, "generator")


class Batches(SettingsGroup, title="Batches"):
    """How requests become batches."""

    replicas: int = setting(
        0,
        "batches of one model that run at a time; 0: one less than the cores, for a sentence encoder one a core",
        ge=0,
        le=256,
        to=("torchscript", "encoder", "server.models"),
    )
    threads: int = setting(1, "threads within one batch", ge=1, le=256, to=("torchscript", "encoder", "generator"))
    batch_items: int = setting(64, "maximum number of requests in one batch", ge=1, le=65536, to=_BATCH_ENGINES)
    bulk_items: int = setting(
        32,
        "maximum number of requests in one batch of the bulk lane, for which an interactive request may have to wait",
        ge=1,
        le=65536,
        to=_BATCH_ENGINES,
    )
    batch_tokens: int = setting(
        16_384,
        "maximum number of tokens in one batch, padding included",
        unit="tokens",
        ge=1,
        le=1 << 24,
        to=("torchscript", "messages"),
    )
    encoder_batch_tokens: int = setting(
        512,
        "maximum number of tokens in one batch of a model that reads whole texts; a package's count with their padding",
        unit="tokens",
        ge=1,
        le=1 << 24,
        to="encoder",
    )
    max_delay_ms: float = setting(
        0,
        "maximum time that a request waits for others to share its batch",
        unit="ms",
        ge=0,
        le=10_000,
        to=_BATCH_ENGINES,
    )
    look_ahead: int = setting(
        256, "maximum number of waiting requests that are considered for one batch", ge=1, le=65536, to=_BATCH_ENGINES
    )
    bulk_share: float = setting(
        0.25,
        "share of the replicas, or of the slots, that the bulk lane gets while the interactive lane is in use",
        gt=0,
        lt=1,
        to=_ENGINES,
    )
    equal_lengths: Literal["auto", "always", "never"] = setting(
        "auto",
        "whether only documents of equal length share a batch; auto: where a probe shows that it is needed",
        to="torchscript",
    )
    warm_up_tokens: int = setting(
        64,
        "length of the longest document of the warm-up; 0: no warm-up",
        unit="tokens",
        ge=0,
        le=65536,
        to=("torchscript", "encoder"),
    )
    inline_us: int = setting(
        200,
        "maximum time of a batch that runs in the event loop's thread, when no other request waits; 0: none does",
        unit="us",
        ge=0,
        le=100_000,
        to=("torchscript", "server.models"),
    )
    busy_poll_us: int = setting(
        100,
        "time that the server stays awake for the next request after one to a TorchScript model ran inline; 0: none",
        unit="us",
        ge=0,
        le=10_000,
        to="server.models",
    )
    hold: int = setting(0, "form no batch until so many requests wait; for tests", ge=0, to=_ENGINES)


class Queues(SettingsGroup, title="Queues and sizes of requests"):
    """What one model accepts."""

    queue_items: int = setting(4096, "maximum number of requests that wait for one model", ge=1, to=_ENGINES)
    queue_tokens: int = setting(
        1 << 20, "maximum number of tokens that wait for one model", unit="tokens", ge=1, to=_ENGINES
    )
    queue_bytes: int = setting(
        1 << 28,
        "maximum size of the texts that wait for one model that reads them whole",
        unit="bytes",
        ge=1,
        to=_ENGINES,
    )
    client_share: float = setting(
        0.5,
        "share of a model's queue, in requests and tokens, and of the streams that one connection may take, and, where"
        " they are known, one token or address of another machine",
        gt=0,
        le=1,
        to=(*_ENGINES, "server.rpc"),
    )
    max_tokens: int = setting(
        4096,
        "maximum number of tokens in one document",
        unit="tokens",
        ge=1,
        le=1 << 24,
        to=("torchscript", "encoder", "generator", "server.models"),
    )
    max_token_bytes: int = setting(
        1 << 14,
        "maximum size of one token, where a TorchScript model gets tokens",
        unit="bytes",
        ge=16,
        le=1 << 24,
        to="torchscript",
    )
    max_message_bytes: int = setting(
        1 << 17,
        "maximum size of one message, where a model replies or reads texts whole",
        unit="bytes",
        ge=1,
        le=1 << 24,
        to=("torchscript", "server.models"),
    )
    max_sentences: int = setting(
        4096,
        "maximum number of sentences in the messages that Smart Reply answers together, each of which it looks up",
        ge=1,
        le=1 << 24,
        to="server.models",
    )
    tensorflow_start_s: float = setting(
        120,
        "maximum time that TensorFlow takes to load a SavedModel, at first and after its process died",
        unit="s",
        gt=0,
        to=("server.models", "server.batch"),
    )


class Jobs(SettingsGroup, title="Batch jobs"):
    """What jobs may use, and how many there may be."""

    jobs_db: Path | None = setting(None, "SQLite file of the batch jobs; without it there are none", to="server.batch")
    batch_roots: Paths = setting(
        (),
        "local folder below which jobs may read and write; may be given more than once",
        unit="folder",
        to="server.batch",
    )
    batch_schemes: Strings = setting(
        (),
        "scheme that jobs may use, such as gs, https or tfserving; may be given more than once",
        unit="scheme",
        to="server.batch",
    )
    batch_buckets: Strings = setting(
        (),
        "place that jobs may use, such as gs://bucket or s3://bucket/folder; may be given more than once",
        unit="bucket",
        to="server.batch",
    )
    batch_jobs: int = setting(1, "number of batch jobs that run at a time", ge=1, le=64, to="server.batch")
    batch_turn_s: float = setting(
        30,
        "time that a batch job runs while others wait; then it pauses, and the one runs that has waited longest",
        unit="s",
        gt=0,
        to="server.batch",
    )
    batch_queue: int = setting(1000, "maximum number of batch jobs that wait", ge=1, to="server.batch")
    batch_kept: int = setting(1000, "number of ended batch jobs whose records are kept", ge=1, to="server.batch")
    batch_line_bytes: int = setting(
        64 << 20,
        "maximum size of one line of a job's input for a SavedModel",
        unit="bytes",
        ge=1,
        le=1 << 30,
        to="server.batch",
    )
    batch_text_line_bytes: int = setting(
        1 << 20,
        "maximum size of one line of a job's input of texts; online requests wait while a line is read",
        unit="bytes",
        ge=1,
        le=1 << 30,
        to="server.batch",
    )
