#!/bin/sh
# Makes sure that there is a Thrift compiler, and prints its path: the one on PATH, or Debian's package unpacked into
# .tools (no root needed; where the lists of packages are empty, apt-get update must have been run once).
set -eu

cd "$(dirname "$0")/.."
if command -v thrift; then exit 0; fi
tools=$PWD/.tools
if [ ! -x "$tools/usr/bin/thrift" ]; then
    command -v apt-get >/dev/null || {
        echo "error: no Thrift compiler on PATH, and no apt-get to get it with; install 'thrift' 0.17 or later" >&2
        exit 1
    }
    mkdir -p "$tools"
    cd "$tools"
    apt-get download thrift-compiler >&2 || { apt-get update >&2 && apt-get download thrift-compiler >&2; }
    dpkg -x thrift-compiler_*.deb .
    rm thrift-compiler_*.deb
fi
echo "$tools/usr/bin/thrift"
