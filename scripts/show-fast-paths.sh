#!/usr/bin/env bash
# Prints what an allocation and a free in the thread tier execute, from `__rust_alloc` and `__rust_dealloc` to their first `ret`, as compiled without
# link-time optimisation. Fails where that is more than 12 instructions for an allocation or 16 for a free.
#
#   scripts/show-fast-paths.sh
set -euo pipefail
. "$(dirname "$0")/common.sh"

[ "$(uname -m)" = x86_64 ] || fail "knows the instructions of x86-64 only"
need objdump binutils
programs=$(build_figures subject)
code=$(mktemp)
trap 'rm -f "$code"' EXIT
objdump -d --no-show-raw-insn -M intel "$programs/subject" > "$code"

# show FUNCTION MOST
show() {
    awk -v name="$1" -v most="$2" '
        $0 ~ "^[0-9a-f]+ <.*" name ">:" { inside = 1; print name ":"; next }
        inside {
            sub(/^ *[0-9a-f]+:\t/, "    ")
            # Jumps lead to what is out of line.
            sub(/ +[0-9a-f]+ <.*(allocate_out_of_line|free_out_of_line).*>/, " out of line")
            sub(/ +[0-9a-f]+ <.*>/, " to the end of the countdown")
            sub(/ +$/, "")
            print
            count++
            if ($1 == "ret") { exit }
        }
        END {
            print "    ; " count " instructions, at most " most
            exit !(count > 0 && count <= most)
        }
    ' "$code" || fail "$1 executes more than $2 instructions, or was not found"
}

show __rust_alloc 12
show __rust_dealloc 16
