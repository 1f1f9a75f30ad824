#!/usr/bin/env bash
# Measures this library side by side with the allocators of the field: builds a program for each, runs all of them in turns, and prints
# medians, quartiles, ratios to the best peer, instructions and resident memory. Writes all of it as JSON to target/benchmark.json
# (with --lto: target/benchmark-lto.json).
#
#   scripts/benchmark.sh [--quick] [--lto] [--allocators ours,mimalloc-3,...] [--cases TEXT]... [--rounds N] [--write] ...
#     --quick    few rounds: some ten minutes rather than an hour
#     --lto      with fat link-time optimisation
#     --write    into docs/benchmarks/ and docs/charts
#     --help     names all options
set -euo pipefail
. "$(dirname "$0")/common.sh"

need valgrind valgrind
# Peers are written in C and C++. One that does not build without these is left out, and named.
for tool in cmake:cmake g++:g++ make:make; do
    (need "${tool%:*}" "${tool#*:}") || true
done
build_figures benchmark > /dev/null
"$target/figures/benchmark" run --target "$target" "$@"
