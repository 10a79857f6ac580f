#!/bin/sh
# Builds the C++ core that needs neither Python nor a model's runtime with g++'s sanitizers, and stresses it: data races
# under ThreadSanitizer, memory errors, leaks and undefined behaviour under AddressSanitizer and
# UndefinedBehaviorSanitizer.
#
#   scripts/sanitize.sh [SEED]
#
# Ends with 0 only if no program failed and no sanitizer had anything to report.
set -eu

cd "$(dirname "$0")/.."
build=build/sanitize
compiler=${CXX:-g++}
flags="-std=c++20 -O1 -g -ffp-contract=off -fno-omit-frame-pointer -Wall -Wextra -Werror -pthread -Iext"
stress="tests/ext/queue/stress.cc ext/queue/bulk_pacer.cc ext/queue/queue.cc ext/queue/workers.cc ext/queue/inline_runner.cc ext/text/document.cc"
text_fuzz="tests/ext/smart_reply/text_fuzz.cc ext/text/document.cc ext/smart_reply/text.cc ext/smart_reply/fingerprint.cc
    ext/smart_reply/projection.cc"

mkdir -p "$build"

need_sanitizer() {
    printf 'int main() { return 0; }\n' >"$build/probe.cc"
    "$compiler" "-fsanitize=$1" "$build/probe.cc" -o "$build/probe" 2>"$build/probe.log" && return
    cat "$build/probe.log" >&2
    echo "error: $compiler cannot build with -fsanitize=$1: its runtime library is missing (Debian: libtsan2, libasan8" \
        "and libubsan1 come with g++; Fedora: libtsan, libasan, libubsan)" >&2
    exit 1
}

# Some kernels place memory so randomly that ThreadSanitizer finds its own addresses taken.
runner=""
place_memory_plainly() {
    if ! "$build/probe" 2>/dev/null && setarch -R "$build/probe" 2>/dev/null; then runner="setarch -R"; fi
}

build_and_run() { # NAME SANITIZERS SOURCES [ARGUMENTS]
    echo "== $1 under -fsanitize=$2"
    # shellcheck disable=SC2086 # flags and sources are lists
    "$compiler" $flags "-fsanitize=$2" -fno-sanitize-recover=all $3 -o "$build/$1-$2"
    $runner "$build/$1-$2" ${4:+"$4"} || {
        echo "error: $1 failed under -fsanitize=$2 (exit status $?)" >&2
        exit 1
    }
}

export TSAN_OPTIONS="halt_on_error=1:second_deadlock_stack=1"
export ASAN_OPTIONS="detect_leaks=1:detect_stack_use_after_return=1:strict_string_checks=1"
export UBSAN_OPTIONS="print_stacktrace=1"

need_sanitizer thread
place_memory_plainly
build_and_run stress thread "$stress" "${1:-}"
runner=""

need_sanitizer address,undefined
build_and_run stress address,undefined "$stress" "${1:-}"
build_and_run text_fuzz address,undefined "$text_fuzz" "${1:-}"

echo "== no sanitizer had anything to report"
