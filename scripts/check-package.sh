#!/usr/bin/env bash
# The package as it would be uploaded: unpacked elsewhere, everything in it compiles, and those of
# its tests pass that read its files or build with them. With --all: all of its tests.
set -euo pipefail
. "$(dirname "$0")/common.sh"
cd "$root"

cargo package --quiet --locked --no-verify --allow-dirty --target-dir "$target" 2> /dev/null || fail "there is no package"
# Not below this folder, whose workspace it is no part of.
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
tar xzf "$target"/package/context-allocator-*.crate -C "$work"
cd "$work"/context-allocator-*
# What it depends on is built once, for its tests' own builds too.
export CARGO_TARGET_DIR=$target
if [ "${1-}" = --all ]; then
    cargo test --locked --features full
    exit
fi
cargo check --quiet --locked --features full --all-targets
cargo test --locked --features full --test builds
