#!/usr/bin/env bash
# Runs the example endurance for an hour, or as many minutes as are asked for; ends with an error if memory grows.
#
#   scripts/endurance.sh [MINUTES]
set -euo pipefail
. "$(dirname "$0")/common.sh"

CARGO_TARGET_DIR=$target cargo build --quiet --locked --release --manifest-path "$root/Cargo.toml" --example endurance >&2 ||
    fail "the example endurance does not build"
exec "$target/release/examples/endurance" "${1-60}"
