#!/usr/bin/env bash
# Checks, in the disassembly of a program of tests/programs built with and without fat link-time optimisation, that no address of
# thread-local storage lives across a suspension: a function that allocates, suspends and allocates again reads the thread pointer
# nowhere itself, and calls an entry point twice that does.
#
#   scripts/check-suspension.sh
set -euo pipefail
. "$(dirname "$0")/common.sh"

[ "$(uname -m)" = x86_64 ] || fail "knows the instructions of x86-64 only"
need objdump binutils
code=$(mktemp)
trap 'rm -f "$code"' EXIT

# body PATTERN: the instructions of the first function whose name matches, to its end
body() {
    awk -v name="$1" '$0 ~ "^[0-9a-f]+ <.*" name ".*>:$" { if (inside) exit; inside = 1; next } inside && /^$/ { exit } inside' "$code"
}

for profile in release fat; do
    cargo build --quiet --locked --profile "$profile" --bin stackful --manifest-path "$root/tests/programs/Cargo.toml" \
        --target-dir "$target/programs" >&2 || fail "the program does not build"
    objdump -d --no-show-raw-insn "$target/programs/$profile/stackful" > "$code"
    function=$(body '^allocate_suspend_allocate' | cat)
    [ -n "$function" ] || function=$(body 'allocate_suspend_allocate')
    [ -n "$function" ] || fail "$profile: the function was not found"
    own=$(grep -c '%fs:\|__tls_get_addr' <<< "$function" || true)
    calls=$(grep -c 'call.*\(allocate_entry\|__rust_alloc>\)' <<< "$function" || true)
    fetches=$(body 'allocate_entry' | grep -c '%fs:\|__tls_get_addr' || true)
    echo "- $profile: the function reads the thread pointer $own times and calls the entry point $calls times, which reads it $fetches times"
    [ "$own" = 0 ] && [ "$calls" = 2 ] && [ "$fetches" -ge 1 ] || fail "$profile: an address may live across the suspension"
done
