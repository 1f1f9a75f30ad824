#!/usr/bin/env bash
# What the library and its tests depend on has a licence that deny.toml allows, and comes from a
# registry. Installs cargo-deny where that is missing.
set -euo pipefail
. "$(dirname "$0")/common.sh"
cd "$root"

export PATH=$target/tools/bin:$PATH
if ! command -v cargo-deny > /dev/null; then
    cargo install --quiet --locked cargo-deny --root "$target/tools" || fail "needs cargo-deny (cargo install cargo-deny)"
fi
cargo deny --locked --log-level error check licenses sources bans
