#!/usr/bin/env bash
# Shows that each ordering of the protocols matters, and the order of the steps: in a copy of the
# tree, weakens one ordering at a time by one step, then applies one patch of loom-tests/reorder at a
# time, and expects some model to fail.
#
#   AcqRel -> Acquire, AcqRel -> Release, Acquire -> Relaxed, Release -> Relaxed
#
# Prints a line for each, and ends with an error if one survives (it is stronger than need be, or a
# model is missing), and if a file with an ordering has no model.
#
#   loom-tests/weaken.sh                  everything; takes hours
#   loom-tests/weaken.sh FILE...          the orderings in these files, and these patches

set -euo pipefail
export LC_ALL=C
cd "$(dirname "$0")/.."

# The files, and the models that run for each.
declare -A models=(
    [src/page_map/map.rs]="page_map sharded"
    [src/page_map/roots.rs]="page_map"
    [src/collections/count.rs]="counts"
    [src/source/inline.rs]="region"
    [src/source/region.rs]="region"
    [src/switch/balance.rs]="balance handshake parking"
    [src/switch/control.rs]="handshake"
    [src/switch/fork.rs]="forks"
    [src/switch/hooks.rs]="hooks"
    [src/sync/fork.rs]="forks"
    [src/sync/free_list.rs]="free_list"
    [src/sync/lock.rs]="lock locked arena"
    [src/sync/remote.rs]="remote balance parking sharded"
    [src/sync/returned.rs]="returned"
)
# Each file with an ordering is in the table.
for file in $(git grep -lE '^[^/]*\b(AcqRel|Acquire|Release)\b' -- 'src/*.rs'); do
    [ -n "${models[$file]:-}" ] || { echo "$file has an ordering and no model" >&2; exit 1; }
done
files=("$@")
[ ${#files[@]} -gt 0 ] || mapfile -t files < <(printf '%s\n' "${!models[@]}" loom-tests/reorder/*.patch | sort)

tree=$(mktemp -d)
trap 'rm -rf "$tree"' EXIT
git ls-files -z | xargs -0 cp --parents -t "$tree"
export CARGO_TARGET_DIR="${CARGO_TARGET_DIR:-$tree/target}" CARGO_PROFILE_RELEASE_DEBUG=0 RUSTFLAGS="--cfg loom"

# Byte offset, line, function and ordering of each occurrence outside of comments, imports and tests.
occurrences() {
    awk '
        BEGIN { name = "-" }
        /^#\[cfg\(all\(test/ { tests = 1; bytes += length($0) + 1; next }
        tests && /^(pub\(crate\) )?mod / { exit }
        { tests = 0 }
        !/^ *\/\// && !/^ *use / {
            if (match($0, /fn [a-z_]+/)) name = substr($0, RSTART + 3, RLENGTH - 3)
            rest = $0; at = 0
            while (match(rest, /(AcqRel|Acquire|Release)/)) {
                print bytes + at + RSTART - 1, NR, name, substr(rest, RSTART, RLENGTH)
                at += RSTART + RLENGTH - 1; rest = substr(rest, RSTART + RLENGTH)
            }
        }
        { bytes += length($0) + 1 }
    ' "$1"
}

survivors=0
# try NAME WHAT MODEL...: whether some model fails in the copy of the tree
try() {
    local name=$1 what=$2 by result
    shift 2
    (cd "$tree" && cargo test --quiet --release --lib --features collections --no-run 2> build.log) || { cat "$tree/build.log"; exit 2; }
    by=""
    if (cd "$tree" && timeout 600 cargo test --quiet --release --lib --features collections -- "${@/#/loom_tests::}" > run.log 2>&1); then
        result=SURVIVED
        survivors=$((survivors + 1))
    else
        result=killed
        by="by $(grep -oE "^    loom_tests::[a-z_:]+" "$tree/run.log" | sort -u | wc -l) models"
    fi
    printf '%-8s %-26s %s %s\n' "$result" "$name" "$what" "$by"
}

for file in "${files[@]}"; do
    if [[ $file == *.patch ]]; then
        # Its first line names the models.
        read -r -a names < <(sed -n '1s/^models: //p' "$file")
        patch --quiet -p1 -d "$tree" < "$file"
        try "${file##*/}" "" "${names[@]}"
        patch --quiet -R -p1 -d "$tree" < "$file"
        continue
    fi
    read -r -a names <<< "${models[$file]}"
    while read -r offset line name from; do
        case $from in
            AcqRel) weaker="Acquire Release" ;;
            *) weaker="Relaxed" ;;
        esac
        for to in $weaker; do
            path="crate::sync::atomic::Ordering::$to"
            [ "$(head -c "$offset" "$file" | tail -c 2)" = "::" ] && path=$to
            {
                head -c "$offset" "$file"
                printf '%s' "$path"
                tail -c +"$((offset + ${#from} + 1))" "$file"
            } > "$tree/$file"
            try "$file" "$(printf '%4s  %-20s %-7s -> %-7s' "$line" "$name" "$from" "$to")" "${names[@]}"
        done
    done < <(occurrences "$file")
    cp "$file" "$tree/$file"
done
echo "$survivors survived"
[ "$survivors" -eq 0 ]
