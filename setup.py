"""Builds the C++ extension modules of ext/; everything else about the package stands in pyproject.toml.

PREDICTOR_NO_EXTENSION=1 leaves them out: for an editable install, where `build_ext --inplace` builds them on their own.
"""

import os
from pathlib import Path

import torch
from pybind11.setup_helpers import Pybind11Extension
from setuptools import Extension, setup
from torch.utils.cpp_extension import BuildExtension, CppExtension, library_paths

# -ffp-contract=off: all instruction sets must round alike, and a fused multiply-add rounds once where others do twice.
FLAGS = ["-std=c++20", "-O2", "-g0", "-ffp-contract=off", "-fvisibility=hidden", "-Wall", "-Wextra", "-Werror"]
DEPENDS = ["pyproject.toml", *sorted(str(path) for path in Path("ext").glob("*.h"))]
QUEUE = ["bulk_pacer", "lone_runner", "queue", "workers"]
TORCHSCRIPT = ["device", "document", "encoder_engine", "encoder_model", "encoder_ops", "int8_products", "json"]
TORCHSCRIPT += [f"torchscript_{part}" for part in ("engine", "file", "model", "signature")]
TORCHSCRIPT += ["model_error", "panels", "text_attention", "warm_up"]
GENERATOR = ["device", "generated_text", "generator_engine", "linear", "model_error", "panels", "row_math", "sampling"]
GENERATOR += [f"gpt2_{part}" for part in ("model", "on_device", "on_processor", "weights")]
TFLITE = [
    f"tflite_{part}" for part in ("library", "model_file", "operator", "ops", "predict_op", "projection_op", "strings")
]
SMART_REPLY = [f"smart_reply_{part}" for part in ("engine", "fingerprint", "projection", "session", "text")]


def sources(*names: str) -> list[str]:
    return [f"ext/{name}.cc" for name in names]


def with_libtorch(name: str, *names: str) -> Extension:
    """A module that links libtorch, and not its Python bindings: serving does not import torch.

    -fopenmp: without it at::parallel_for knows one thread only. The library is the one that libtorch brings.
    """
    extension = CppExtension(
        f"ext.{name}",
        sources(*names),
        extra_link_args=["-fopenmp", *(f"-Wl,-rpath,{path}" for path in library_paths())],
        depends=DEPENDS,
    )
    extension.libraries = [library for library in extension.libraries if library != "torch_python"]
    # As system headers: libtorch's are not ours to be warned about. Nor are they watched for changes: the version is
    # a flag so that another one compiles all anew.
    headers = [f"-isystem{path}" for path in extension.include_dirs]
    extension.extra_compile_args = [*FLAGS, "-fopenmp", f'-DPREDICTOR_TORCH="{torch.__version__}"', *headers]
    extension.include_dirs = []
    return extension


def plain(name: str, *names: str) -> Extension:
    """A module without libtorch."""
    return Pybind11Extension(f"ext.{name}", sources(*names), extra_compile_args=FLAGS, depends=DEPENDS)


MODULES = [
    with_libtorch("_torchscript", "bindings_encoder", "bindings_torchscript", *TORCHSCRIPT, *QUEUE),
    with_libtorch("_generator", "bindings_generator", *GENERATOR, *QUEUE),
    plain("_batching", "bindings_batching", *QUEUE),
    plain("_tflite_ops", "tflite_bindings", *TFLITE, *SMART_REPLY, *QUEUE),
]

setup(
    ext_modules=[] if os.environ.get("PREDICTOR_NO_EXTENSION") else MODULES,
    cmdclass={"build_ext": BuildExtension},
)
