#!/usr/bin/env bash
# Runs all tests that stable Rust can run, and says how many there were. Installs what they need where it can.
set -euo pipefail
cd "$(dirname "$0")/.."

if ! command -v cargo >/dev/null; then
    echo "scripts/test.sh: cargo is not installed; see https://rustup.rs" >&2
    exit 1
fi
if ! command -v cc >/dev/null; then
    # The peers that the examples compare with are written in C.
    if command -v apt-get >/dev/null && [ "$(id -u)" = 0 ]; then
        apt-get update -qq && apt-get install -y -qq gcc libc6-dev >/dev/null
    else
        echo "scripts/test.sh: install a C compiler (Debian: apt-get install gcc libc6-dev)" >&2
        exit 1
    fi
fi

log=$(mktemp)
trap 'rm -f "$log"' EXIT

run() {
    echo "== $*"
    "$@" 2>&1 | tee -a "$log"
}

status=0
run cargo test --locked --no-fail-fast --features full || status=$?
run cargo test --locked --no-default-features --lib || status=$?

# Adds up cargo's own closing lines.
awk '
    /^test result:/ { passed += $4; failed += $6; ignored += $8 }
    END { printf "\n%d passed, %d failed, %d skipped\n", passed, failed, ignored }
' "$log"
exit "$status"
