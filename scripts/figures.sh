#!/usr/bin/env bash
# Measures allocations, regions and remote frees side by side with peers: nanoseconds as medians of interleaved rounds,
# instructions as callgrind counts them. Prints a table in Markdown.
#
#   scripts/figures.sh [--quick] [--lto]
#     --quick   fewer rounds
#     --lto     with fat link-time optimisation
set -euo pipefail
. "$(dirname "$0")/common.sh"

rounds=15
lto=
for argument in "$@"; do
    case $argument in
        --quick) rounds=5 ;;
        --lto) lto=--lto ;;
        *) fail "unknown argument $argument" ;;
    esac
done
need valgrind valgrind
programs=$(build_figures $lto)
"$programs/report" figures "$programs" --rounds "$rounds" $lto
