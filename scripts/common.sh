# Sourced by the other scripts.
# shellcheck shell=bash

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
target=${CARGO_TARGET_DIR:-$root/target}

fail() {
    echo "$(basename "$0"): $*" >&2
    exit 1
}

# need TOOL PACKAGE: installs what is missing, where this machine lets us
need() {
    command -v "$1" > /dev/null && return
    if command -v apt-get > /dev/null && [ "$(id -u)" = 0 ]; then
        apt-get update -qq >&2 && apt-get install -y -qq "$2" > /dev/null 2>&1 && command -v "$1" > /dev/null && return
    fi
    fail "needs $1 (on Debian: apt-get install $2)"
}

# build_figures PROGRAM...: prints the folder of the programs
build_figures() {
    local programs=()
    for program in "$@"; do
        programs+=(--bin "$program")
    done
    CARGO_TARGET_DIR=$target cargo build --quiet --locked --profile figures --package figures "${programs[@]}" \
        --manifest-path "$root/Cargo.toml" >&2 || fail "the programs do not build"
    echo "$target/figures"
}
