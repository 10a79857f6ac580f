"""Which models are served, where they come from, and how they generate."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from process.settings import SettingsGroup, Strings, setting


class Models(SettingsGroup, title="Models"):
    """What is served, and on which device."""

    model: Strings = setting(
        (),
        "a model to serve, LOCATION or NAME=LOCATION; may be given more than once",
        unit="name=location",
        to="server.lifecycle",
    )
    model_root: Path | None = setting(
        None, "folder below which load_model may load; without it load_model is off", to="server.rpc"
    )
    max_models: int = setting(100, "maximum number of models that are loaded at a time", ge=1, to="server.models")
    model_trial_s: float = setting(
        120,
        "maximum time in which a model that load_model is to load must be loaded, and answer, in a process of its own;"
        " a program's loading may take as long once more",
        unit="s",
        gt=0,
        to="server.models",
    )
    model_trial_bytes: int = setting(
        8 << 30,
        "maximum memory of that process, files that it only reads and graphics cards aside",
        unit="bytes",
        ge=512 << 20,
        le=1 << 44,
        to="server.models",
    )
    device: str = setting(
        "cpu",
        "device that libtorch computes on: cpu, cuda or cuda:N",
        to=("torchscript", "encoder", "generator"),
    )
    precision: Literal["float32", "bfloat16", "int8", "int4"] = setting(
        "float32",
        "precision of models that are read from Hugging Face folders, int4 of generators alone; of one:"
        " NAME=FOLDER,precision=int8",
        to=("encoder", "generator"),
    )
    model_device: Strings = setting(
        (),
        "device of one model, NAME=DEVICE; may be given more than once",
        unit="name=device",
        to=("server.lifecycle", "server.models"),
    )


class ModelHub(SettingsGroup, title="Models of a hub (hf://OWNER/NAME)"):
    """What is fetched, and where it is kept."""

    hub_cache: Path | None = setting(
        None,
        "folder for models of a hub; without it that of Hugging Face's libraries (HF_HUB_CACHE, HF_HOME)",
        to="server.models",
    )
    hub_max_bytes: int = setting(
        64 << 30,
        "maximum size of the files of one model that are fetched from a hub",
        unit="bytes",
        ge=1,
        to="server.models",
    )
    hub_models: Strings = setting(
        (),
        "model of a hub that load_model may load, OWNER/NAME, OWNER/* or *; may be given more than once",
        unit="owner/name",
        to="server.rpc",
    )


class Upstream(SettingsGroup, title="Models of upstream servers (openai://HOST:PORT/MODEL)"):
    """How a server that speaks OpenAI's API is asked."""

    upstream_calls: int = setting(
        64,
        "maximum number of calls of one model in progress: of texts that are generated, and of batches that are read",
        ge=1,
        le=4096,
        to="server.models",
    )
    upstream_keys: Strings = setting(
        (),
        "environment variable that holds the API key of a model, NAME=VARIABLE; may be given more than once",
        unit="name=variable",
        to=("server.lifecycle", "server.models"),
    )
    upstream_retry_ms: int = setting(
        2000,
        "time for which a server that cannot be reached is asked again, before callers are told",
        unit="ms",
        ge=0,
        to="server.models",
    )
    upstream_start_s: float = setting(
        120, "maximum time until a server answers when its model is loaded", unit="s", gt=0, to="server.models"
    )


class Generation(SettingsGroup, title="Generation of text"):
    """Texts that grow token by token."""

    slots: int = setting(16, "number of texts that one model generates at a time", ge=1, le=256, to="generator")
    cache_bytes: int = setting(
        1 << 30,
        "maximum size of the keys and values (KV cache) that one generator keeps of its texts and of earlier prompts",
        unit="bytes",
        ge=1 << 16,
        le=1 << 44,
        to="generator",
    )
    max_output_tokens: int = setting(
        1024,
        "maximum number of new tokens in one generated text",
        unit="tokens",
        ge=1,
        le=1 << 20,
        to=("generator", "server.models"),
    )
    chat_template_ms: int = setting(
        1000,
        "maximum processor time that a model's chat template may take for one conversation",
        unit="ms",
        ge=10,
        le=60_000,
        to="server.models",
    )
    chat_template_bytes: int = setting(
        512 << 20,
        "maximum memory of the process that renders a model's chat template",
        unit="bytes",
        ge=64 << 20,
        le=1 << 40,
        to="server.models",
    )
    streams: int = setting(
        1024, "maximum number of streamed texts that are not yet read to their end", ge=1, to="server.rpc"
    )
    stream_orphan_s: float = setting(
        5,
        "time after which a streamed text ends whose connections are all closed, unless another one reads it",
        unit="s",
        ge=0,
        le=3600,
        to="server.rpc",
    )
