#!/bin/sh
# Builds the C++ core that needs neither Python nor libtorch with the compiler's sanitizers, and runs its programs of
# tests/ext/: data races under ThreadSanitizer, memory errors, leaks and undefined behaviour under AddressSanitizer and
# UndefinedBehaviorSanitizer.
#
#   scripts/sanitize.sh [SEED]
#
# Ends with 0 only if no program failed and no sanitizer had anything to report. Needs CMake and Ninja, on PATH or in .venv.
set -eu

cd "$(dirname "$0")/.."
build=build/sanitize
compiler=${CXX:-g++}
PATH=$PATH:$PWD/.venv/bin

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

build_programs() { # SANITIZERS PROGRAMS...
    sanitizers=$1
    shift
    need_sanitizer "$sanitizers"
    folder=$build/$(echo "$sanitizers" | tr , _)
    CXX=$compiler cmake -S ext -B "$folder" -G Ninja --log-level=WARNING -DPREDICTOR_TESTS=ON \
        "-DPREDICTOR_SANITIZE=$sanitizers"
    cmake --build "$folder" --target "$@"
}

run() { # PROGRAM [ARGUMENTS]
    program=$1
    shift
    echo "== $program under -fsanitize=$sanitizers"
    $runner "$folder/tests/$program" "$@" || {
        echo "error: $program failed under -fsanitize=$sanitizers (exit status $?)" >&2
        exit 1
    }
}

export TSAN_OPTIONS="halt_on_error=1:second_deadlock_stack=1"
export ASAN_OPTIONS="detect_leaks=1:detect_stack_use_after_return=1:strict_string_checks=1"
export UBSAN_OPTIONS="print_stacktrace=1"

build_programs thread queue_stress helpers_stress
place_memory_plainly
run queue_stress "$@"
run helpers_stress
runner=""

build_programs address,undefined queue_stress helpers_stress text_fuzz graph_fuzz kernel_tests
run queue_stress "$@"
run helpers_stress
run text_fuzz "$@"
run graph_fuzz "$@"
run kernel_tests

echo "== no sanitizer had anything to report"
