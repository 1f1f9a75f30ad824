#!/usr/bin/env bash
# Builds the programs of examples/global_tiers, each with another allocator in the global tier, and runs them. The first build takes some minutes: mimalloc,
# jemalloc, snmalloc and rpmalloc are written in C and C++.
#
#   scripts/global_tiers.sh [NAME...]        only those: system locked sharded mimalloc jemalloc snmalloc rpmalloc
set -euo pipefail
. "$(dirname "$0")/common.sh"

names=("$@")
[ ${#names[@]} -gt 0 ] || names=(system locked sharded mimalloc jemalloc snmalloc rpmalloc)
features=()
for name in "${names[@]}"; do
    case $name in
        system | locked | sharded) continue ;;
        jemalloc) need make make ;;
        snmalloc) need c++ g++ ;;
    esac
    need cc gcc
    features+=("--features=$name")
done
folder=$target/global_tiers
# What does not depend on a peer shares the versions of the library.
[ -e "$root/examples/global_tiers/Cargo.lock" ] || cp "$root/Cargo.lock" "$root/examples/global_tiers/Cargo.lock"
CARGO_TARGET_DIR=$folder cargo build --quiet --release --manifest-path "$root/examples/global_tiers/Cargo.toml" \
    "${features[@]}" "${names[@]/#/--bin=}" >&2 || fail "the programs do not build"
checksum=
for name in "${names[@]}"; do
    said=$("$folder/release/$name") || fail "$name failed"
    echo "$said"
    # The same program everywhere: the same sum.
    sum=$(sed 's/.*checksum \([0-9]*\);.*/\1/' <<< "$said")
    [ "$sum" = "${checksum:=$sum}" ] || fail "$name comes to another sum"
done
