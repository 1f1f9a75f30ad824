#!/usr/bin/env bash
# The library compiles with every combination of its features, and its tests with each feature alone
# and with none. Installs cargo-hack where that is missing.
set -euo pipefail
. "$(dirname "$0")/common.sh"
cd "$root"

if ! cargo hack --version > /dev/null 2>&1; then
    cargo install --quiet --locked cargo-hack --root "$target/tools" || fail "needs cargo-hack (cargo install cargo-hack)"
    export PATH=$target/tools/bin:$PATH
fi
# A warning is an error: no other check sees what one combination of features leaves unused.
export RUSTFLAGS="-D warnings"
# `default` and `full` name others; `nightly` has a step of its own.
hack=(cargo hack check --quiet --locked --exclude-features "default,full,nightly")
"${hack[@]}" --feature-powerset --lib
"${hack[@]}" --each-feature --tests
