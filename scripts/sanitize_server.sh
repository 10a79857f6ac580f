#!/bin/sh
# Builds the extension with AddressSanitizer and UndefinedBehaviorSanitizer into build/sanitize-server, and drives the
# Python server and the fuzzers' targets with it (tests/sanitized).
#
#   scripts/sanitize_server.sh [PYTHON]
#
# Ends with 0 only if no sanitizer had anything to report. Needs g++ with its libasan and libubsan; CMake and Ninja on PATH
# or in .venv. ccache, where it is there, is used.
set -eu

cd "$(dirname "$0")/.."
python=${1:-.venv/bin/python}
build=build/sanitize-server
compiler=${CXX:-g++}
PATH=$PATH:$PWD/.venv/bin

mkdir -p "$build/package/ext"

printf 'int main() { return 0; }\n' >"$build/probe.cc"
"$compiler" -fsanitize=address,undefined "$build/probe.cc" -o "$build/probe" || {
    echo "error: $compiler cannot build with -fsanitize=address,undefined: its runtime libraries are missing (Debian:" \
        "libasan8 and libubsan1 come with g++; Fedora: libasan, libubsan)" >&2
    exit 1
}

ask() { # EXPRESSION
    "$python" -c "import importlib.util, pathlib, pybind11, sysconfig; print($1)"
}

launcher=""
if command -v ccache >/dev/null; then launcher=-DCMAKE_CXX_COMPILER_LAUNCHER=ccache; fi
CXX=$compiler cmake -S ext -B "$build/modules" -G Ninja --log-level=WARNING $launcher \
    -DPREDICTOR_SANITIZE=address,undefined \
    "-DPREDICTOR_MODULE_SUFFIX=$(ask 'sysconfig.get_config_var("EXT_SUFFIX")')" \
    "-DPREDICTOR_PYTHON_INCLUDES=$(ask 'sysconfig.get_path("include") + ";" + pybind11.get_include()')" \
    "-DPREDICTOR_TORCH=$(ask 'pathlib.Path(importlib.util.find_spec("torch").origin).parent')"
cmake --build "$build/modules"

cp ext/__init__.py "$build/package/ext/"
cp "$build"/modules/_*.so "$build/package/ext/"
cp tests/sanitized/start.py "$build/package/sitecustomize.py"

exec env "PYTHONPATH=$PWD:$PWD/gen-py" "CXX=$compiler" "$python" -m tests.sanitized "$build/package"
