#!/usr/bin/env bash
# Measures how much memory stays resident in situations that programs get into, on this library's allocator and on its peers: blocks
# freed by another thread than their owner, threads that ended, many contexts at once. Prints one table with the goals and what each
# allocator says of when it gives memory back, and writes it as JSON to target/memory.json. Takes less than three minutes once the
# programs are built.
#
#   scripts/memory.sh [--allocators ours,mimalloc-3,...] [--row NAME]... [--jobs N] [--write]
#     --row      only this row, of: freed elsewhere, owner ended, one stays, tasks, holes, huge pages, threads, trim, requests,
#                contexts of 10, contexts of 100, orphans, slabs; "huge pages" takes three minutes, and is measured only on a system
#                with "always" in /sys/kernel/mm/transparent_hugepage/enabled
#     --jobs     how many programs run at a time [3]; 1 where others use the machine
#     --write    the table into docs/benchmarks/memory.md
#     --help     names all options
set -euo pipefail
. "$(dirname "$0")/common.sh"

# Peers are written in C and C++. One that does not build without these is left out, and named.
for tool in cmake:cmake g++:g++ make:make; do
    (need "${tool%:*}" "${tool#*:}") || true
done
build_figures benchmark > /dev/null
"$target/figures/benchmark" memory --target "$target" "$@"
