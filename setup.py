"""Builds the C++ extension modules of ext/ with CMake (ext/CMakeLists.txt); everything else about the package stands in
pyproject.toml.

    python setup.py build_ext --inplace

PREDICTOR_NO_EXTENSION=1 leaves them out: for an editable install, where `build_ext --inplace` builds them on their own.
CXX names the compiler, MAX_JOBS how many files are compiled at a time.
"""

import importlib.util
import os
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

import pybind11
from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext

MODULES = ("_batching", "_encoder", "_generator", "_smart_reply", "_torchscript")


class CMakeBuild(build_ext):
    """Builds all modules in one CMake build, which compiles only what has changed, and takes them from there."""

    def finalize_options(self) -> None:
        super().finalize_options()
        self.is_for_checkout = bool(self.inplace)  # which setuptools takes back while it builds

    def build_extensions(self) -> None:
        build = Path(self.build_temp).resolve() / "ext"
        self._configure(build)
        jobs = os.environ.get("MAX_JOBS") or str(len(os.sched_getaffinity(0)))
        self._cmake("--build", str(build), "--parallel", jobs)
        for extension in self.extensions:
            module = Path(self.get_ext_fullpath(extension.name))
            module.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(build / module.name, module)

    def _configure(self, build: Path) -> None:
        torch = importlib.util.find_spec("torch")  # not imported: that takes seconds
        if torch is None or torch.origin is None:
            sys.exit("error: there is no package torch, whose libtorch the extension links: pip install torch==2.13.0")
        settings = {
            "PREDICTOR_MODULE_SUFFIX": sysconfig.get_config_var("EXT_SUFFIX"),
            "PREDICTOR_PYTHON_INCLUDES": f"{sysconfig.get_path('include')};{pybind11.get_include()}",
            "PREDICTOR_TORCH": Path(torch.origin).parent,
            "PREDICTOR_INSTALLED": "OFF" if self.is_for_checkout else "ON",
        }
        defined = [f"-D{name}={value}" for name, value in settings.items()]
        self._cmake("-S", "ext", "-B", str(build), "-G", "Ninja", "--log-level=WARNING", *defined)

    @staticmethod
    def _cmake(*arguments: str) -> None:
        """Runs it as pip has installed it, in this environment or in pip's own for a build."""
        beside = Path(sys.executable).parent
        path = os.pathsep.join([str(beside), os.environ.get("PATH", os.defpath)])
        cmake = shutil.which("cmake", path=os.environ.get("PATH")) or shutil.which("cmake", path=path)
        if cmake is None:
            sys.exit("error: there is no cmake: pip install cmake ninja")
        try:
            subprocess.run([cmake, *arguments], check=True, env=os.environ | {"PATH": path})
        except subprocess.CalledProcessError as error:
            sys.exit(f"error: the extension could not be built (cmake ended with {error.returncode})")


setup(
    ext_modules=[] if os.environ.get("PREDICTOR_NO_EXTENSION") else [Extension(f"ext.{name}", []) for name in MODULES],
    cmdclass={"build_ext": CMakeBuild},
)
