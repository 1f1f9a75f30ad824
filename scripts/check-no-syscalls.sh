#!/usr/bin/env bash
# Checks with strace that a coroutine heap makes no system call once the program is warm: 100,000 heaps between two markers. It
# fails, too, if it does not see the system calls of a case that makes some.
#
#   scripts/check-no-syscalls.sh
set -euo pipefail
. "$(dirname "$0")/common.sh"

need strace strace
programs=$(build_figures subject)
log=$(mktemp)
trap 'rm -f "$log"' EXIT

# calls CASE: prints the system calls between the markers
calls() {
    strace -f -s 16 -o "$log" "$programs/subject" quiet "$1" 100000 2> /dev/null || fail "strace or the program fails"
    awk '/write\(2, "end"/ { exit } inside { print } /write\(2, "begin"/ { inside = 1 }' "$log" > "$log.between"
    grep -q 'write(2, "begin"' "$log" && grep -q 'write(2, "end"' "$log" || fail "no markers in the trace of $1"
    cat "$log.between"
    rm -f "$log.between"
}

failed=0
for case in \
    "coroutine heap: region: create, drop" \
    "coroutine heap, entered and left: region: create, drop" \
    "coroutine heap, each block freed: region: create, 10 x 64 B, drop" \
    "coroutine heap, destroyed: region: create, 10 x 64 B, drop" \
    "coroutine heap: enter, leave"; do
    found=$(calls "$case")
    if [ -n "$found" ]; then
        echo "- **$case**: $(wc -l <<< "$found") system calls, the first: $(head -n 1 <<< "$found")"
        failed=1
    else
        echo "- $case: no system call in 100,000 rounds"
    fi
done
found=$(calls "thread tier: freed on another thread, 64 B, 2 threads")
[ -n "$found" ] || fail "the check is blind: it sees no system call where threads wait for each other"
exit $failed
