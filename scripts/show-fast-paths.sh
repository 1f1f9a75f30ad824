#!/usr/bin/env bash
# Prints what an allocation and a free in the thread tier execute, from `__rust_alloc` and `__rust_dealloc` and the entry points that they
# jump to, up to the first `ret`, as compiled without link-time optimisation. Fails if that is more than 14 instructions for an allocation
# or 17 for a free.
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

# show MOST FUNCTION ENTRY_POINT
show() {
    awk -v most="$1" -v first="$2" -v second="$3" '
        $0 ~ "^[0-9a-f]+ <.*" first ">:" { name = first }
        $0 ~ "^[0-9a-f]+ <.*" second ".*>:" { name = second }
        /^$/ { name = "" }
        name == "" || ended[name] { next }
        / <.*>:$/ { text[name] = name ":\n"; next }
        {
            sub(/^ *[0-9a-f]+:\t/, "    ")
            # Jumps lead to what is out of line, or from the shim to the entry point.
            sub(/ +[0-9a-f]+ <.*(allocate_out_of_line|free_out_of_line).*>/, " out of line")
            sub(/ +[0-9a-f]+ <.*(allocate_entry|free_entry)[^+]*>/, " the entry point")
            sub(/ +[0-9a-f]+ <.*>/, " to the end of the countdown")
            sub(/ +$/, "")
            text[name] = text[name] $0 "\n"
            count[name]++
            if ($1 == "ret" || $0 ~ /jmp the entry point/) { ended[name] = 1 }
        }
        END {
            printf "%s%s", text[first], text[second]
            total = count[first] + count[second]
            print "    ; " total " instructions, at most " most
            exit !(count[first] > 0 && count[second] > 0 && total <= most)
        }
    ' "$code" || fail "$2 executes more than $1 instructions, or was not found"
}

show 14 __rust_alloc allocate_entry
show 17 __rust_dealloc free_entry
