#!/usr/bin/env bash
# The public API is the one that docs/public-api.txt lists; with --write it becomes that. Needs the
# nightly toolchain, for rustdoc's JSON; installs cargo-public-api where that is missing, which takes
# minutes: so it is run before a release, and not with the other checks.
set -euo pipefail
. "$(dirname "$0")/common.sh"
cd "$root"

export PATH=$target/tools/bin:$PATH
if ! command -v cargo-public-api > /dev/null; then
    cargo install --quiet --locked cargo-public-api --root "$target/tools" || fail "needs cargo-public-api (cargo install cargo-public-api)"
fi
# Of an implementation of a trait only its head: what it has is the trait's.
list() {
    cargo +nightly public-api --features full --omit blanket-impls,auto-trait-impls,auto-derived-impls \
        --color never --target-dir "$target/api" 2> /dev/null |
        awk '
            /^impl/ { of_trait = / for / }
            of_trait && /^pub (unsafe |const )*(fn|const|type) [a-z_:]*[A-Z]/ { next }
            { gsub(/context_allocator::/, "") }
            { print }
        '
}
if [ "${1-}" = --write ]; then
    list > docs/public-api.txt
else
    diff -u docs/public-api.txt <(list) || fail "the public API changed: scripts/check-api.sh --write, and a line in CHANGELOG.md"
fi
