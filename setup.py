"""Builds the C++ extension modules of ext/; everything else about the package stands in pyproject.toml."""

from pathlib import Path

from pybind11.setup_helpers import Pybind11Extension
from setuptools import setup
from torch.utils.cpp_extension import BuildExtension, CppExtension, library_paths

WARNINGS = ["-Wall", "-Wextra", "-Werror"]
FLAGS = ["-std=c++20", "-O2", "-fvisibility=hidden", *WARNINGS]
QUEUE = ["ext/queue.cc"]
HEADERS = sorted(str(path) for path in Path("ext").glob("*.h"))


def torchscript() -> CppExtension:
    """The only module that links libtorch. Torch's headers are not ours to be warned about."""
    sources = ["bindings_torchscript", "document", "torchscript_engine", "torchscript_model", "torchscript_signature"]
    extension = CppExtension(
        "ext._torchscript",
        [f"ext/{name}.cc" for name in [*sources, "warm_up", "workers"]] + QUEUE,
        extra_compile_args=FLAGS,
        extra_link_args=[f"-Wl,-rpath,{path}" for path in library_paths()],
        depends=HEADERS,
    )
    # libtorch alone: no Python bindings of torch, so that serving does not import torch.
    extension.libraries = [library for library in extension.libraries if library != "torch_python"]
    headers = extension.include_dirs
    extension.include_dirs = []
    extension.extra_compile_args = [*FLAGS, *(f"-isystem{path}" for path in headers)]
    return extension


def batching() -> Pybind11Extension:
    """The queue for models that Python drives."""
    return Pybind11Extension(
        "ext._batching", ["ext/bindings_batching.cc", *QUEUE], extra_compile_args=FLAGS, depends=HEADERS
    )


setup(ext_modules=[torchscript(), batching()], cmdclass={"build_ext": BuildExtension})
