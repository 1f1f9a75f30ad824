#!/usr/bin/env bash
# Runs the README's first command as printed, and checks what it says; the second one is the test script itself.
set -euo pipefail
cd "$(dirname "$0")/.."

commands=$(awk '/^```console$/ { on = 1; next } /^```$/ { on = 0 } on' README.md)
expected=$'cargo run --release --example parse_sources\nscripts/test.sh'
if [ "$commands" != "$expected" ]; then
    printf 'README.md should show these two commands:\n%s\nbut shows:\n%s\n' "$expected" "$commands" >&2
    exit 1
fi

table=$(bash -c "$(head -n 1 <<<"$commands")")
echo "$table"
for line in "global tier" "thread tier" "coroutine tier" "escaped blocks" "remote frees"; do
    grep -q "$line" <<<"$table" || { echo "parse_sources printed no line '$line'" >&2; exit 1; }
done
