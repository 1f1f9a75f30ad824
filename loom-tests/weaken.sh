#!/usr/bin/env bash
# Shows that each ordering of the protocols matters: weakens one at a time by one step, in a copy of the tree, and expects some
# model to fail.
#
#   AcqRel -> Acquire, AcqRel -> Release, Acquire -> Relaxed, Release -> Relaxed
#
# Prints a line for each, and ends with an error if one survives: it is stronger than need be, or a model is missing.
#
#   loom-tests/weaken.sh [FILE...]        only the orderings in these files

set -euo pipefail
export LC_ALL=C
cd "$(dirname "$0")/.."

# The files, and the models that run for each.
declare -A models=(
    [src/sync/lock.rs]="lock locked arena"
    [src/source/region.rs]="region"
    [src/switch/balance.rs]="balance handshake parking"
    [src/sync/remote.rs]="remote balance parking sharded"
    [src/alloc/sharded/owners.rs]="sharded"
    [src/page_map/mod.rs]="page_map"
    [src/switch/control.rs]="handshake"
    [src/collections/count.rs]="counts"
)
files=("$@")
[ ${#files[@]} -gt 0 ] || mapfile -t files < <(printf '%s\n' "${!models[@]}" | sort)

tree=$(mktemp -d)
trap 'rm -rf "$tree"' EXIT
git ls-files -z | xargs -0 cp --parents -t "$tree"
export CARGO_TARGET_DIR="${CARGO_TARGET_DIR:-$tree/target}" CARGO_PROFILE_RELEASE_DEBUG=0 RUSTFLAGS="--cfg loom"

# Byte offset, line, function and ordering of each occurrence outside of comments, imports and tests.
occurrences() {
    awk '
        /^#\[cfg\(all\(test/ { exit }
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
for file in "${files[@]}"; do
    filters=()
    for model in ${models[$file]}; do filters+=("loom_tests::$model::"); done
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
            (cd "$tree" && cargo test --quiet --release --lib --features collections --no-run 2> build.log) || { cat "$tree/build.log"; exit 2; }
            by=""
            if (cd "$tree" && timeout 600 cargo test --quiet --release --lib --features collections -- "${filters[@]}" > run.log 2>&1); then
                result=SURVIVED
                survivors=$((survivors + 1))
            else
                result=killed
                by=$(grep -oE "^    loom_tests::[a-z_:]+" "$tree/run.log" | sort -u | wc -l)
                by="by $by models"
            fi
            printf '%-8s %-26s %4s  %-20s %-7s -> %-7s %s\n' "$result" "$file" "$line" "$name" "$from" "$to" "$by"
        done
    done < <(occurrences "$file")
    cp "$file" "$tree/$file"
done
echo "$survivors survived"
[ "$survivors" -eq 0 ]
