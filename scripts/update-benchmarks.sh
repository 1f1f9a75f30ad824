#!/usr/bin/env bash
# Measures and checks everything anew and writes it into docs/benchmarks/, each part between its
# markers.
#
#   scripts/update-benchmarks.sh [--quick]
set -euo pipefail
. "$(dirname "$0")/common.sh"

scripts=$root/scripts
fast_paths=$("$scripts/check-fast-paths.sh")
pair=$("$scripts/show-fast-paths.sh")
bits=$("$scripts/show-bits.sh")
calls=$("$scripts/check-no-syscalls.sh")
"$scripts/benchmark.sh" "$@"
"$scripts/benchmark.sh" --lto "$@"
programs=$(build_figures benchmark)
# Nothing is written before all of it is measured, so that a failure leaves the document as it is.
"$programs/benchmark" show --write "$target/benchmark.json" > /dev/null
"$programs/benchmark" show --write "$target/benchmark-lto.json" > /dev/null
"$scripts/memory.sh" --write > /dev/null
"$programs/benchmark" replace "fast paths" <<< "$fast_paths"
"$programs/benchmark" replace pair <<< '```text'$'\n'"$pair"$'\n''```'
"$programs/benchmark" replace "system calls" <<< "$calls"
"$programs/benchmark" replace bits <<< '```'$'\n'"$bits"$'\n''```'
