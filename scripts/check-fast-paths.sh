#!/usr/bin/env bash
# Checks that allocating, freeing, entering, leaving, making and dropping a heap execute no atomic read-modify-write and
# nothing outside the program (libc), by running them under callgrind and looking up what was executed. Lists it in Markdown.
# It fails, too, if it does not find the atomics of a remote free and libc in the global tier.
#
#   scripts/check-fast-paths.sh
set -euo pipefail
. "$(dirname "$0")/common.sh"

[ "$(uname -m)" = x86_64 ] || fail "knows the instructions of x86-64 only"
need valgrind valgrind
need objdump binutils
programs=$(build_figures benchmark subject)
"$programs/benchmark" fast-paths "$programs"
