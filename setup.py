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
FLAGS = [
    "-std=c++20",
    "-O2",
    "-g0",
    "-ffp-contract=off",
    "-fvisibility=hidden",
    "-Wall",
    "-Wextra",
    "-Werror",
    f"-I{Path('ext').resolve()}",
]
DEPENDS = ["pyproject.toml", *sorted(str(path) for path in Path("ext").rglob("*.h"))]


def sources(*folders: str) -> list[str]:
    """The C++ files of folders of ext/, and of single files."""
    return sorted(
        str(file)
        for folder in folders
        for file in ([Path("ext", folder)] if folder.endswith(".cc") else Path("ext", folder).glob("*.cc"))
    )


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


ENCODER = ["encoder", "torchscript", "kernels", "transformer/device.cc", "weights", "text/document.cc", "text/json.cc"]
GENERATOR = ["generator", "architectures", "kernels", "transformer", "heads", "weights", "text/generated_text.cc"]
MODULES = [
    with_libtorch("_torchscript", "python/encoder.cc", "python/torchscript.cc", *ENCODER, "queue"),
    with_libtorch("_generator", "python/generator.cc", *GENERATOR, "queue"),
    plain("_batching", "python/batching.cc", "queue"),
    plain("_tflite_ops", "python/tflite.cc", "tflite", "smart_reply", "queue"),
]

setup(
    ext_modules=[] if os.environ.get("PREDICTOR_NO_EXTENSION") else MODULES,
    cmdclass={"build_ext": BuildExtension},
)
