#!/bin/sh
# Installs the service into a virtual environment: what `make` does on a laptop and the Dockerfile in an image.
#
#   scripts/setup.sh VENV [EXTRAS]         the service, as it runs in production
#   scripts/setup.sh VENV --edit [EXTRAS]  the checkout itself (editable); the extension is built apart, by `make`, which
#                                          knows when it has changed
#
# EXTRAS are names from pyproject.toml's optional dependencies, with commas: tensorflow,s3
# Needs Python 3.11 (PYTHON says which) and a C++20 compiler; everything else comes by pip.
set -eu

venv=${1:?usage: scripts/setup.sh VENV [--edit] [EXTRAS]}
edit=
[ "${2:-}" != --edit ] || { edit=yes; shift; }
extras=${2:+[$2]}
python=${PYTHON:-python3}
cd "$(dirname "$0")/.."

say() { printf '\n== %s\n' "$1" >&2; }

"$python" -c 'import sys; sys.exit(sys.version_info[:2] != (3, 11))' || {
    echo "error: $python is $("$python" --version 2>&1), but Python 3.11 is needed (tflite-runtime has no later one)." \
        "Name one: PYTHON=python3.11" >&2
    exit 1
}
command -v "${CXX:-c++}" >/dev/null || {
    echo "error: no C++ compiler (${CXX:-c++}); on Debian: apt-get install g++" >&2
    exit 1
}

[ -x "$venv/bin/python" ] || { say "virtual environment $venv"; "$python" -m venv "$venv"; }
pip="$venv/bin/python -m pip --disable-pip-version-check --quiet"

say "libtorch and the build's needs"
$pip install torch==2.13.0
$pip install "setuptools>=77" wheel ninja pybind11==3.1.0 numpy==1.26.4

if [ "$edit" ]; then
    say "the service (editable) $extras"
    PREDICTOR_NO_EXTENSION=1 $pip install --no-build-isolation --editable ".$extras"
else
    say "the service and its extension (minutes) $extras"
    PATH="$(cd "$venv/bin" && pwd):$PATH" $pip install --no-build-isolation ".$extras"
fi
