#!/usr/bin/env bash
# Times the example parse_sources in each tier against the same program on the system's allocator and on mimalloc: medians of
# interleaved rounds, one tier in each process. Prints a table in Markdown.
#
#   scripts/parse_sources_peers.sh [--quick]
set -euo pipefail
. "$(dirname "$0")/common.sh"

rounds=7
case ${1-} in
    --quick) rounds=3 ;;
    '') ;;
    *) fail "unknown argument $1" ;;
esac
programs=$(build_figures)
for example in parse_sources parse_sources_uncounted parse_sources_system parse_sources_mimalloc; do
    CARGO_TARGET_DIR=$target cargo build --quiet --release --manifest-path "$root/Cargo.toml" --example "$example" >&2 ||
        fail "the example $example does not build"
done
cd "$root" # Where cargo finds the sources to parse.
"$programs/report" parse-sources "$programs/examples" --rounds "$rounds"
