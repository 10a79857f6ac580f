#!/bin/sh
# Installs what the clients of `make test-clients` need: compilers and Thrift libraries from Debian (as root), and from npm
# and PyPI into build/clients.
set -eu

cd "$(dirname "$0")/.."
python=${1:-.venv/bin/python}
build=build/clients
mkdir -p "$build"
packages="thrift-compiler g++ libthrift-dev libboost-dev pkg-config libthrift-c-glib-dev golang-go golang-thrift-dev default-jdk-headless libthrift-java
    libslf4j-java libthrift-perl libbit-vector-perl libclass-accessor-perl php-cli php-thrift ruby ruby-thrift"
# NodeSource's nodejs has npm in it, and Debian's npm cannot be installed beside it.
command -v npm >/dev/null || packages="$packages nodejs npm"

missing=
for package in $packages; do
    dpkg-query -W -f '${Status}' "$package" 2>/dev/null | grep -q '^install ok installed' || missing="$missing $package"
done
if [ -n "$missing" ]; then
    export DEBIAN_FRONTEND=noninteractive
    # shellcheck disable=SC2086
    install="apt-get -o DPkg::Lock::Timeout=180 install -y --no-install-recommends$missing"
    if [ "$(id -u)" != 0 ] || ! { $install || { apt-get update && $install; }; } >"$build/apt.log" 2>&1; then
        tail -n 20 "$build/apt.log" 2>/dev/null >&2 || true
        echo "error: the clients' languages need packages that could not be installed; as root: $install" >&2
        exit 1
    fi
fi

mkdir -p "$build/node"
cp tests/clients/thrift/package.json "$build/node/package.json.new"
if ! cmp -s "$build/node/package.json.new" "$build/node/package.json"; then
    (cd "$build/node" && mv package.json.new package.json && npm install --no-audit --no-fund --silent) || {
        rm -f "$build/node/package.json"
        echo "error: npm could not install $(cat tests/clients/thrift/package.json)" >&2
        exit 1
    }
fi
requirements=tests/clients/thrift/requirements.txt
if ! cmp -s "$requirements" "$build/python/requirements.txt"; then
    "$python" -m pip install --quiet --disable-pip-version-check --no-deps --upgrade --target "$build/python" -r "$requirements"
    cp "$requirements" "$build/python/requirements.txt"
fi
