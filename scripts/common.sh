# Sourced by the other scripts.
# shellcheck shell=bash

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
target=${CARGO_TARGET_DIR:-$root/target}

fail() {
    echo "$(basename "$0"): $*" >&2
    exit 1
}

# need TOOL PACKAGE
need() {
    command -v "$1" > /dev/null || fail "needs $1 (on Debian: apt-get install $2)"
}

# build_figures [--lto]: prints the folder of the programs
build_figures() {
    local directory=$target
    if [ "${1-}" = --lto ]; then
        directory=$target/lto
        export CARGO_PROFILE_RELEASE_LTO=fat
    fi
    CARGO_TARGET_DIR=$directory cargo build --quiet --release --package figures \
        --manifest-path "$root/Cargo.toml" >&2 || fail "the programs do not build"
    echo "$directory/release"
}
