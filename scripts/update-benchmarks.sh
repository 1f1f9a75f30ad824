#!/usr/bin/env bash
# Measures everything anew and writes it into docs/benchmarks.md, each part between its markers.
#
#   scripts/update-benchmarks.sh [--quick]
set -euo pipefail
. "$(dirname "$0")/common.sh"

scripts=$root/scripts
document=$root/docs/benchmarks.md
part=$(mktemp)
trap 'rm -f "$part" "$part.new"' EXIT

# replace NAME: puts standard input between the markers of NAME
replace() {
    cat > "$part"
    awk -v name="$1" -v file="$part" '
        $0 == "<!-- end " name " -->" { inside = 0; ended = 1 }
        !inside { print }
        $0 == "<!-- begin " name " -->" {
            inside = 1
            print ""
            while ((getline line < file) > 0) print line
            print ""
        }
        END { exit !ended }
    ' "$document" > "$part.new" || fail "docs/benchmarks.md has no markers for $1"
    cat "$part.new" > "$document"
}

conditions() {
    local virtual=
    grep -q -w hypervisor /proc/cpuinfo && virtual=" virtual"
    echo "- $(nproc) cores of a$virtual $(uname -m) machine ($(sed -n 's/^model name.*: //p' /proc/cpuinfo | sort -u))," \
        "shared with other work"
    echo "- $(rustc --version), profile \`release\` with its defaults"
    echo "- $(valgrind --version); peers:" \
        "$(cargo metadata --format-version 1 --locked --manifest-path "$root/Cargo.toml" |
            grep -o '"name":"\(buddy_system_allocator\|bumpalo\|bump-scope\|mimalloc\|rlsf\|talc\)","version":"[^"]*"' | sort -u |
            sed 's/"name":"\([^"]*\)","version":"\([^"]*\)"/\1 \2/' | paste -s -d, | sed 's/,/, /g')," \
        "glibc $(getconf GNU_LIBC_VERSION | cut -d ' ' -f 2)"
}

# Each is measured before anything is written, so that a failure leaves the document as it is.
need valgrind valgrind
need strace strace
need objdump binutils
fast_paths=$("$scripts/check-fast-paths.sh")
bits=$("$scripts/show-bits.sh")
calls=$("$scripts/check-no-syscalls.sh")
figures=$("$scripts/figures.sh" "$@")
efficiency=$("$scripts/efficiency.sh")
lto=$("$scripts/figures.sh" --lto "$@")
sources=$("$scripts/parse_sources_peers.sh" "$@")
conditions | replace conditions
replace figures <<< "$figures"
replace "figures with link-time optimisation" <<< "$lto"
replace efficiency <<< "$efficiency"
replace parse_sources <<< "$sources"
replace "fast paths" <<< "$fast_paths"
replace "system calls" <<< "$calls"
replace bits <<< '```'$'\n'"$bits"$'\n''```'
